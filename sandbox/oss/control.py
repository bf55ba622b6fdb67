"""The control API under `/-/`: JSON, without signatures, from loopback only."""

import dataclasses
import ipaddress
import itertools
import json
from collections.abc import Callable
from typing import Any

from sandbox.oss.body import Body
from sandbox.oss.errors import OssError
from sandbox.oss.faults import Fault
from sandbox.oss.http import Connection, RequestHead
from sandbox.oss.permissions import Denial
from sandbox.oss.service import Service

REQUEST_BYTES = 1 << 20
BATCH_OBJECTS = 1000
OBJECTS = ("GET", "/-/objects")


def handle(
    service: Service, connection: Connection, head: RequestHead, body: Body, peer: str
) -> bool:
    """Answer one control request; False if the connection must be closed."""
    if not ipaddress.ip_address(peer).is_loopback:
        _send_json(connection, 403, {"error": "the control API is for loopback clients only"})
        return False
    raw = body.read_all(REQUEST_BYTES)
    if raw is None:
        _send_json(connection, 400, {"error": "the request is larger than 1 MiB"})
        return False
    try:
        if (head.method, head.raw_path) == OBJECTS:
            _send_objects(service, connection, head.query)
            return True
        endpoint = _ENDPOINTS[head.method, head.raw_path]
        answer = endpoint(service, head.query, json.loads(raw) if raw else {})
        status = 200
    except OssError as error:
        status, answer = error.status, {"error": str(error)}
    except (ValueError, TypeError, KeyError) as error:
        known = sorted(f"{method} {path}" for method, path in (*_ENDPOINTS, OBJECTS))
        status, answer = 400, {"error": f"{type(error).__name__}: {error}", "known": known}
    _send_json(connection, status, answer)
    return True


def _list_requests(service: Service, query: dict[str, str], payload: Any) -> Any:
    entries = service.requests(
        bucket=query.get("bucket"), key=query.get("key"), operation=query.get("operation")
    )
    return {
        "size": service.log.size,
        "dropped": service.log.dropped,
        "requests": [dataclasses.asdict(entry) for entry in entries],
    }


def _resize_log(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.log.resize(int(payload["size"]))
    return {"size": service.log.size}


def _clear_log(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.log.clear()
    return {}


def _list_faults(service: Service, query: dict[str, str], payload: Any) -> Any:
    return {
        "faults": [
            {"id": fault_id, "left": left, **dataclasses.asdict(fault)}
            for fault_id, fault, left in service.faults.list()
        ]
    }


def _add_fault(service: Service, query: dict[str, str], payload: Any) -> Any:
    return {"id": service.add_fault(Fault(**payload))}


def _clear_faults(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.clear_faults()
    return {}


def _list_denials(service: Service, query: dict[str, str], payload: Any) -> Any:
    return {"denials": [dataclasses.asdict(denial) for denial in service.denials]}


def _deny(service: Service, query: dict[str, str], payload: Any) -> Any:
    if "actions" in payload:
        payload["actions"] = tuple(payload["actions"])
    service.deny(Denial(**payload))
    return {}


def _clear_denials(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.clear_denials()
    return {}


def _set_secret(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.set_secret(
        payload["id"],
        payload["secret"],
        security_token=payload.get("security_token"),
        ends_at=payload.get("ends_at"),
    )
    return {}


def _remove_key(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.remove_key(payload["id"])
    return {}


def _add_kms_key(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.add_kms_key(payload["id"])
    return {}


def _set_lenient(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.set_lenient(bool(payload["lenient"]))
    return {}


def _set_clock(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.set_clock_offset(float(payload["offset_seconds"]))
    return {}


def _create_bucket(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.create_bucket(payload["name"], acl=payload.get("acl", "private"))
    return {}


def _reset(service: Service, query: dict[str, str], payload: Any) -> Any:
    service.reset()
    return {}


def _health(service: Service, query: dict[str, str], payload: Any) -> Any:
    return {"region": service.region, "buckets": sorted(service.store.buckets)}


_Endpoint = Callable[[Service, dict[str, str], Any], Any]

_ENDPOINTS: dict[tuple[str, str], _Endpoint] = {
    ("GET", "/-/health"): _health,
    ("GET", "/-/requests"): _list_requests,
    ("PUT", "/-/requests"): _resize_log,
    ("DELETE", "/-/requests"): _clear_log,
    ("GET", "/-/faults"): _list_faults,
    ("POST", "/-/faults"): _add_fault,
    ("DELETE", "/-/faults"): _clear_faults,
    ("GET", "/-/denials"): _list_denials,
    ("POST", "/-/denials"): _deny,
    ("DELETE", "/-/denials"): _clear_denials,
    ("PUT", "/-/keys"): _set_secret,
    ("DELETE", "/-/keys"): _remove_key,
    ("PUT", "/-/kms-keys"): _add_kms_key,
    ("PUT", "/-/clock"): _set_clock,
    ("PUT", "/-/leniency"): _set_lenient,
    ("PUT", "/-/buckets"): _create_bucket,
    ("POST", "/-/reset"): _reset,
}


def _send_objects(service: Service, connection: Connection, query: dict[str, str]) -> None:
    """Stream one JSON array per line, [bucket, key, size, crc64, etag], sorted."""
    found = service.store.contents(query.get("bucket"), query.get("prefix", ""))
    connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    while batch := list(itertools.islice(found, BATCH_OBJECTS)):
        lines = "".join(
            json.dumps([*names, stored.size, stored.content.crc64, stored.etag.strip('"')]) + "\n"
            for *names, stored in batch
        ).encode()
        connection.send(b"%x\r\n%s\r\n" % (len(lines), lines))
    connection.send(b"0\r\n\r\n")


def _send_json(connection: Connection, status: int, value: Any) -> None:
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    connection.send(
        b"HTTP/1.1 %d Control\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % (status, len(data))
        + data
    )
