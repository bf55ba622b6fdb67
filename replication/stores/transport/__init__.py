"""HTTP/1.1 for the frequent calls: S3 GETs, SQS calls and all OSS requests, on kept connections.

The SDKs sign the requests and interpret the answers. This package carries them, at a fraction of
the CPU cost of requests, urllib3 and http.client (docs/reports/performance.md). It follows no
redirects, repeats only a GET or HEAD whose kept connection had closed, and decompresses nothing.
"""

from replication.stores.transport.answer import Answer, Headers
from replication.stores.transport.connection import Timeouts
from replication.stores.transport.errors import AnswerBroken, NoAnswer, TransportError
from replication.stores.transport.pool import Pool, tls_context

__all__ = [
    "Answer",
    "AnswerBroken",
    "Headers",
    "NoAnswer",
    "Pool",
    "Timeouts",
    "TransportError",
    "tls_context",
]
