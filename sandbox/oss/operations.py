"""The operations that the stand-in supports, by their OSS names."""

from sandbox.oss import buckets, copies, listing, multipart, objects
from sandbox.oss.exchange import Operation

OPERATIONS: dict[str, Operation] = {
    "AbortMultipartUpload": multipart.abort,
    "AppendObject": objects.append_object,
    "CompleteMultipartUpload": multipart.complete,
    "CopyObject": copies.copy_object,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteMultipleObjects": buckets.delete_objects,
    "DeleteObject": objects.delete_object,
    "DeleteObjectTagging": objects.delete_object_tagging,
    "GetBucketAcl": buckets.get_bucket_acl,
    "GetBucketInfo": buckets.get_bucket_info,
    "GetBucketLocation": buckets.get_bucket_location,
    "GetBucketStat": buckets.get_bucket_stat,
    "GetBucketVersioning": buckets.get_bucket_versioning,
    "GetObject": objects.get_object,
    "GetObjectACL": objects.get_object_acl,
    "GetObjectMeta": objects.get_object_meta,
    "GetObjectTagging": objects.get_object_tagging,
    "HeadObject": objects.head_object,
    "InitiateMultipartUpload": multipart.initiate,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": listing.list_uploads,
    "ListObjectVersions": listing.list_object_versions,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListParts": multipart.list_parts,
    "PutBucket": buckets.put_bucket,
    "PutBucketAcl": buckets.put_bucket_acl,
    "PutObject": objects.put_object,
    "PutObjectACL": objects.put_object_acl,
    "PutObjectTagging": objects.put_object_tagging,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": copies.upload_part_copy,
}
