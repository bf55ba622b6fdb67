"""Whether an endpoint answers, and whether its clock agrees with ours.

One request without credentials tells both: any answer has a Date header, so no permission is
needed. Certificates are not judged here: the stores judge them, and may trust others than we do.
"""

import socket
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from replication.stores.pools import door, trusted_tls
from replication.stores.transport import (
    AddressRefused,
    Limits,
    Pool,
    TlsFailed,
    TransportError,
)
from replication.tools.doctor.findings import (
    Check,
    Finding,
    Findings,
    failed,
    passed,
    unknown,
    warned,
)

CONNECT_SECONDS = 5.0
READ_SECONDS = 5.0

# S3 and OSS refuse a signature whose time differs from their own by this much or more.
REFUSED_SECONDS = 15 * 60
# More than a network delays an answer, and more than a clock kept by NTP is off.
DOUBTFUL_SECONDS = 30


def check_reachability(url: str) -> Findings:
    """Connect to the server of this URL, as the stores do by the environment's proxies, and compare
    clocks.
    """
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    where = f"{address.hostname}:{port}"
    began = time.time()
    try:
        answer = _pool().request("GET", url, headers=[])
    except TlsFailed as error:
        yield passed(Check.REACHED, f"{where} answers")
        yield unknown(
            Check.CLOCK,
            f"the clocks can't be compared: {where} has a certificate that only the store's own "
            f"client can judge ({error})",
        )
        return
    except TransportError as error:
        yield _not_reached(error, where=where)
        return
    date = answer.headers.get("date", "")
    answer.close()
    yield passed(Check.REACHED, f"{where} answers")
    yield _compare_clocks(date, ours=(began + time.time()) / 2, where=where)


def _pool() -> Pool:
    limits = Limits(
        connect_seconds=CONNECT_SECONDS,
        read_seconds=READ_SECONDS,
        exchange_seconds=READ_SECONDS,
        least_bytes_per_second=1,
    )
    return Pool(limits=limits, kept_at_most=1, tls=trusted_tls(), door=door())


def _not_reached(error: TransportError, *, where: str) -> Finding:
    host = where.rpartition(":")[0]
    internal = (
        " An -internal endpoint answers only inside Alibaba Cloud, in its own region: from "
        "elsewhere, use the public endpoint."
        if "-internal." in host
        else ""
    )
    reason = error.__cause__
    if isinstance(error, AddressRefused):
        return failed(
            Check.REACHED,
            f"s3sync may not connect to {where}: {error}",
            fix="If the host is in your own network, add that network to S3SYNC_PRIVATE_NETWORKS; "
            "for a public host without TLS, add its name to S3SYNC_PLAIN_HTTP_HOSTS; then restart. "
            "If not, correct the address.",
        )
    if isinstance(reason, socket.gaierror):
        return failed(
            Check.REACHED,
            f"DNS does not know the host {host}",
            fix="Check the spelling of the endpoint and of the region; then check the DNS of this "
            "host.",
        )
    if error.is_surely_unsent and not isinstance(reason, TimeoutError):
        return failed(
            Check.REACHED,
            str(error),
            fix=f"Check the endpoint's host and port: nothing listens there, or a firewall rejects "
            f"the connection.{internal}",
        )
    if error.is_surely_unsent:
        return failed(
            Check.REACHED,
            f"no connection to {where} within {CONNECT_SECONDS:g} s",
            fix=f"Allow this host to connect to {where} (firewall, security group, route, VPC "
            f"endpoint), or correct the endpoint.{internal}",
        )
    if isinstance(reason, TimeoutError):
        return failed(
            Check.REACHED,
            f"{where} accepts the connection but does not answer within {READ_SECONDS:g} s",
            fix="Check the endpoint's port and scheme (http or https); then check what is between "
            "this host and the endpoint: a proxy, or a load balancer without servers.",
        )
    return failed(
        Check.REACHED,
        f"{where} does not answer in HTTP: {error}",
        fix="Check the scheme (http or https), host and port of the endpoint.",
    )


def _compare_clocks(date: str, *, ours: float, where: str) -> Finding:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return unknown(
            Check.CLOCK, f"the clocks can't be compared: {where} sends no usable Date header"
        )
    off = ours - theirs
    if abs(off) < DOUBTFUL_SECONDS:
        return passed(Check.CLOCK, f"agrees with the clock of {where}")
    side = "ahead of" if off > 0 else "behind"
    found = f"this host's clock is {abs(off):,.0f} s {side} the clock of {where}"
    fix = "Correct this host's clock and keep it synchronised by NTP (chrony or ntpd)."
    if abs(off) < REFUSED_SECONDS:
        return warned(
            Check.CLOCK, f"{found}: from {REFUSED_SECONDS} s on, every request is refused", fix=fix
        )
    return failed(
        Check.CLOCK, f"{found}: from {REFUSED_SECONDS} s on, signatures are refused", fix=fix
    )
