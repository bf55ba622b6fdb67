"""The parts of the OSS stand-in's control API that a chaos run uses."""

import http.client
import json
from dataclasses import dataclass
from math import inf
from typing import Any
from urllib.parse import urlsplit

LOG_SIZE = 1_000_000


@dataclass(frozen=True)
class Write:
    """A request in the stand-in's log that changes an object; `fault` is the id of its fault.

    Times are seconds of the stand-in's monotonic clock. `over` is the end of the write for its
    writer: it was carried out, or answered, or its client broke off, whichever came first. A write
    may be carried out after its client broke off, as at OSS.
    """

    bucket: str
    key: str
    operation: str
    started: float
    over: float
    fault: int | None
    status: int
    deleted_meta: dict[str, str] | None = None  # of the object that it deleted, if there was one


class OssControl:
    """A client of one stand-in's control API."""

    def __init__(self, endpoint_url: str) -> None:
        self._netloc = urlsplit(endpoint_url).netloc

    def log_all_requests(self) -> None:
        """Make the log large enough for all requests of a run."""
        self._ask("PUT", "/-/requests", {"size": LOG_SIZE})

    def create_bucket(self, name: str) -> None:
        self._ask("PUT", "/-/buckets", {"name": name})

    def set_key(self, key_id: str, secret: str, *, token: str, ends_at: float) -> None:
        """Add a temporary access key that ends, in epoch seconds."""
        key = {"id": key_id, "secret": secret, "security_token": token, "ends_at": ends_at}
        self._ask("PUT", "/-/keys", key)

    def refused_credentials(self) -> list[str]:
        """The codes of the requests that were refused for their credentials."""
        log = json.loads(self._ask("GET", "/-/requests"))
        codes = {"InvalidAccessKeyId", "InvalidSecurityToken", "SecurityTokenExpired"}
        return [entry["code"] for entry in log["requests"] if entry["code"] in codes]

    def add_fault(self, **fault: Any) -> int:
        """Arm a fault; returns its id."""
        return int(json.loads(self._ask("POST", "/-/faults", fault))["id"])

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self._ask("DELETE", "/-/faults")

    def deny(self, **denial: Any) -> None:
        """Deny actions, as a RAM policy does."""
        self._ask("POST", "/-/denials", denial)

    def clear_denials(self) -> None:
        """Allow everything again."""
        self._ask("DELETE", "/-/denials")

    def writes(self) -> list[Write]:
        """All puts and deletes in the log.

        Raises:
            RuntimeError: the log is incomplete.
        """
        log = json.loads(self._ask("GET", "/-/requests"))
        if log["dropped"]:
            raise RuntimeError(f"the OSS stand-in's log has discarded {log['dropped']} requests")
        return [
            Write(
                entry["bucket"],
                entry["key"],
                entry["operation"],
                entry["started_monotonic"],
                min(
                    entry["ended_monotonic"],
                    entry["carried_out_monotonic"] or inf,
                    entry["client_gone_monotonic"] or inf,
                ),
                entry["fault"],
                entry["status"],
                entry["deleted_meta"],
            )
            for entry in log["requests"]
            if entry["operation"] in {"PutObject", "CompleteMultipartUpload", "DeleteObject"}
        ]

    def contents(self, bucket: str) -> dict[str, tuple[int, int]]:
        """The size and the CRC-64 of each key, whether it was put whole or in parts."""
        lines = self._ask("GET", f"/-/objects?bucket={bucket}").splitlines()
        return {key: (size, int(crc64)) for _, key, size, crc64, _ in map(json.loads, lines)}

    def _ask(self, method: str, path: str, payload: Any = None) -> bytes:
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        try:
            connection.request(method, path, json.dumps(payload) if payload is not None else None)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the OSS stand-in refused {method} {path}: {body.decode()}")
        return body
