"""Every error that the stand-in answers, with OSS's status, code, message and EC."""

import base64
from dataclasses import dataclass
from xml.sax.saxutils import escape

# The placeholder for an EC of OSS that is not known.
UNKNOWN_EC = "0000-00000000"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """OSS's answer for one code; `ec` is the default, an OssError may carry a more specific one."""

    status: int
    message: str
    ec: str = UNKNOWN_EC


# Codes and messages are from OSS's API reference and its pages about EC codes.
ERRORS = {
    "AccessDenied": ErrorKind(403, "You have no right to access this object."),
    "BucketAlreadyExists": ErrorKind(
        409,
        "The requested bucket name is not available. The bucket namespace is shared by all users "
        "of the system. Please select a different name and try again.",
    ),
    "BucketNotEmpty": ErrorKind(409, "The bucket you tried to delete is not empty."),
    "EntityTooLarge": ErrorKind(400, "Your proposed upload exceeds the maximum allowed size."),
    "EntityTooSmall": ErrorKind(
        400, "Your proposed upload smaller than the minimum allowed size.", "0042-00000213"
    ),
    "FileAlreadyExists": ErrorKind(
        409, "The object you specified already exists and can not be overwritten.", "0026-00000002"
    ),
    "InternalError": ErrorKind(500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": ErrorKind(
        403, "The OSS Access Key Id you provided does not exist in our records.", "0002-00000902"
    ),
    "InvalidArgument": ErrorKind(400, "An argument is not valid."),
    "InvalidBucketName": ErrorKind(400, "The specified bucket is not valid."),
    # OSS answers this for a Content-MD5 that is malformed, and for one that does not match.
    "InvalidDigest": ErrorKind(400, "The Content-MD5 you specified was invalid.", "0017-00000502"),
    "InvalidEncryptionAlgorithmError": ErrorKind(
        400, "The Encryption request you specified is not valid."
    ),
    "InvalidObjectName": ErrorKind(400, "The specified object is not valid."),
    "InvalidObjectState": ErrorKind(403, "The operation is not valid for the object's state"),
    "InvalidPart": ErrorKind(
        400,
        "One or more of the specified parts could not be found or the specified entity tag "
        "might not have matched the part's entity tag.",
    ),
    "InvalidPartOrder": ErrorKind(
        400, "The list of parts was not in ascending order.", "0042-00000209"
    ),
    "InvalidRange": ErrorKind(416, "The requested range cannot be satisfied"),
    "InvalidSecurityToken": ErrorKind(403, "The security token you provided is invalid."),
    "InvalidTag": ErrorKind(400, "The tag you provided is not valid."),
    "KeyNotFound": ErrorKind(404, "The specified parameter KMS keyId is not found"),
    "MalformedXML": ErrorKind(
        400,
        "The XML you provided was not well-formed or did not validate against our published "
        "schema.",
    ),
    "MethodNotAllowed": ErrorKind(
        405, "The specified method is not allowed against this resource."
    ),
    "MissingArgument": ErrorKind(400, "A required argument is missing."),
    "MissingContentLength": ErrorKind(411, "You must provide the Content-Length HTTP header."),
    "NoSuchBucket": ErrorKind(404, "The specified bucket does not exist.", "0015-00000101"),
    "NoSuchKey": ErrorKind(404, "The specified key does not exist.", "0026-00000001"),
    "NoSuchUpload": ErrorKind(
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may "
        "have been aborted or completed.",
        "0017-00000244",
    ),
    "NotImplemented": ErrorKind(
        501, "A header you provided implies functionality that is not implemented."
    ),
    "ObjectNotAppendable": ErrorKind(409, "The object is not appendable"),
    "PositionNotEqualToLength": ErrorKind(409, "Position is not equal to file length"),
    "PreconditionFailed": ErrorKind(
        412, "At least one of the pre-conditions you specified did not hold."
    ),
    "RequestTimeTooSkewed": ErrorKind(
        403,
        "The difference between the request time and the current time is too large.",
        "0002-00000504",
    ),
    "SecurityTokenExpired": ErrorKind(403, "The security token you provided has expired."),
    "SignatureDoesNotMatch": ErrorKind(
        403,
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method.",
        "0002-00000040",
    ),
}


class OssError(Exception):
    """An error answer: `OssError("NoSuchKey", Key=key)`; keyword arguments become XML elements.

    `code` is a key of ERRORS unless `status` is given: a fault may answer any code.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        ec: str | None = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        **fields: str,
    ) -> None:
        kind = ERRORS.get(code) or ErrorKind(status or 500, code)
        self.code = code
        self.status = status or kind.status
        self.message = kind.message if message is None else message
        self.ec = ec or kind.ec
        self.headers = headers or {}
        self.fields = fields
        super().__init__(f"{self.status} {code}: {self.message}")

    def xml(self, *, request_id: str, host: str) -> bytes:
        """The XML document that OSS sends for the error."""
        fields = {
            "Code": self.code,
            "Message": self.message,
            "RequestId": request_id,
            "HostId": host,
            **self.fields,
            "EC": self.ec,
            "RecommendDoc": f"https://api.aliyun.com/troubleshoot?q={self.ec}",
        }
        lines = "".join(f"  <{name}>{_text(value)}</{name}>\n" for name, value in fields.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>\n{lines}</Error>\n'.encode()

    def as_header(self, *, request_id: str, host: str) -> str:
        """The same document in base64, for the header `x-oss-err` of a HEAD's answer."""
        return base64.b64encode(self.xml(request_id=request_id, host=host)).decode()


def _text(value: str) -> str:
    """An element's text; control characters and broken UTF-8, invalid in XML 1.0, become `?`."""
    printable = "".join(
        c if (c >= " " and c < "\ufffe") or c in "\t\n\r" or c > "\uffff" else "?" for c in value
    )
    return escape(printable.encode("utf-8", "replace").decode())
