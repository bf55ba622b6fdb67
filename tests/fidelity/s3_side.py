"""Puts the corpus into S3, byte for byte as it is defined."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from replication.stores.base import CONTENT_HEADERS
from sandbox.aws import AwsServer
from tests.fidelity.samples import Sample, Sent

_CUSTOMER_KEY = {
    "x-amz-server-side-encryption-customer-key": "SSECustomerKey",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-server-side-encryption-customer-key-md5": "SSECustomerKeyMD5",
}


@dataclass(frozen=True)
class Stored:
    """S3's facts about a stored object."""

    etag: str
    modified: str  # ISO 8601
    version_id: str  # empty if the bucket is not versioned
    bucket: str


class SourceBucket:
    """A source bucket that is sent headers unchanged: boto3 checks and changes its parameters."""

    def __init__(self, server: AwsServer, bucket: str) -> None:
        self.bucket = bucket
        self.client: Any = server.client("s3")
        self._thread = threading.local()
        for operation in ("PutObject", "CreateMultipartUpload"):
            self.client.meta.events.register(f"before-call.s3.{operation}", self._add_headers)

    def put(self, sample: Sample) -> Stored:
        """Store the sample, and restore it if it must be restored.

        Raises:
            ClientError: S3 refuses a request.
        """
        location = {"Bucket": self.bucket, "Key": sample.key}
        with self._headers(_headers_of(sample.sent)):
            if sample.sent.part_bytes:
                self._put_in_parts(location, sample.sent)
            else:
                self.client.put_object(**location, Body=sample.sent.body)
        if sample.sent.is_restored:
            self.client.restore_object(**location, RestoreRequest={"Days": 1})
        answer = self.client.head_object(**location, **_customer_key_of(sample.sent))
        return Stored(
            answer["ETag"].strip('"'),
            answer["LastModified"].isoformat(),
            answer.get("VersionId", ""),
            bucket=self.bucket,
        )

    def set_later_tags(self, sample: Sample) -> None:
        """Replace the tags of the stored sample."""
        location = {"Bucket": self.bucket, "Key": sample.key}
        tags = [{"Key": name, "Value": value} for name, value in sample.sent.last_tags.items()]
        if tags:
            self.client.put_object_tagging(**location, Tagging={"TagSet": tags})
        else:
            self.client.delete_object_tagging(**location)

    def holds(self, sample: Sample) -> bool:
        """Whether S3 returns the object exactly as it was sent.

        Raises:
            ClientError: S3 does not return the object.
        """
        location = {"Bucket": self.bucket, "Key": sample.key}
        answer = self.client.get_object(**location)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        sent = sample.sent
        wanted_headers = dict(sent.headers) or {"content-type": "binary/octet-stream"}
        tags = self.client.get_object_tagging(**location)["TagSet"]
        return (
            answer["Body"].read() == sent.body
            and {name: headers[name] for name in CONTENT_HEADERS if name in headers}
            == wanted_headers
            and all(headers.get(f"x-amz-meta-{n.lower()}") == v for n, v in sent.metadata.items())
            and {tag["Key"]: tag["Value"] for tag in tags} == sent.tags
        )

    def _put_in_parts(self, location: Mapping[str, str], sent: Sent) -> None:
        upload_id = self.client.create_multipart_upload(**location)["UploadId"]
        upload = {**location, "UploadId": upload_id}
        parts = []
        for number, start in enumerate(range(0, len(sent.body), sent.part_bytes), 1):
            body = sent.body[start : start + sent.part_bytes]
            answer = self.client.upload_part(**upload, PartNumber=number, Body=body)
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    @contextmanager
    def _headers(self, headers: Mapping[str, str]) -> Iterator[None]:
        self._thread.headers = headers
        try:
            yield
        finally:
            del self._thread.headers

    def _add_headers(self, params: dict[str, Any], **_: Any) -> None:
        params["headers"].update(self._thread.headers)
        if any(name.startswith("x-amz-checksum-") for name in self._thread.headers):
            params["context"].pop("checksum", None)  # otherwise boto3 adds one of its own


def _headers_of(sent: Sent) -> dict[str, str]:
    headers = {**sent.headers, **sent.other_headers}
    headers |= {f"x-amz-meta-{name}": value for name, value in sent.metadata.items()}
    if sent.tags:
        headers["x-amz-tagging"] = urlencode(sent.tags)
    if sent.storage_class:
        headers["x-amz-storage-class"] = sent.storage_class
    return headers


def _customer_key_of(sent: Sent) -> dict[str, str]:
    return {
        parameter: sent.other_headers[header]
        for header, parameter in _CUSTOMER_KEY.items()
        if header in sent.other_headers
    }
