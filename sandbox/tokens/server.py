"""The token services over HTTP, and with a certificate over HTTPS."""

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from sandbox.tokens import alibaba, aws
from sandbox.tokens.checked_s3 import checked_s3
from sandbox.tokens.exchange import Answer, Listener, Request
from sandbox.tokens.issuing import Issued, Issuer

STOP_SECONDS = 5


@dataclass
class Trust:
    """Whom the services give credentials, and for which roles."""

    keys: dict[str, str] = field(default_factory=dict)  # access keys that may assume roles
    roles: set[str] = field(default_factory=set)
    external_id: str = ""  # that each AssumeRole must name
    web_identity: str = ""  # the content of the file with the pod's token
    oidc_provider: str = ""
    pod_authorization: str = ""
    instance_role: str = "s3sync-on-ecs"


class TokenServer:
    """All services at one address: each is known by its path, or by the parameter Action.

    Used as a forward proxy for http, it stands in for the metadata service at 100.100.100.200.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        life_seconds: float,
        tls: ssl.SSLContext | None = None,
        tell: Callable[[Issued], None] = lambda issued: None,
        s3_url: str = "",
        s3_key_id: str = "",
    ) -> None:
        """
        Args:
            tls: answers by https as well, for Alibaba Cloud's STS.
            tell: see Issuer.
            s3_url: where to pass requests to S3 on that carry living credentials.
            s3_key_id: the access key that the S3 there knows.
        """
        self.trust = trust
        self.issuer = Issuer(life_seconds=life_seconds, tell=tell)
        self.asked: list[str] = []  # the services that were asked, in order
        self.refused_s3: list[str] = []  # the codes of requests to S3 that were refused
        self.is_down = False
        self.metadata_tokens: dict[str, float] = {}  # the end of each, in epoch seconds
        self._s3_url, self._s3_key_id = s3_url, s3_key_id
        self._servers = [self._server(None)]
        if tls is not None:
            self._servers.append(self._server(tls))

    @property
    def url(self) -> str:
        """By http."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def tls_host(self) -> str:
        """HOST:PORT by https."""
        return f"localhost:{self._servers[1].server_port}"

    @property
    def s3_url(self) -> str:
        """The endpoint of S3 that refuses credentials that are unknown or have ended."""
        return f"http://127.0.0.1:{self._s3.server_port}"

    def __enter__(self) -> Self:
        if self._s3_url:
            self._s3 = checked_s3(
                self.issuer, self._s3_url, self.refused_s3, key_id=self._s3_key_id
            )
            self._servers.append(self._s3)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _server(self, tls: ssl.SSLContext | None) -> Listener:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                address = urlsplit(self.path)  # absolute where we stand in as a proxy
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(
                    self.command,
                    address.path or "/",
                    address.query,
                    dict(parse_qsl(address.query, keep_blank_values=True)),
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                    is_tls=tls is not None,
                )
                answer = outer.answer(request)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is printed."""

        server = Listener(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        return server

    def answer(self, request: Request) -> Answer:
        """Answer as the service that the request is for."""
        if self.is_down:
            return Answer(503, json.dumps({"Code": "ServiceUnavailable", "Message": "down"}))
        for find in (alibaba.service, aws.service):
            name, service = find(request)
            if service is not None:
                self.asked.append(name)
                return service(self, request)
        return Answer(404, "no service of ours has this path")
