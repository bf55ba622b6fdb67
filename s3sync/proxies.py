"""Finds the address of a client behind proxies, and believes no proxy that is not trusted."""

from collections.abc import Callable
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What a trusted proxy may say of its client; of others it is removed.
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO")

log = structlog.get_logger(__name__)


class ProxyMiddleware:
    """Sets REMOTE_ADDR to the client's address, and removes what an untrusted peer forwards."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._has_warned = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        peer = parse_address(request.META.get("REMOTE_ADDR", ""))
        if peer is not None:
            request.META["REMOTE_ADDR"] = str(peer)
        networks = _networks(tuple(settings.S3SYNC.proxy_networks))
        if peer is not None and _is_in(peer, networks):
            client = client_address(
                peer,
                request.META.get("HTTP_X_FORWARDED_FOR", ""),
                trusted=networks,
                hops=settings.S3SYNC.proxy_hops,
            )
            request.META["REMOTE_ADDR"] = str(client)
        else:
            self._ignore_headers(request)
        return self.get_response(request)

    def _ignore_headers(self, request: HttpRequest) -> None:
        ignored = [request.META.pop(name, None) for name in _FORWARDED]
        if ignored.count(None) < len(ignored) and not self._has_warned:
            self._has_warned = True  # once: anybody can send such a header
            log.warning(
                "web.untrusted_proxy",
                address=request.META.get("REMOTE_ADDR"),
                hint="X-Forwarded-For and X-Forwarded-Proto of this address are ignored. If it is "
                "your proxy, name its network in S3SYNC_TRUSTED_PROXIES.",
            )


def client_address(
    peer: Address, forwarded_for: str, *, trusted: tuple[Network, ...], hops: int
) -> Address:
    """The client's address: each proxy appended to X-Forwarded-For the address that it saw.

    The header is read from its end, for at most `hops` entries, while the address so far is of a
    trusted proxy. A client can forge everything before. The first entry that is no address ends it.
    """
    address = peer
    for entry in forwarded_for.split(",")[: -hops - 1 : -1]:
        seen = parse_address(entry) if _is_in(address, trusted) else None
        if seen is None:
            break
        address = seen
    return address


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: also with a port, in brackets or quotes; None if it is none.

    An IPv4 address in IPv6 form is returned as IPv4, and a zone is left out.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def counted_address(address: Address) -> Address:
    """What limits count by: of IPv6 the /64 network, in which one client has all addresses."""
    if isinstance(address, IPv4Address):
        return address
    return ip_network((address, 64), strict=False).network_address


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@cache
def _networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)
