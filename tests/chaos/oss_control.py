"""The OSS stand-in's control API, as chaos uses it."""

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LOG_SIZE = 1_000_000


@dataclass(frozen=True)
class Write:
    """A request that changes an object, in the stand-in's log; `fault` is what struck it."""

    key: str
    operation: str
    started: float  # seconds of the stand-in's monotonic clock
    ended: float
    fault: int | None
    status: int


class OssControl:
    """One stand-in's control API."""

    def __init__(self, endpoint_url: str) -> None:
        self._netloc = urlsplit(endpoint_url).netloc

    def remember_all_requests(self) -> None:
        """Let the log hold all that a run can send."""
        self._ask("PUT", "/-/requests", {"size": LOG_SIZE})

    def add_fault(self, **fault: Any) -> int:
        """Arm a fault; its id."""
        return int(json.loads(self._ask("POST", "/-/faults", fault))["id"])

    def clear_faults(self) -> None:
        """Disarm all faults."""
        self._ask("DELETE", "/-/faults")

    def writes(self) -> list[Write]:
        """All puts and deletes of the log.

        Raises:
            RuntimeError: the log is not complete.
        """
        log = json.loads(self._ask("GET", "/-/requests"))
        if log["dropped"]:
            raise RuntimeError(f"{log['dropped']} requests fell out of the OSS stand-in's log")
        return [
            Write(
                entry["key"],
                entry["operation"],
                entry["started_monotonic"],
                entry["ended_monotonic"],
                entry["fault"],
                entry["status"],
            )
            for entry in log["requests"]
            if entry["operation"] in {"PutObject", "CompleteMultipartUpload", "DeleteObject"}
        ]

    def contents(self, bucket: str) -> dict[str, tuple[int, int]]:
        """Each key's size and CRC-64, whichever way it was written."""
        lines = self._ask("GET", f"/-/objects?bucket={bucket}").splitlines()
        return {key: (size, int(crc64)) for _, key, size, crc64, _ in map(json.loads, lines)}

    def _ask(self, method: str, path: str, said: Any = None) -> bytes:
        connection = http.client.HTTPConnection(self._netloc, timeout=60)
        try:
            connection.request(method, path, json.dumps(said) if said is not None else None)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"the OSS stand-in, {method} {path}: {body.decode()}")
        return body
