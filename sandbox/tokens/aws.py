"""AWS STS (AssumeRole, AssumeRoleWithWebIdentity), the agent of EKS Pod Identity, and the metadata
service of EC2, v2 alone.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from sandbox.tokens.exchange import Answer, Request, iso_time
from sandbox.tokens.issuing import Issued

if TYPE_CHECKING:
    from sandbox.tokens.server import TokenServer

Service = Callable[["TokenServer", Request], Answer]

ASSUMED, WEB_IDENTITY, POD = "aws_assumed", "aws_web_identity", "aws_pod"
EC2_ROLE = "ec2_role"

_VERSION = "2011-06-15"
_ROLES = "/latest/meta-data/iam/security-credentials/"
_TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_LONGEST_TTL_SECONDS = 21_600
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/[a-z0-9-]+/sts/aws4_request), ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


def service(request: Request) -> tuple[str, Service | None]:
    """The service that a request is for, with the kind of credentials that it gives."""
    if request.path == "/v1/credentials":
        return POD, _pod
    if request.path == "/latest/api/token" and _TTL_HEADER in request.headers:
        return "ec2_token", _metadata_token
    if request.path.startswith(_ROLES):
        return EC2_ROLE, _instance_role
    given = _form(request)
    if request.method == "POST" and given.get("Version") == _VERSION:
        found = {
            "AssumeRole": (ASSUMED, _assume),
            "AssumeRoleWithWebIdentity": (WEB_IDENTITY, _assume_by_web_identity),
        }
        return found.get(given.get("Action", ""), ("", None))
    return "", None


def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.content.decode(), keep_blank_values=True))


def _refused(status: int, code: str, message: str) -> Answer:
    return Answer(
        status,
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>",
        "text/xml",
    )


def _given(operation: str, issued: Issued) -> Answer:
    return Answer(
        200,
        f'<{operation}Response xmlns="https://sts.amazonaws.com/doc/{_VERSION}/">'
        f"<{operation}Result><Credentials><AccessKeyId>{issued.key_id}</AccessKeyId>"
        f"<SecretAccessKey>{issued.secret}</SecretAccessKey>"
        f"<SessionToken>{issued.token}</SessionToken>"
        f"<Expiration>{iso_time(issued.ends_at)}</Expiration></Credentials></{operation}Result>"
        f"<ResponseMetadata><RequestId>R</RequestId></ResponseMetadata></{operation}Response>",
        "text/xml",
    )


def _assume(server: "TokenServer", request: Request) -> Answer:
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        return _refused(403, "MissingAuthenticationToken", "Request is missing a signature.")
    key_id, scope, names, signature = found.groups()
    secret = server.trust.keys.get(key_id)
    if secret is None:
        return _refused(403, "InvalidClientTokenId", "The security token is invalid.")
    if not hmac.compare_digest(_signature(request, secret, scope, names.split(";")), signature):
        return _refused(403, "SignatureDoesNotMatch", "The signature does not match.")
    given = _form(request)
    is_trusted = given.get("ExternalId", "") == server.trust.external_id
    if given.get("RoleArn") not in server.trust.roles or not is_trusted:
        return _refused(403, "AccessDenied", "not authorized to perform: sts:AssumeRole")
    return _given("AssumeRole", server.issuer.issue(ASSUMED, prefix="ASIA"))


def _assume_by_web_identity(server: "TokenServer", request: Request) -> Answer:
    given = _form(request)
    if given.get("WebIdentityToken") != server.trust.web_identity:
        return _refused(400, "InvalidIdentityToken", "The token is not valid.")
    if given.get("RoleArn") not in server.trust.roles:
        return _refused(403, "AccessDenied", "not authorized: sts:AssumeRoleWithWebIdentity")
    issued = server.issuer.issue(WEB_IDENTITY, prefix="ASIA")
    return _given("AssumeRoleWithWebIdentity", issued)


def _pod(server: "TokenServer", request: Request) -> Answer:
    if request.headers.get("authorization") != server.trust.pod_authorization:
        return Answer(401, json.dumps({"message": "the token is not valid"}))
    issued = server.issuer.issue(POD, prefix="ASIA")
    given = {
        "AccessKeyId": issued.key_id,
        "SecretAccessKey": issued.secret,
        "Token": issued.token,
        "Expiration": iso_time(issued.ends_at),
    }
    return Answer(200, json.dumps(given))


def _metadata_token(server: "TokenServer", request: Request) -> Answer:
    ttl = request.headers[_TTL_HEADER]
    if request.method != "PUT" or not ttl.isdecimal() or int(ttl) > _LONGEST_TTL_SECONDS:
        return Answer(400, "")
    token = secrets.token_urlsafe(20)
    server.metadata_tokens[token] = time.time() + int(ttl)
    return Answer(200, token, "text/plain")


def _instance_role(server: "TokenServer", request: Request) -> Answer:
    token = request.headers.get("x-aws-ec2-metadata-token", "")
    if request.method != "GET" or server.metadata_tokens.get(token, 0) < time.time():
        return Answer(401, "")
    role = request.path.removeprefix(_ROLES)
    if not role:
        return Answer(200, server.trust.instance_role, "text/plain")
    if role != server.trust.instance_role:
        return Answer(404, "")
    issued = server.issuer.issue(EC2_ROLE, prefix="ASIA")
    given = {
        "Code": "Success",
        "LastUpdated": iso_time(time.time()),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.key_id,
        "SecretAccessKey": issued.secret,
        "Token": issued.token,
        "Expiration": iso_time(issued.ends_at),
    }
    return Answer(200, json.dumps(given))


def _signature(request: Request, secret: str, scope: str, names: list[str]) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in names)
    digest = hashlib.sha256(request.content).hexdigest()
    canonical = f"{request.method}\n{request.path}\n\n{headers}\n{';'.join(names)}\n{digest}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{request.headers.get('x-amz-date')}\n{scope}\n{hashed}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
