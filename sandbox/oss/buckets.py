"""OSS's operations on the service and on buckets."""

from sandbox.oss import names
from sandbox.oss.dates import iso_time
from sandbox.oss.errors import OssError
from sandbox.oss.exchange import Exchange, element, owner, xml_answer
from sandbox.oss.http import Answer
from sandbox.oss.objects import decode_md5
from sandbox.oss.state import Bucket

MOST_BUCKETS = 1000
BATCH_DELETES = 1000


def list_buckets(exchange: Exchange) -> Answer:
    """ListBuckets (GetService)."""
    prefix = exchange.query.get("prefix", "")
    marker = exchange.query.get("marker", "")
    limit = exchange.number("max-keys", 100, least=1, most=MOST_BUCKETS)
    found = [
        bucket
        for name, bucket in sorted(exchange.store.buckets.items())
        if name.startswith(prefix) and name > marker
    ]
    page, is_truncated = found[:limit], len(found) > limit
    listed = "".join(
        f"<Bucket>{_elements(bucket, exchange.region)}{element('Region', exchange.region)}</Bucket>"
        for bucket in page
    )
    paging = (
        element("Prefix", prefix)
        + element("Marker", marker)
        + element("MaxKeys", limit)
        + element("IsTruncated", "true" if is_truncated else "false")
        + (element("NextMarker", page[-1].name) if is_truncated else "")
    )
    return xml_answer("ListAllMyBucketsResult", f"{owner()}{paging}<Buckets>{listed}</Buckets>")


def put_bucket(exchange: Exchange) -> Answer:
    """PutBucket; an existing bucket belongs to the caller, and gets the new ACL."""
    acl = names.check_one_of(
        "x-oss-acl", exchange.headers.get("x-oss-acl", "private"), names.BUCKET_ACLS
    )
    storage_class = "Standard"
    if (configuration := exchange.optional_xml_body()) is not None:
        storage_class = configuration.findtext("StorageClass") or storage_class
        names.check_one_of("StorageClass", storage_class, names.STORAGE_CLASSES)
    store = exchange.store
    with store.lock:
        existing = store.buckets.get(exchange.bucket_name)
        if existing is None:
            store.buckets[exchange.bucket_name] = Bucket(
                exchange.bucket_name,
                created_at=exchange.clock.now(),
                acl=acl,
                storage_class=storage_class,
            )
        elif existing.storage_class != storage_class:
            raise OssError("BucketAlreadyExists", BucketName=exchange.bucket_name)
        elif "x-oss-acl" in exchange.headers:
            existing.acl = acl
    return Answer(200, {"Location": f"/{exchange.bucket_name}"})


def delete_bucket(exchange: Exchange) -> Answer:
    """DeleteBucket: only an empty bucket without unfinished uploads."""
    store = exchange.store
    with store.lock:
        bucket = exchange.bucket
        if bucket.objects or bucket.uploads:
            raise OssError("BucketNotEmpty", BucketName=bucket.name)
        del store.buckets[bucket.name]
    return Answer(204)


def get_bucket_info(exchange: Exchange) -> Answer:
    """GetBucketInfo."""
    bucket = exchange.bucket
    return xml_answer(
        "BucketInfo",
        "<Bucket>"
        + _elements(bucket, exchange.region)
        + element("AccessMonitor", "Disabled")
        + element("DataRedundancyType", "LRS")
        + element("Comment", "")
        + owner()
        + f"<AccessControlList>{element('Grant', bucket.acl)}</AccessControlList>"
        + "<ServerSideEncryptionRule><SSEAlgorithm>None</SSEAlgorithm></ServerSideEncryptionRule>"
        + "</Bucket>",
    )


def get_bucket_location(exchange: Exchange) -> Answer:
    """GetBucketLocation."""
    assert exchange.bucket
    return xml_answer("LocationConstraint", f"oss-{exchange.region}")


def get_bucket_stat(exchange: Exchange) -> Answer:
    """GetBucketStat; OSS's figures are hours old, the stand-in's are current."""
    bucket = exchange.bucket
    with bucket.lock:
        size = sum(stored.size for stored in bucket.objects.values())
        count, uploads = len(bucket.objects), len(bucket.uploads)
    return xml_answer(
        "BucketStat",
        element("Storage", size)
        + element("ObjectCount", count)
        + element("MultipartUploadCount", uploads)
        + element("LiveChannelCount", 0)
        + element("LastModifiedTime", int(exchange.clock.now())),
    )


def get_bucket_acl(exchange: Exchange) -> Answer:
    """GetBucketAcl."""
    grants = f"<AccessControlList>{element('Grant', exchange.bucket.acl)}</AccessControlList>"
    return xml_answer("AccessControlPolicy", owner() + grants)


def put_bucket_acl(exchange: Exchange) -> Answer:
    """PutBucketAcl."""
    bucket = exchange.bucket
    bucket.acl = names.check_one_of(
        "x-oss-acl", exchange.headers.get("x-oss-acl", ""), names.BUCKET_ACLS
    )
    return Answer(200)


def get_bucket_versioning(exchange: Exchange) -> Answer:
    """GetBucketVersioning: never enabled, so the answer has no Status."""
    assert exchange.bucket
    return xml_answer("VersioningConfiguration", "")


def delete_objects(exchange: Exchange) -> Answer:
    """DeleteMultipleObjects: up to 1,000 keys; Content-MD5 is required."""
    bucket = exchange.bucket
    claimed = exchange.headers.get("content-md5")
    if claimed is None:
        raise OssError(
            "MissingArgument",
            "Missing Some Required Arguments.",
            ec="0016-00000606",
            ArgumentName="Content-MD5",
        )
    root = exchange.xml_body(md5=decode_md5(claimed))
    keys = [each.findtext("Key", "") for each in root.findall("Object")]
    if root.tag != "Delete" or not 1 <= len(keys) <= BATCH_DELETES:
        raise OssError("MalformedXML")
    for key in keys:
        names.check_object_name(key.encode())
    with bucket.lock:
        for key in keys:
            bucket.delete(key)
    if root.findtext("Quiet", "false").lower() == "true":
        return Answer(200)
    is_encoded = exchange.query.get("encoding-type") == "url"
    listed = "".join(
        f"<Deleted>{element('Key', names.url_encoded(key) if is_encoded else key)}</Deleted>"
        for key in keys
    )
    return xml_answer(
        "DeleteResult", (element("EncodingType", "url") if is_encoded else "") + listed
    )


def _elements(bucket: Bucket, region: str) -> str:
    return (
        element("CreationDate", iso_time(bucket.created_at))
        + element("ExtranetEndpoint", f"oss-{region}.aliyuncs.com")
        + element("IntranetEndpoint", f"oss-{region}-internal.aliyuncs.com")
        + element("Location", f"oss-{region}")
        + element("Name", bucket.name)
        + element("StorageClass", bucket.storage_class)
    )
