"""The one door: to which addresses the service connects, whatever the database asks for.

Whoever edits a rule, or controls the DNS of a name, must not lead the service to a metadata
service, to loopback, or into a private network. The transport connects to the very addresses that
were checked, so a name that resolves differently the second time (DNS rebinding) gains nothing.

The tables are IANA's registries of special-purpose addresses, and not Python's `is_global`, whose
answers change from one patch release to the next.

    https://www.iana.org/assignments/iana-ipv4-special-registry
    https://www.iana.org/assignments/iana-ipv6-special-registry
"""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from replication.stores.transport.errors import AddressRefused
from replication.stores.transport.routes import Origin

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Entry = tuple[Any, Any, int, str, tuple[Any, ...]]  # as socket.getaddrinfo returns them


def _networks(*names: str) -> tuple[Network, ...]:
    return tuple(map(ip_network, names))


# Those of organisations and their providers: a VPC's, and 100.64.0.0/10, which has OSS's internal
# endpoints.
_PRIVATE = _networks("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_SPECIAL = _networks(
    "0.0.0.0/8",
    "127.0.0.0/8",
    "168.63.129.16/32",  # Azure's own services, from within a virtual machine
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",  # with Teredo, which has an IPv4 address inside
    "2001:db8::/32",
    "2002::/16",  # 6to4, likewise
    "3fff::/20",
)
_IPV6_GLOBAL = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Where a machine or container finds its own credentials. No list permits them: only the SDKs' own
# search for credentials, which the environment configures, may ask there.
_METADATA = _networks(
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
    "fd20:ce::254/128",
)
ECS_METADATA = Origin("http", "100.100.100.200", 80)
# Over https such a name proves by its certificate whose server it is. The names of their endpoints
# in a VPC resolve to private addresses.
_PROVIDERS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".aliyuncs.com")


class Door:
    """Lets connections out to public addresses by https, and where the lists permit more."""

    def __init__(
        self,
        *,
        private_networks: Iterable[str] = (),
        plain_http_hosts: Iterable[str] = (),
        opens_vpc: bool = True,
    ) -> None:
        """
        Args:
            opens_vpc: whether a name of AWS or Alibaba Cloud may resolve to a private address. To
                places that the provider itself runs: customers' servers have such names, too.
            private_networks: networks that are not public, but permitted, by https and by http.
            plain_http_hosts: names of public hosts that are permitted by http, too.
        """
        self._private_networks = _networks(*private_networks)
        self._opens_vpc = opens_vpc
        self._plain_http_hosts = frozenset(map(str.lower, plain_http_hosts))

    def addresses(self, origin: Origin) -> list[str]:
        """The addresses of the origin's host that a connection may go to.

        Raises:
            AddressRefused: there are none.
            OSError: the name is unknown.
        """
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        parsed = {each: _parsed(each) for each in addresses}
        reachable = [
            each
            for each in addresses
            if self.permits(parsed[each])
            or (self._opens_vpc and _is_the_provider_s(parsed[each], origin))
        ]
        if not reachable:
            raise _refused(origin.host, addresses)
        listed = [each for each in reachable if self._is_listed(parsed[each])]
        if listed and origin.scheme == "http":
            return listed
        self.check_scheme(origin)
        return reachable

    def check_scheme(self, origin: Origin) -> None:
        """Check how a host is spoken to that is in no listed network, or not known to be.

        Raises:
            AddressRefused: by http, without TLS, and it is not a listed host.
        """
        if origin.scheme == "http" and origin.host.lower() not in self._plain_http_hosts:
            raise AddressRefused(f"{origin.host} has no TLS, and is not in S3SYNC_PLAIN_HTTP_HOSTS")

    def permits(self, address: Address) -> bool:
        """Whether the address is public, or in a listed network."""
        if _is_in(_unwrapped(address), _METADATA):
            return False
        return is_public(address) or self._is_listed(address)

    def permitted(self, host: str, entries: Sequence[Entry]) -> list[Entry]:
        """Those of the entries that `socket.getaddrinfo` returned for the host that are permitted.

        Raises:
            AddressRefused: there are none.
        """
        reachable = [entry for entry in entries if self.permits(_parsed(str(entry[4][0])))]
        if not reachable:
            raise _refused(host, [str(entry[4][0]) for entry in entries])
        return reachable

    def _is_listed(self, address: Address) -> bool:
        if any(_is_in(each, _METADATA) for each in _inside(address)):
            return False
        return any(_is_in(each, self._private_networks) for each in (address, _unwrapped(address)))


class MetadataDoor(Door):
    """Lets connections out to the metadata service of Alibaba Cloud's ECS, and nowhere else.

    Only for the search for credentials, which the environment configures.
    """

    def addresses(self, origin: Origin) -> list[str]:
        """See Door."""
        if origin != ECS_METADATA:
            raise AddressRefused(f"{origin.netloc} is not the metadata service of ECS")
        return [origin.host]


def is_public(address: Address) -> bool:
    """Whether the address is one of the public Internet, the same on every Python."""
    target = _unwrapped(address)
    if isinstance(target, IPv6Address) and target not in _IPV6_GLOBAL:
        return False
    return not _is_in(target, _PRIVATE + _SPECIAL)


def _is_the_provider_s(address: Address, origin: Origin) -> bool:
    """Whether the address can be an endpoint of AWS or Alibaba Cloud in a VPC."""
    target = _unwrapped(address)
    return (
        origin.scheme == "https"
        and origin.host.lower().endswith(_PROVIDERS)
        and _is_in(target, _PRIVATE)
        and not _is_in(target, _METADATA)
    )


def _refused(host: str, addresses: Iterable[str]) -> AddressRefused:
    found = ", ".join(dict.fromkeys(addresses))
    return AddressRefused(
        f"{host} resolves to {found}, which is not public and not in S3SYNC_PRIVATE_NETWORKS"
    )


def _parsed(address: str) -> Address:
    return ip_address(address.partition("%")[0])


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _inside(address: Address) -> list[Address]:
    """The IPv4 addresses that a gateway may find in an address, by whatever way of translation."""
    if isinstance(address, IPv4Address):
        return []
    last = IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo or ()
    return [last, *teredo, *filter(None, [address.sixtofour])]


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
