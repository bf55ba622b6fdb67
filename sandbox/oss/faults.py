"""Injects faults: which requests fail, how often, and how."""

import itertools
import random
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from sandbox.oss.errors import OssError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A rule with effects on `times` matching requests, after `skip` of them.

    Matching: a request must match every criterion that is given. `key_pattern` is a regular
    expression searched in the key. `times=None` means no limit. `probability` is decided by a
    generator with `seed`.

    Effects, which can be combined: an error `status` (with `code`, and `qos_delay_ms` as
    `x-oss-qos-delay-time`) or a connection `reset`; `delay_seconds`; `hold` until all faults are
    cleared; `bytes_per_second` for bodies in both directions; `truncate_bytes`, after which the
    answer's body breaks off; `wrong_crc`. `when` says whether the error, reset, delay or hold comes
    "before" or "after" the request is carried out.
    """

    method: str | None = None
    bucket: str | None = None
    operation: str | None = None
    key_prefix: str = ""
    key_pattern: str | None = None
    times: int | None = 1
    skip: int = 0
    probability: float = 1.0
    seed: int = 0
    when: Literal["before", "after"] = "before"
    status: int | None = None
    code: str = "InternalError"
    message: str = "Injected by the stand-in's control API."
    qos_delay_ms: int | None = None
    reset: bool = False
    delay_seconds: float = 0.0
    hold: bool = False
    bytes_per_second: float | None = None
    truncate_bytes: int | None = None
    wrong_crc: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a rule without an effect or with a malformed pattern."""
        if self.when not in ("before", "after"):
            raise ValueError(f'when must be "before" or "after", not {self.when!r}')
        if self.key_pattern is not None:
            try:
                re.compile(self.key_pattern)
            except re.error as error:
                raise ValueError(f"key_pattern is no regular expression: {error}") from None
        has_effect = self.status is not None or self.truncate_bytes is not None
        paces = self.delay_seconds > 0 or self.hold or self.bytes_per_second is not None
        if not (has_effect or paces or self.reset or self.wrong_crc):
            raise ValueError("a fault needs an effect: status, reset, delay_seconds, …")

    def matches(self, *, method: str, bucket: str, key: str, operation: str) -> bool:
        """Whether the rule matches a request."""
        return (
            (self.method is None or self.method == method)
            and (self.bucket is None or self.bucket == bucket)
            and (self.operation is None or self.operation == operation)
            and key.startswith(self.key_prefix)
            and (self.key_pattern is None or re.search(self.key_pattern, key) is not None)
        )

    def error(self) -> OssError | None:
        """The error to answer, if the rule has one."""
        if self.status is None:
            return None
        delay = self.qos_delay_ms
        headers = {} if delay is None else {"x-oss-qos-delay-time": str(delay)}
        return OssError(self.code, self.message, status=self.status, headers=headers)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    fault_id: int
    left: int | None
    to_skip: int
    generator: random.Random
    cleared: threading.Event


@dataclass(frozen=True, slots=True)
class FiredFault:
    """A rule that fires for a request; `cleared` is set when the rules are cleared."""

    fault_id: int
    fault: Fault
    cleared: threading.Event


class Faults:
    """The armed rules; the first rule that matches a request and fires is applied to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._ids = itertools.count(1)
        self._cleared = threading.Event()
        self.held = 0  # how many requests are held now

    def add(self, fault: Fault) -> int:
        """Arm a rule; returns its id."""
        with self._lock:
            fault_id = next(self._ids)
            generator = random.Random(fault.seed)
            self._armed.append(
                _Armed(fault, fault_id, fault.times, fault.skip, generator, self._cleared)
            )
        return fault_id

    def clear(self) -> None:
        """Disarm all rules, and release the requests that they hold."""
        with self._lock:
            self._armed.clear()
            self._cleared.set()
            self._cleared = threading.Event()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count a request as held until the context ends."""
        with self._lock:
            self.held += 1
        try:
            yield
        finally:
            with self._lock:
                self.held -= 1

    def list(self) -> list[tuple[int, Fault, int | None]]:
        """(id, rule, how many times it can still fire) for each armed rule."""
        with self._lock:
            return [(armed.fault_id, armed.fault, armed.left) for armed in self._armed]

    def fire(self, *, method: str, bucket: str, key: str, operation: str) -> FiredFault | None:
        """Find the rule that fires for this request, if any, and count it."""
        if not self._armed:
            return None
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if not fault.matches(method=method, bucket=bucket, key=key, operation=operation):
                    continue
                if armed.to_skip:
                    armed.to_skip -= 1
                    continue
                if armed.generator.random() >= fault.probability:
                    continue
                if armed.left is not None:
                    armed.left -= 1
                    if not armed.left:
                        self._armed.remove(armed)
                return FiredFault(armed.fault_id, fault, armed.cleared)
        return None
