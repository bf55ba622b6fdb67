"""Which way a connection takes to its origin: straight, or through a forward proxy.

The environment names the proxies, by the same variables and rules as boto3's: HTTP_PROXY,
HTTPS_PROXY and NO_PROXY, in upper or lower case.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from replication.stores.transport.errors import TransportError


class Origin(NamedTuple):
    """Where a connection leads. Requests to the same origin may share connections."""

    scheme: str  # http or https
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """The host and the port, with an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Proxy:
    """A forward proxy."""

    host: str
    port: int
    # The value of Proxy-Authorization; empty without credentials. It must never be logged.
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the proxy {self.host}:{self.port}"


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy that the environment names for this origin; None if there is none.

    Raises:
        TransportError: its URL can't be used. The message does not repeat it, for it may have a
            password.
    """
    url = getproxies_environment().get(origin.scheme, "")
    if not url or proxy_bypass(origin.netloc):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host = None
    if not host or parts.scheme != "http":
        raise TransportError(
            f"{origin.scheme.upper()}_PROXY must look like http://HOST:PORT",
            is_surely_unsent=True,
        )
    authorization = ""
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {b64encode(login.encode()).decode()}"
    return Proxy(host, port, authorization)
