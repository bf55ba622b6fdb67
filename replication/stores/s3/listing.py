"""Lists a bucket of S3: by our transport, which takes a fraction of boto3's time, or by boto3."""

from typing import Any

from replication.stores.listing import ListedObject, ListedPage, Unlistable, parse_page, query
from replication.stores.s3.reads import S3Reads, is_directory_bucket


def list_page(reads: S3Reads, *, prefix: str, after: str, limit: int) -> ListedPage:
    """A page of the bucket. Raises what `S3Reads.get` raises, and Unlistable."""
    document = reads.list_page(query(prefix=prefix, after=after, limit=limit))
    return parse_page(document, after=after, plus_is_space=True)


def list_page_by_boto3(
    client: Any, place: dict[str, str], *, prefix: str, after: str, limit: int
) -> ListedPage:
    """A page of a bucket that our own requests can't reach: of an access point or another region.

    Raises:
        ClientError, BotoCoreError: S3 refused, or the request could not be sent.
        Unlistable: a directory bucket, which has no order.
    """
    if is_directory_bucket(place["Bucket"]):
        raise Unlistable("a directory bucket lists its keys in no order")
    answer = client.list_objects_v2(
        **place, Prefix=prefix, StartAfter=after, MaxKeys=limit, EncodingType="url"
    )
    objects = [
        ListedObject(
            found["Key"],
            found["Size"],
            found["ETag"].strip('"'),
            found["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            found.get("StorageClass", ""),
        )
        for found in answer.get("Contents", [])
    ]
    return ListedPage(objects, answer["IsTruncated"])
