"""The stand-in without its sockets: state, keys, and the controls that tests use."""

import itertools
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.oss import names
from sandbox.oss.authentication import AccessKey, Verifier
from sandbox.oss.exchange import Clock
from sandbox.oss.faults import Fault, Faults
from sandbox.oss.inflight import InFlight
from sandbox.oss.permissions import Denial
from sandbox.oss.requestlog import LoggedRequest, RequestLog
from sandbox.oss.state import Bucket, Store


class Service:
    """One account's OSS in one region, with its faults, denials, clock and request log.

    Bodies above `spill_bytes` go to files in `folder`; `stopping` is set when the server stops.
    """

    folder: Path

    def __init__(
        self,
        *,
        keys: Mapping[str, str],
        buckets: Sequence[str],
        region: str,
        spill_bytes: int,
        v4_only: bool,
        is_lenient: bool,
        log_size: int,
    ) -> None:
        self.region = region
        self.spill_bytes = spill_bytes
        self.clock = Clock()
        self.faults = Faults()
        self.log = RequestLog(log_size)
        self.in_flight = InFlight()
        self._initial_log_size = log_size
        self.store = Store()
        self.store.is_lenient = self._initially_lenient = is_lenient
        self.denials: list[Denial] = []
        self.stopping = threading.Event()
        self._initial_keys = {key_id: AccessKey(secret) for key_id, secret in keys.items()}
        self._initial_buckets = [names.check_bucket_name(name) for name in buckets]
        self._keys = dict(self._initial_keys)
        self.verifier = Verifier(self._keys, region, v4_only)
        self._request_prefix = secrets.token_hex(4).upper()
        self._request_numbers = itertools.count(1)
        for name in self._initial_buckets:
            self.create_bucket(name)

    def next_request_id(self) -> str:
        """A request id in OSS's format: 24 upper-case hexadecimal digits."""
        return f"{self._request_prefix}{next(self._request_numbers):016X}"

    def set_secret(
        self,
        key_id: str,
        secret: str,
        *,
        security_token: str | None = None,
        ends_at: float | None = None,
    ) -> None:
        """Add or change an access key; with a token, each request must carry the token.

        From `ends_at` on, in epoch seconds, its requests get SecurityTokenExpired.
        """
        self._keys[key_id] = AccessKey(secret, security_token, ends_at)

    def remove_key(self, key_id: str) -> None:
        """Remove an access key: its requests get InvalidAccessKeyId from now on."""
        self._keys.pop(key_id, None)

    def add_kms_key(self, key_id: str) -> None:
        """Add a KMS key that objects can be encrypted with."""
        self.store.kms_keys.add(key_id)

    def set_lenient(self, is_lenient: bool) -> None:
        """Whether buckets take user metadata and tags beyond ASCII, which OSS does not document."""
        self.store.is_lenient = is_lenient

    def set_clock_offset(self, seconds: float) -> None:
        """Set how far the server's clock is ahead of the machine's."""
        self.clock.offset_seconds = seconds

    def create_bucket(self, name: str, *, acl: str = "private") -> None:
        """Make a bucket if it doesn't exist; raises OssError for a name or ACL that OSS refuses."""
        names.check_bucket_name(name)
        names.check_one_of("x-oss-acl", acl, names.BUCKET_ACLS)
        with self.store.lock:
            if name not in self.store.buckets:
                self.store.buckets[name] = Bucket(
                    name, created_at=self.clock.now(), acl=acl, storage_class="Standard"
                )

    def add_fault(self, fault: Fault) -> int:
        """Arm a fault; returns its id, which the request log has for each request it fired for."""
        return self.faults.add(fault)

    def clear_faults(self) -> None:
        """Disarm all faults, and release the requests that they hold."""
        self.faults.clear()

    @property
    def held_requests(self) -> int:
        """How many requests are held now by faults with `hold`."""
        return self.faults.held

    def deny(self, denial: Denial) -> None:
        """Add a denial."""
        self.denials = [*self.denials, denial]

    def clear_denials(self) -> None:
        """Remove all denials."""
        self.denials = []

    def requests(
        self, *, bucket: str | None = None, key: str | None = None, operation: str | None = None
    ) -> list[LoggedRequest]:
        """The logged requests, in the order in which they ended."""
        return self.log.select(bucket=bucket, key=key, operation=operation)

    def reset(self) -> None:
        """Restore the initial state: keys, empty buckets, no faults, right clock, empty log."""
        self._keys.clear()
        self._keys.update(self._initial_keys)
        self.clock.offset_seconds = 0.0
        self.clear_faults()
        self.clear_denials()
        self.store.kms_keys.clear()
        self.store.is_lenient = self._initially_lenient
        with self.store.lock:
            self.store.buckets.clear()
        for name in self._initial_buckets:
            self.create_bucket(name)
        self.log.resize(self._initial_log_size)
        self.log.clear()
