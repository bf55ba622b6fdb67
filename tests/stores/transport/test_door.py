"""The door: which addresses, by which scheme, whatever the database asks for."""

import socket
from collections.abc import Callable
from ipaddress import ip_address
from itertools import product
from typing import Any

import pytest
from pytest_django import Settings

from replication.errors import ErrorCode, ReplicationError
from replication.intake import sqs_client
from replication.intake.sqs import Queue, QueueError
from replication.models import EventQueue
from replication.stores.http.store import HttpStore
from replication.stores.oss.store import OssStore
from replication.stores.s3.store import S3Store
from replication.stores.transport import AddressRefused, Door
from replication.stores.transport.door import is_public
from replication.stores.transport.routes import Origin
from replication.tools.doctor.findings import Level
from replication.tools.doctor.reachability import check_reachability
from tests.support.road import OSS_REGION

NOT_PUBLIC = [
    # IPv4: this host, loopback, private, shared, link-local, and what is kept for something else
    *["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "10.1.2.3", "172.16.0.1"],
    *["172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "169.254.169.254"],
    *["100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.2.1", "192.88.99.1"],
    *["198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1"],
    *["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
    # IPv6, likewise
    *["::", "::1", "fe80::1", "febf::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1"],
    *["100::1", "2001:db8::1", "2001:2::1", "2001:10::1", "2001:20::1", "3fff::1", "5f00::1"],
    # IPv4 within IPv6: mapped, translated, compatible, NAT64, 6to4, Teredo
    *["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:8.8.8.8", "::ffff:0:10.0.0.1"],
    *["::127.0.0.1", "::8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"],
    *["64:ff9b:1::8.8.8.8", "2002:7f00:1::", "2002:808:808::", "2001:0:808:808::1"],
]
PUBLIC = [
    *["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"],
    *["169.253.0.1", "192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255"],
    *["2606:4700::1111", "2400:3200::1", "2001:4860:4860::8888"],
    *["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_these_addresses_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_these_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


def to(host: str, scheme: str = "https") -> Origin:
    return Origin(scheme, host, 443)


def refuses(door: Door, origin: Origin) -> bool:
    try:
        door.addresses(origin)
    except AddressRefused:
        return True
    return False


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that has a name resolve to these addresses."""
    real = socket.getaddrinfo
    names: dict[str, tuple[str, ...]] = {}

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        found = [real(each, port, *rest, **more) for each in names.get(host, [host])]
        return [entry for entries in found for entry in entries]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def resolve(name: str, *addresses: str) -> None:
        names[name] = addresses

    return resolve


# -- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["10.20.1.1", "::ffff:10.20.1.1", "fd00:20::1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_listed_network_is_open_to_both_schemes(address: str, scheme: str) -> None:
    door = Door(private_networks=["10.20.0.0/16", "fd00:20::/32"])
    assert door.addresses(to(address, scheme))
    assert refuses(door, to("10.21.0.1", scheme))


@pytest.mark.parametrize(
    "address",
    [
        *["169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200"],
        *["168.63.129.16", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"],
        *["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::ffff:100.100.100.200"],
        *["64:ff9b:1::a9fe:a9fe", "::169.254.169.254", "::ffff:0:169.254.169.254"],
        *["2002:a9fe:a9fe::", "2001:0:a9fe:a9fe::1", "2001:0:1:2:3:4:5601:5601"],
        *["fd00::5efe:169.254.169.254"],
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_list_opens_the_metadata_services(address: str, scheme: str) -> None:
    everything = Door(private_networks=["0.0.0.0/0", "::/0"], plain_http_hosts=[address])
    assert refuses(everything, to(address, scheme))


@pytest.mark.parametrize(
    "host",
    [
        "s3.ap-east-1.amazonaws.com",
        "photos.S3.cn-north-1.amazonaws.com.cn",
        "vpce-1-2.sqs.ap-east-1.vpce.amazonaws.com",
        "photos.oss-cn-hangzhou-internal.aliyuncs.com",
    ],
)
def test_an_endpoint_of_the_provider_in_a_vpc_needs_tls_alone(
    host: str, resolves: Callable[..., None]
) -> None:
    resolves(host, "10.1.2.3")
    assert Door().addresses(to(host)) == ["10.1.2.3"]
    assert refuses(Door(), to(host, "http"))
    resolves(host, "100.118.1.2")  # where OSS's internal endpoints are
    assert Door().addresses(to(host)) == ["100.118.1.2"]
    for never in ("127.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "fe80::1"):
        resolves(host, never)
        assert refuses(Door(), to(host)), never
    for other in (f"{host}.example.com", "notamazonaws.com", "evil-aliyuncs.com"):
        resolves(other, "10.1.2.3")
        assert refuses(Door(), to(other)), other


def test_a_web_server_in_a_vpc_is_closed_though_its_name_is_the_provider_s(
    resolves: Callable[..., None],
) -> None:
    """Customers' own servers have such names: load balancers, search clusters, gateways."""
    host = "vpc-logs-abc.us-east-1.es.amazonaws.com"
    resolves(host, "10.0.3.7")
    with pytest.raises(ReplicationError) as refused:
        HttpStore(endpoint_url=f"https://{host}").open("a")
    assert refused.value.code is ErrorCode.SOURCE_ADDRESS_REFUSED


def test_only_the_permitted_addresses_of_a_name_are_tried(resolves: Callable[..., None]) -> None:
    resolves("files.example", "127.0.0.1", "8.8.8.8", "10.0.0.1")
    assert Door().addresses(to("files.example")) == ["8.8.8.8"]
    mixed = Door(private_networks=["10.0.0.0/8"])
    assert mixed.addresses(to("files.example")) == ["8.8.8.8", "10.0.0.1"]
    assert mixed.addresses(to("files.example", "http")) == ["10.0.0.1"]


# -- http without TLS --------------------------------------------------------------------------


def test_a_public_host_needs_tls_unless_it_is_listed(resolves: Callable[..., None]) -> None:
    resolves("files.example", "8.8.8.8")
    assert Door().addresses(to("files.example")) == ["8.8.8.8"]
    assert refuses(Door(), to("files.example", "http"))
    listed = Door(plain_http_hosts=["Files.Example"])
    assert listed.addresses(to("files.example", "http")) == ["8.8.8.8"]
    resolves("files.example", "10.1.2.3")
    assert refuses(listed, to("files.example", "http"))


# -- every kind of place -----------------------------------------------------------------------


def ask_s3(url: str) -> str:
    store = S3Store(bucket="photos", region="us-east-1", endpoint_url=url, profile="default")
    return refusal(lambda: store.open("a"))


def ask_s3_by_boto3(url: str) -> str:
    store = S3Store(bucket="photos", region="us-east-1", endpoint_url=url, profile="default")
    return refusal(lambda: store.head("a"))


def ask_http(url: str) -> str:
    return refusal(lambda: HttpStore(endpoint_url=url).open("a"))


def oss(url: str) -> OssStore:
    return OssStore(
        bucket="replica", endpoint=url, region=OSS_REGION, addressing="path", profile="default"
    )


def ask_oss(url: str) -> str:
    return refusal(lambda: oss(url).open("a"))


def ask_oss_by_oss2(url: str) -> str:
    return refusal(lambda: oss(url).list_page(prefix="", after=""))


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(ReplicationError) as refused:
        ask()
    assert refused.value.code in {
        ErrorCode.SOURCE_ADDRESS_REFUSED,
        ErrorCode.DESTINATION_ADDRESS_REFUSED,
    }
    return refused.value.detail


def ask_sqs(url: str) -> str:
    queue = Queue(EventQueue(name="events", url=f"{url}/1/events", region="us-east-1"))
    with pytest.raises(QueueError) as refused:
        queue.receive(wait_seconds=0)
    return str(refused.value)


def ask_as_doctor(url: str) -> str:
    [finding] = check_reachability(url)
    assert finding.level is Level.FAIL
    return finding.fix


HOSTS = ["127.0.0.1", "localhost", "2130706433"]
# oss2 takes no IPv6 address as an endpoint.
OSS = [ask_oss, ask_oss_by_oss2]
OTHERS = [ask_s3, ask_s3_by_boto3, ask_http, ask_sqs, ask_as_doctor]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("ask", "host"), [*product(OSS, HOSTS), *product(OTHERS, [*HOSTS, "[::ffff:127.0.0.1]"])]
)
def test_a_private_address_is_never_contacted(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[str], str],
    scheme: str,
    host: str,
) -> None:
    settings.S3SYNC = settings.S3SYNC.model_copy(update={"private_networks": []})
    monkeypatch.setattr(sqs_client, "_pool", sqs_client._pool.__wrapped__)  # a pool of its own
    with socket.create_server(("127.0.0.1", 0)) as listener:
        detail = ask(f"{scheme}://{host}:{listener.getsockname()[1]}")
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert "S3SYNC_PRIVATE_NETWORKS" in detail
