"""Whether a place answers at all, and what its clock says: one request without credentials.

The date of an answer is there whatever the answer is, so no permission is needed. Certificates are
for the stores to judge, which may trust others than we do here.
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

# Both S3 and OSS refuse a signature of another time than theirs by more.
REFUSED_SECONDS = 15 * 60
# More than any network delays an answer, and than a clock is off that is kept by NTP.
DOUBTFUL_SECONDS = 30


def knock(url: str, *, proxied: bool) -> Findings:
    """Reach the server of this address and compare clocks.

    Args:
        proxied: whether the client that it is for looks for proxies in the environment.
    """
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    where = f"{place.hostname}:{port}"
    began = time.time()
    try:
        answer = _pool(url, proxied=proxied).request(
            "GET",
            url,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )
    except SSLError as error:
        yield passed(Check.REACHED, f"{where} answers")
        yield unknown(Check.CLOCK, f"its TLS is not ours to judge here: {error}")
        return
    except HTTPError as error:
        yield _not_reached(error, where=where)
        return
    date = answer.headers.get("date", "")
    answer.close()
    yield passed(Check.REACHED, f"{where} answers")
    yield _compare(date, ours=(began + time.time()) / 2, where=where)


def _pool(url: str, *, proxied: bool) -> urllib3.PoolManager:
    place = urlsplit(url)
    proxy = getproxies().get(place.scheme) if proxied else None
    if proxy and not proxy_bypass(place.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _not_reached(error: HTTPError, *, where: str) -> Finding:
    host = where.rpartition(":")[0]
    internal = (
        " An -internal endpoint answers inside Alibaba Cloud, in its own region, alone: elsewhere "
        "take the public one."
        if "-internal." in host
        else ""
    )
    if isinstance(error, NameResolutionError):
        return failed(
            Check.REACHED,
            f"no host is named {host}: the DNS does not know it",
            fix="Check the endpoint's and the region's spelling; then the DNS of this host.",
        )
    if isinstance(error, NewConnectionError):  # it is a ConnectTimeoutError, too
        return failed(
            Check.REACHED,
            f"no connection to {where}: {error}",
            fix=f"Check host and port of the endpoint; nobody listens there, or a firewall between "
            f"turns us away.{internal}",
        )
    if isinstance(error, ConnectTimeoutError):
        return failed(
            Check.REACHED,
            f"no connection to {where} in {CONNECT_SECONDS:g} s",
            fix=f"Let this host out to {where} (firewall, security group, route, VPC endpoint), or "
            f"correct the endpoint.{internal}",
        )
    if isinstance(error, ReadTimeoutError):
        return failed(
            Check.REACHED,
            f"{where} takes the connection and does not answer in {READ_SECONDS:g} s",
            fix="Check that the endpoint's port and scheme (http or https) are right, and what is "
            "between here and there: a proxy, a load balancer without servers.",
        )
    return failed(
        Check.REACHED,
        f"{where} answers what is no HTTP: {error}",
        fix="Check the scheme (http or https), host and port of the endpoint.",
    )


def _compare(date: str, *, ours: float, where: str) -> Finding:
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return unknown(Check.CLOCK, f"{where} does not say what time it is")
    off = ours - theirs
    if abs(off) < DOUBTFUL_SECONDS:
        return passed(Check.CLOCK, f"as that of {where}")
    side = "ahead of" if off > 0 else "behind"
    found = f"this host's clock is {abs(off):,.0f} s {side} that of {where}"
    fix = "Correct the clock of this host, and keep it by NTP (chrony or ntpd)."
    if abs(off) < REFUSED_SECONDS:
        return warned(Check.CLOCK, f"{found}: at {REFUSED_SECONDS} s all is refused", fix=fix)
    return failed(
        Check.CLOCK, f"{found}: signatures are refused from {REFUSED_SECONDS} s on", fix=fix
    )
