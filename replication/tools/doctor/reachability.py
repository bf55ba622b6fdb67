"""Whether an endpoint answers, and whether its clock agrees with ours.

One request without credentials tells both: any answer has a Date header, so no permission is
needed. Certificates are not judged here: the stores judge them, and may trust others than we do.
"""

import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
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
        answer = _pool(url).request(
            "GET",
            url,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )
    except SSLError as error:
        yield passed(Check.REACHED, f"{where} answers")
        yield unknown(
            Check.CLOCK,
            f"the clocks can't be compared: {where} has a certificate that only the store's own "
            f"client can judge ({error})",
        )
        return
    except HTTPError as error:
        yield _not_reached(error, where=where)
        return
    date = answer.headers.get("date", "")
    answer.close()
    yield passed(Check.REACHED, f"{where} answers")
    yield _compare_clocks(date, ours=(began + time.time()) / 2, where=where)


def _pool(url: str) -> urllib3.PoolManager:
    address = urlsplit(url)
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _not_reached(error: HTTPError, *, where: str) -> Finding:
    host = where.rpartition(":")[0]
    internal = (
        " An -internal endpoint answers only inside Alibaba Cloud, in its own region: from "
        "elsewhere, use the public endpoint."
        if "-internal." in host
        else ""
    )
    if isinstance(error, NameResolutionError):
        return failed(
            Check.REACHED,
            f"DNS does not know the host {host}",
            fix="Check the spelling of the endpoint and of the region; then check the DNS of this "
            "host.",
        )
    if isinstance(error, NewConnectionError):  # also a ConnectTimeoutError, so it comes first
        return failed(
            Check.REACHED,
            f"no connection to {where}: {error}",
            fix=f"Check the endpoint's host and port: nothing listens there, or a firewall rejects "
            f"the connection.{internal}",
        )
    if isinstance(error, ConnectTimeoutError):
        return failed(
            Check.REACHED,
            f"no connection to {where} within {CONNECT_SECONDS:g} s",
            fix=f"Allow this host to connect to {where} (firewall, security group, route, VPC "
            f"endpoint), or correct the endpoint.{internal}",
        )
    if isinstance(error, ReadTimeoutError):
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
