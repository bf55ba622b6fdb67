"""Permits connections to public addresses and to allowed networks only.

Someone else's DNS resolves a source's domain. The transport connects to the very address that was
checked, so a name that resolves differently the second time (DNS rebinding) gains nothing.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable

from replication.errors import ErrorCode, ReplicationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def permitted_addresses(allowed: Iterable[str]) -> Callable[[str, int], list[str]]:
    """Return what looks up the addresses of a host and port that a connection may go to.

    It raises OSError if the name is unknown, and ReplicationError SOURCE_ADDRESS_REFUSED if no
    address is permitted.

    Args:
        allowed: networks that are permitted although they are not public.
    """
    networks = tuple(map(ipaddress.ip_network, allowed))

    def look_up(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        permitted = [
            address
            for address in addresses
            if may_connect_to(ipaddress.ip_address(address.partition("%")[0]), allowed=networks)
        ]
        if not permitted:
            raise ReplicationError(
                ErrorCode.SOURCE_ADDRESS_REFUSED, f"{host} resolves to {', '.join(addresses)}"
            )
        return permitted

    return look_up


def may_connect_to(address: Address, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether the address is public, or in an allowed network."""
    target = _unwrapped(address)
    if any(target in network or address in network for network in allowed):
        return True
    return target.is_global and not target.is_multicast


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address embeds, or else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
