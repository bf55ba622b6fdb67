"""Connects to an origin: TCP, a proxy's tunnel, TLS. All of it together has one time limit."""

import re
import select
import socket
import ssl
import time
from collections.abc import Sequence

from replication.stores.transport.door import Door
from replication.stores.transport.errors import TlsFailed, TransportError
from replication.stores.transport.routes import Origin, Proxy

_MAX_TUNNEL_HEAD_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})([^\r\n]*)\r\n")

# A handshake that breaks off is a fault of the network; other TLS errors stay until a person acts.
_BROKEN_HANDSHAKES = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def connect(
    origin: Origin,
    *,
    proxy: Proxy | None,
    door: Door | None,
    seconds: float,
    tls: ssl.SSLContext,
    session: ssl.SSLSession | None,
) -> socket.socket:
    """Return a connected, non-blocking socket.

    Args:
        proxy: connect through it: by a tunnel to an https origin, else to the proxy itself.
        door: says which addresses of the origin are permitted; without one, all are. Behind a
            proxy, the proxy looks the name up, so the door only refuses what it knows.
        session: a TLS session of an earlier connection to the same origin. Resuming it spares
            most of the handshake's work.

    Raises:
        AddressRefused: no address is permitted.
        TlsFailed: the TLS handshake failed for another reason than the network.
        TransportError: no server accepted the connection, or the proxy refused it.
    """
    deadline = time.monotonic() + seconds
    connected = _connect_to_server(origin, proxy, door, seconds)
    try:
        # Without TCP_NODELAY the kernel holds back the end of a request until the server has
        # acknowledged the beginning.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setblocking(False)
        if origin.scheme == "https":
            if proxy is not None:
                _open_tunnel(connected, origin, proxy, deadline)
            # Closes `connected` if it fails.
            connected = tls.wrap_socket(
                connected,
                server_hostname=origin.host,
                session=session,
                do_handshake_on_connect=False,
            )
            _shake_hands(connected, deadline)
    except (OSError, ValueError) as error:  # ValueError: TLS can't name this server
        connected.close()
        is_lasting = isinstance(error, ssl.SSLError) and not isinstance(error, _BROKEN_HANDSHAKES)
        raise (TlsFailed if is_lasting else TransportError)(
            f"no {origin.scheme} connection to {origin.netloc}: {error}", is_surely_unsent=True
        ) from error
    except BaseException:
        connected.close()
        raise
    return connected


def _connect_to_server(
    origin: Origin, proxy: Proxy | None, door: Door | None, seconds: float
) -> socket.socket:
    """Connect to the proxy, or to the first permitted address of the origin that accepts."""
    server: Origin | Proxy = proxy or origin
    try:
        hosts: Sequence[str] = [server.host]
        if door is not None:
            try:
                permitted = door.addresses(origin)
            except OSError:
                if proxy is None:
                    raise
                door.check_scheme(origin)
            else:
                hosts = hosts if proxy else permitted
        for host in hosts[:-1]:
            try:
                return socket.create_connection((host, server.port), timeout=seconds)
            except OSError:
                continue
        # Tries all addresses of a name, one after the other.
        return socket.create_connection((hosts[-1], server.port), timeout=seconds)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long
        where = f"{proxy} for {origin.netloc}" if proxy else origin.netloc
        raise TransportError(f"no connection to {where}: {error}", is_surely_unsent=True) from error


def _open_tunnel(connected: socket.socket, origin: Origin, proxy: Proxy, deadline: float) -> None:
    """Ask the proxy to pass all further bytes on to the origin.

    Raises:
        TransportError: the proxy refused.
        OSError: the connection broke, or the time is over.
    """
    lines = [f"CONNECT {origin.netloc} HTTP/1.1", f"Host: {origin.netloc}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connected.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:
        _wait(connected, select.POLLIN, deadline)
        data = connected.recv(_MAX_TUNNEL_HEAD_BYTES)
        if not data or len(head) > _MAX_TUNNEL_HEAD_BYTES:
            raise TransportError(
                f"{proxy} ended the connection to {origin.netloc}", is_surely_unsent=True
            )
        head += data
    match = _STATUS.match(head)
    status = int(match[1]) if match else 0
    # The origin speaks only after we do, so nothing may follow the head.
    if not 200 <= status < 300 or not head.endswith(b"\r\n\r\n"):
        answer = (match[1] + match[2]).decode("latin-1") if match else "not HTTP"
        raise TransportError(
            f"{proxy} refused the connection to {origin.netloc}: {answer}", is_surely_unsent=True
        )


def _shake_hands(connected: ssl.SSLSocket, deadline: float) -> None:
    while True:
        try:
            return connected.do_handshake()
        except ssl.SSLWantReadError:
            _wait(connected, select.POLLIN, deadline)
        except ssl.SSLWantWriteError:
            _wait(connected, select.POLLOUT, deadline)


def _wait(connected: socket.socket, events: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(connected, events)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("the time limit for connecting is over")
