"""The stand-ins of token services, for tests of credentials."""

import ssl
from collections.abc import Callable
from pathlib import Path

import trustme

from sandbox.ministack import MiniStack
from sandbox.oss import OssServer
from sandbox.tokens import Issued, TokenServer, Trust

AWS_ROLE = "arn:aws:iam::123456789012:role/reader"
RAM_ROLE = "acs:ram::123456789012:role/writer"
OIDC_PROVIDER = "acs:ram::123456789012:oidc-provider/ack"
EXTERNAL_ID = "of-this-customer"
KEY_ID = "a-key-that-may-assume"
KEY_SECRET = "a secret that guards nothing"
POD_TOKEN = "the.pods.token"
POD_AUTHORIZATION = "the pod's authorization"
# The shortest life for which half of it is enough for a request on a slow machine.
LIFE_SECONDS = 4


def a_trust() -> Trust:
    """What all services of a test trust."""
    return Trust(
        keys={KEY_ID: KEY_SECRET},
        roles={AWS_ROLE, RAM_ROLE},
        external_id=EXTERNAL_ID,
        web_identity=POD_TOKEN,
        oidc_provider=OIDC_PROVIDER,
        pod_authorization=POD_AUTHORIZATION,
    )


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """The TLS settings of a server called localhost, and the file of its authority."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    file = folder / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return context, file


def a_token_server(
    folder: Path, *, tell: Callable[[Issued], None], s3_url: str = ""
) -> TokenServer:
    """A server of all token services; `folder` gets the file ca.pem of its authority."""
    tls, _ = certificate(folder)
    return TokenServer(
        a_trust(),
        life_seconds=LIFE_SECONDS,
        tls=tls,
        tell=tell,
        s3_url=s3_url,
        s3_key_id=MiniStack.access_key_id,
    )


def told_to(oss: OssServer) -> Callable[[Issued], None]:
    """Lets an OSS stand-in know issued credentials, and when they end."""
    return lambda issued: oss.set_secret(
        issued.key_id, issued.secret, security_token=issued.token, ends_at=issued.ends_at
    )
