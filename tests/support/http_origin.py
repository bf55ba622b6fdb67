"""A web server that answers exactly the bytes that a test sets."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class HttpOrigin:
    """Answers each request with the raw bytes `answer`, and records the request targets."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.answer: bytes | Callable[[str], bytes] = b""
        self.targets: list[str] = []
        self.request = b""  # the whole last request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def answers(
        self, body: bytes = b"", *, status: str = "200 OK", length: int | None = -1, **headers: str
    ) -> None:
        """Set the answer, with the request id that S3 sends always.

        `length` is the Content-Length: -1 for the body's own, None for none.
        """
        lines = [f"HTTP/1.1 {status}", "Connection: close"]
        headers = {"x_amz_request_id": "of-the-origin", **headers}
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if length is not None:
            lines.append(f"Content-Length: {len(body) if length < 0 else length}")
        self.answer = "\r\n".join([*lines, "", ""]).encode() + body

    def answers_in_turn(self, *bodies: str) -> None:
        """Answer each request with the next of these bodies, as JSON of AWS's protocol."""
        answers = []
        for body in bodies:
            self.answers(body.encode(), Content_Type="application/x-amz-json-1.0")
            answers.append(self.answer)
        turns = iter(answers)
        self.answer = lambda _target: next(turns)  # type: ignore[assignment, return-value]

    def serve(self) -> None:
        """Answer requests until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                head = b""
                while b"\r\n\r\n" not in head and (data := client.recv(65536)):
                    head += data
                if not head:
                    continue
                head, _, body = head.partition(b"\r\n\r\n")
                announced = re.search(rb"(?i)^content-length: *([0-9]+)", head, re.MULTILINE)
                while announced and len(body) < int(announced[1]):
                    body += client.recv(65536)
                target = head.split(b" ")[1].decode()
                self.targets.append(target)
                self.request = head + b"\r\n\r\n" + body
                answer = self.answer(target) if callable(self.answer) else self.answer
                with suppress(ConnectionError):  # the client may have closed the connection
                    client.sendall(answer)


@contextmanager
def http_origin() -> Iterator[HttpOrigin]:
    """An origin that runs on a loopback port until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = HttpOrigin(listener)
        thread = threading.Thread(target=origin.serve, name="http-origin", daemon=True)
        thread.start()
        try:
            yield origin
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
