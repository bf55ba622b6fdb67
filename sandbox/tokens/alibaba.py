"""Alibaba Cloud's STS (AssumeRole, AssumeRoleWithOIDC), and the metadata service of ECS, v2 alone.

https://www.alibabacloud.com/help/en/ram/developer-reference/api-sts-2015-04-01-assumerole
https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata
"""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from sandbox.tokens.exchange import Answer, Request, iso_time
from sandbox.tokens.issuing import Issued

if TYPE_CHECKING:
    from sandbox.tokens.server import TokenServer

Service = Callable[["TokenServer", Request], Answer]

ECS_ROLE, ASSUMED, OIDC = "ecs_role", "alibaba_assumed", "alibaba_oidc"

_VERSION = "2015-04-01"
_SHORTEST_SECONDS = 900
_TTL_HEADER = "x-aliyun-ecs-metadata-token-ttl-seconds"
_LONGEST_TTL_SECONDS = 21_600
_ROLES = "/latest/meta-data/ram/security-credentials/"


def service(request: Request) -> tuple[str, Service | None]:
    """The service that a request is for, with the kind of credentials that it gives."""
    if request.path == "/latest/api/token" and _TTL_HEADER in request.headers:
        return "ecs_token", _metadata_token
    if request.path.startswith(_ROLES):
        return ECS_ROLE, _instance_role
    if request.parameters.get("Version") == _VERSION:
        found = {"AssumeRole": (ASSUMED, _assume), "AssumeRoleWithOIDC": (OIDC, _assume_by_oidc)}
        return found.get(request.parameters.get("Action", ""), ("", None))
    return "", None


def _refused(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"Code": code, "Message": message, "RequestId": "R"}))


def _given(issued: Issued) -> dict[str, str]:
    return {
        "AccessKeyId": issued.key_id,
        "AccessKeySecret": issued.secret,
        "SecurityToken": issued.token,
        "Expiration": iso_time(issued.ends_at),
    }


def _metadata_token(server: "TokenServer", request: Request) -> Answer:
    ttl = request.headers[_TTL_HEADER]
    if request.method != "PUT":
        return Answer(405, "")
    if not ttl.isdecimal() or not 1 <= int(ttl) <= _LONGEST_TTL_SECONDS:
        return Answer(400, "")
    token = secrets.token_urlsafe(20)
    server.metadata_tokens[token] = time.time() + int(ttl)
    return Answer(200, token, "text/plain")


def _instance_role(server: "TokenServer", request: Request) -> Answer:
    token = request.headers.get("x-aliyun-ecs-metadata-token", "")
    if request.method != "GET" or server.metadata_tokens.get(token, 0) < time.time():
        return Answer(401, "")
    role = request.path.removeprefix(_ROLES)
    if not role:
        return Answer(200, server.trust.instance_role, "text/plain")
    if role != server.trust.instance_role:
        return Answer(404, "")
    issued = server.issuer.issue(ECS_ROLE, prefix="STS.")
    return Answer(200, json.dumps({**_given(issued), "Code": "Success"}))


def _checked_role(server: "TokenServer", request: Request) -> Answer | None:
    given = request.parameters
    if not request.is_tls:
        return _refused(400, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl.")
    if given.get("RoleArn") not in server.trust.roles:
        return _refused(404, "EntityNotExist.Role", "The role not exists.")
    seconds = given.get("DurationSeconds", "3600")
    if not seconds.isdecimal() or int(seconds) < _SHORTEST_SECONDS:
        return _refused(400, "InvalidParameter.DurationSeconds", "too short")
    if not given.get("RoleSessionName"):
        return _refused(400, "MissingRoleSessionName", "RoleSessionName is mandatory.")
    return None


def _assume(server: "TokenServer", request: Request) -> Answer:
    given = request.parameters
    secret = server.trust.keys.get(given.get("AccessKeyId", ""))
    if secret is None:
        return _refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
    if not hmac.compare_digest(_signature(request, secret), given.get("Signature", "")):
        return _refused(400, "SignatureDoesNotMatch", "Specified signature is not matched.")
    if refused := _checked_role(server, request):
        return refused
    if given.get("ExternalId", "") != server.trust.external_id:
        return _refused(403, "NoPermission", "You are not authorized to do this action.")
    issued = server.issuer.issue(ASSUMED, prefix="STS.")
    return Answer(200, json.dumps({"RequestId": "R", "Credentials": _given(issued)}))


def _assume_by_oidc(server: "TokenServer", request: Request) -> Answer:
    given = request.parameters
    if refused := _checked_role(server, request):
        return refused
    if given.get("OIDCProviderArn") != server.trust.oidc_provider:
        return _refused(404, "EntityNotExist.OIDCProvider", "The OIDC provider does not exist.")
    if given.get("OIDCToken") != server.trust.web_identity:
        return _refused(400, "AuthenticationFail.OIDCToken.Invalid", "This JWT is not valid.")
    issued = server.issuer.issue(OIDC, prefix="STS.")
    return Answer(200, json.dumps({"RequestId": "R", "Credentials": _given(issued)}))


def _signature(request: Request, secret: str) -> str:
    """As signature version 1.0 of the RPC style, by HMAC-SHA1."""
    signed = sorted((k, v) for k, v in request.parameters.items() if k != "Signature")
    query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in signed)
    text = f"{request.method}&%2F&{quote(query, safe='~')}"
    digest = hmac.digest(f"{secret}&".encode(), text.encode(), "sha1")
    return base64.b64encode(digest).decode()
