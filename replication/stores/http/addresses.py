"""Connections of a web client to public addresses alone, and to networks that were allowed.

A source's domain is answered for by somebody else's DNS. The address that was checked is the one
that is connected to, so a name which leads elsewhere at the second look (DNS rebinding) gains
nothing.
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
    """As urllib3's, for whose connections ReplicationError SOURCE_ADDRESS_REFUSED may be raised.

    Args:
        allowed: networks that may be connected to although they are not public.
    """

    def __init__(self, *, allowed: Iterable[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        networks = tuple(map(ipaddress.ip_network, allowed))

        # urllib3 makes connections of a class, without a way to hand them an argument.
        class GuardedHttp(_GuardedHttp):
            allowed = networks

        class GuardedHttps(_GuardedHttps):
            allowed = networks

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = GuardedHttp

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = GuardedHttps

        self.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


def is_reachable(address: Address, *, allowed: Iterable[Network] = ()) -> bool:
    """Whether we may connect there: a public address, or one of an allowed network."""
    inner = _inner(address)
    if any(inner in network or address in network for network in allowed):
        return True
    return inner.is_global and not inner.is_multicast


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, if it is such a one."""
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
    """A connection to the first reachable address that answers, as urllib3's own raises."""
    host = connection.host.strip("[]")
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(host, connection, reason) from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    reachable = [
        address
        for address in addresses
        if is_reachable(ipaddress.ip_address(address.partition("%")[0]), allowed=allowed)
    ]
    if not reachable:
        raise ReplicationError(
            ErrorCode.SOURCE_ADDRESS_REFUSED, f"{host} is {', '.join(addresses)}"
        )
    failure: Exception | None = None
    for address in reachable:
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
