"""HTTP/1.1 for what a lane does most: a GET here, a PUT there, on connections that are kept.

The SDKs sign the requests and say what the answers mean; this carries them, for a fraction of the
CPU of requests, urllib3 and http.client (docs/reports/performance.md). It follows no redirect,
retries nothing that may have been carried out, and decompresses nothing.
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
