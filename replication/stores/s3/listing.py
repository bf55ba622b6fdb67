"""Lists a bucket of S3: by our transport, which takes a fraction of boto3's time, or by boto3."""

from typing import Any

from replication.stores.listing import (
    ListedObject,
    ListedPage,
    Unlistable,
    check_order,
    parse_page,
    query,
)
from replication.stores.s3.reads import S3Reads, is_directory_bucket


def list_page(
    reads: S3Reads, *, prefix: str, after: str | None, limit: int, token: str
) -> ListedPage:
    """A page of the bucket; in any order if `after` is None.

    Raises what `S3Reads.get` raises, Unlistable and BrokenPage.
    """
    asked = query(prefix=prefix, after=after or "", limit=limit, token=token)
    return parse_page(reads.list_page(asked), after=after, plus_is_space=True)


def list_page_by_boto3(
    client: Any,
    place: dict[str, str],
    *,
    prefix: str,
    after: str | None,
    limit: int,
    token: str,
) -> ListedPage:
    """A page of a bucket that our own requests can't reach: of an access point or another region.

    Raises:
        ClientError, BotoCoreError: S3 refused, or the request could not be sent.
        Unlistable: the keys are in no order that can be followed, as those of a directory bucket.
    """
    is_directory = is_directory_bucket(place["Bucket"])
    if is_directory and after is not None:
        raise Unlistable("a directory bucket lists its keys in no order")
    # A directory bucket takes whole folders as a prefix only.
    folder = prefix[: prefix.rfind("/") + 1] if is_directory else prefix
    begin = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
    # boto3 asks for URL-encoded keys by itself; it decodes them only if it asked.
    answer = client.list_objects_v2(**place, Prefix=folder, MaxKeys=limit, **begin)
    objects = [
        ListedObject(
            found["Key"],
            found["Size"],
            found["ETag"].strip('"'),
            found["LastModified"].strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            found.get("StorageClass", ""),
        )
        for found in answer.get("Contents", [])
        if found["Key"].startswith(prefix)
    ]
    if after is not None:
        check_order((one.key for one in objects), after=after)
    return ListedPage.of(
        objects,
        is_truncated=answer["IsTruncated"],
        next_token=answer.get("NextContinuationToken", ""),
    )
