"""Lets an HTTP client connect to public addresses and to allowed networks only.

Someone else's DNS resolves a source's domain. The client connects to the very address that was
checked, so a name that resolves differently the second time (DNS rebinding) gains nothing.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from replication.errors import ErrorCode, ReplicationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class GuardedPoolManager(urllib3.PoolManager):
    """urllib3's PoolManager; a request may raise ReplicationError SOURCE_ADDRESS_REFUSED.

    Args:
        allowed: networks that the client may connect to although they are not public.
    """

    def __init__(self, *, allowed: Iterable[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        networks = tuple(map(ipaddress.ip_network, allowed))

        # urllib3 creates connections from a class, and can't pass them an argument.
        class GuardedHttp(_GuardedHttp):
            allowed = networks

        class GuardedHttps(_GuardedHttps):
            allowed = networks

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = GuardedHttp

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = GuardedHttps

        self.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


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


class _GuardedHttp(HTTPConnection):
    allowed: tuple[Network, ...] = ()

    def _new_conn(self) -> socket.socket:
        return _connect(self, self.allowed)


class _GuardedHttps(HTTPSConnection):
    allowed: tuple[Network, ...] = ()

    def _new_conn(self) -> socket.socket:
        return _connect(self, self.allowed)


def _connect(connection: HTTPConnection, allowed: tuple[Network, ...]) -> socket.socket:
    """Connect to the first allowed address that accepts; raises what urllib3's own method does.

    Raises:
        ReplicationError: SOURCE_ADDRESS_REFUSED, if no address of the name is allowed.
    """
    host = connection.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(host, connection, reason) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    permitted = [
        address
        for address in addresses
        if may_connect_to(ipaddress.ip_address(address.partition("%")[0]), allowed=allowed)
    ]
    if not permitted:
        raise ReplicationError(
            ErrorCode.SOURCE_ADDRESS_REFUSED, f"{host} resolves to {', '.join(addresses)}"
        )
    failure: Exception | None = None
    for address in permitted:
        try:
            return create_connection(
                (address, connection.port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except TimeoutError:
            failure = ConnectTimeoutError(
                connection, f"connecting to {host} ({address}) took over {connection.timeout} s"
            )
        except OSError as error:
            failure = NewConnectionError(
                connection, f"no connection to {host} ({address}:{connection.port}): {error}"
            )
    assert failure is not None
    raise failure
