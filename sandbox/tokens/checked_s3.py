"""Passes requests on to an S3 that checks no credentials, and refuses those that carry ended ones.

It puts the access key that the S3 knows into each request, and verifies no signature: the contract
tests of the stores have a server that does.
"""

import http.client
import re
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from sandbox.tokens.exchange import Listener
from sandbox.tokens.issuing import Issuer

_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/")
_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive"}


def checked_s3(issuer: Issuer, s3_url: str, refused: list[str], *, key_id: str) -> Listener:
    """Return the server, not started.

    Args:
        key_id: the access key that the S3 behind knows.
        refused: gets the code of each refused request.
    """
    origin = urlsplit(s3_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = _CREDENTIAL.match(self.headers.get("Authorization", ""))
            token = self.headers.get("x-amz-security-token", "")
            code = issuer.refusal(found[1], token) if found else "AccessDenied"
            if code:
                refused.append(code)
                self._send(
                    403,
                    [("x-amz-request-id", "REFUSED"), ("Content-Type", "application/xml")],
                    f"<Error><Code>{code}</Code><Message>refused</Message></Error>".encode(),
                )
                return
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"x-amz-security-token", "authorization"}
            }
            authorization = self.headers["Authorization"]
            headers["Authorization"] = authorization.replace(found[1], key_id, 1) if found else ""
            connection = http.client.HTTPConnection(origin, timeout=60)
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self.close_connection = True  # as the real one, when it is killed
                return
            finally:
                connection.close()
            kept = [each for each in answer.getheaders() if each[0].lower() not in _NOT_PASSED_ON]
            self._send(answer.status, kept, content)

        def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            names = {name.lower() for name, _ in headers}
            for name, value in headers:
                self.send_header(name, value)
            if "content-length" not in names:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    return Listener(("127.0.0.1", 0), Handler)
