"""HTTP/1.1 for S3, OSS, SQS and web servers, on kept connections, straight or through a proxy.

The SDKs sign the requests and interpret the answers. This package carries them, at a fraction of
the CPU cost of requests, urllib3 and http.client (docs/reports/performance.md). It follows no
redirects, repeats only a GET or HEAD whose kept connection had closed, and decompresses nothing.
"""

from replication.stores.transport.answer import Answer
from replication.stores.transport.door import Door
from replication.stores.transport.errors import (
    AddressRefused,
    AnswerBroken,
    NoAnswer,
    TlsFailed,
    TooSlow,
    TransportError,
)
from replication.stores.transport.headers import Headers
from replication.stores.transport.pace import Limits
from replication.stores.transport.pool import Pool, tls_context

__all__ = [
    "AddressRefused",
    "Answer",
    "AnswerBroken",
    "Door",
    "Headers",
    "Limits",
    "NoAnswer",
    "Pool",
    "TlsFailed",
    "TooSlow",
    "TransportError",
    "tls_context",
]
