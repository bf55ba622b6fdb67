"""Samples of tags, storage classes, and properties in S3 that no replica has."""

import base64
import hashlib
import zlib
from collections.abc import Mapping

import anycrc

from tests.fidelity.bodies import THRESHOLD_BYTES
from tests.fidelity.samples import Arrives, Refused, Sample, Sent, sample

_REFUSED = Refused("metadata_incompatible")

_TAGS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "one": {"year": "2026"},
    "ten": {f"key{number}": f"value {number}" for number in range(10)},
    "an empty value": {"empty": ""},
    "all symbols that both accept": {"a b+-=._:/c": "d e+-=._:/f"},
    "capitals": {"Key": "Value", "key": "value"},
    "the longest": {"k" * 128: "v" * 256},
    "like a query": {"a": "b=c", "d=e": "f"},
    "like encoded text": {"plus": "1+1", "slash": "a/b"},
}
_ODD_TAGS: Mapping[str, Mapping[str, str]] = {
    "at in a value": {"mail": "a@b"},
    "at in a key": {"a@b": "c"},
    "Chinese in a value": {"title": "日本"},
    "Chinese in a key": {"标题": "a"},
    "umlaut": {"name": "Grün"},
}
# Of these, a bucket that takes the letters of all alphabets takes the tags as they are.
_TAGS_OF_OTHER_ALPHABETS = {"Chinese in a value", "Chinese in a key", "umlaut"}

# The replicas' class for each class of S3: by default, under `natural`, and under this override.
OVERRIDE = "natural, STANDARD_IA=Standard, GLACIER_IR=ColdArchive, INTELLIGENT_TIERING=IA"
_CLASSES = {
    "STANDARD": ("Standard", "Standard", "Standard"),
    "REDUCED_REDUNDANCY": ("Standard", "Standard", "Standard"),
    "STANDARD_IA": ("Standard", "IA", "Standard"),
    "ONEZONE_IA": ("Standard", "IA", "IA"),
    "INTELLIGENT_TIERING": ("Standard", "Standard", "IA"),
    "GLACIER_IR": ("Standard", "IA", "ColdArchive"),
    "EXPRESS_ONEZONE": ("Standard", "Standard", "Standard"),
    "OUTPOSTS": ("Standard", "Standard", "Standard"),
    "SNOW": ("Standard", "Standard", "Standard"),
}
_ARCHIVES = {
    "GLACIER": ("Standard", "Archive", "Archive"),
    "DEEP_ARCHIVE": ("Standard", "ColdArchive", "ColdArchive"),
}

# Properties that are not carried to OSS, and don't prevent the copy.
_NOT_CARRIED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "public read": ("S3 ACLs", {"x-amz-acl": "public-read"}),
    "a canned ACL that OSS lacks": ("S3 ACLs", {"x-amz-acl": "bucket-owner-full-control"}),
    "SSE-S3": ("encryption at the source", {"x-amz-server-side-encryption": "AES256"}),
    "SSE-KMS": (
        "encryption at the source",
        {
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "a-key",
        },
    ),
    "to another key": ("website redirects", {"x-amz-website-redirect-location": "/other"}),
}

_CHECKSUMS = {  # S3's checksums of an object; COMPARED_CHECKSUMS has the one that is compared
    "CRC32": zlib.crc32(Sent().body).to_bytes(4),
    "CRC64NVME": anycrc.Model("CRC64-NVME").calc(Sent().body).to_bytes(8),
    "SHA1": hashlib.sha1(Sent().body).digest(),
    "SHA256": hashlib.sha256(Sent().body).digest(),
}
CHECKSUMS = "checksums at the source"
COMPARED_CHECKSUMS = {"CRC32": "CRC32", "CRC64NVME": "CRC64NVME", "SHA1": "MD5", "SHA256": "MD5"}

_CUSTOMER_KEY = b"k" * 32
_WITH_A_CUSTOMER_KEY = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": base64.b64encode(_CUSTOMER_KEY).decode(),
    "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(
        hashlib.md5(_CUSTOMER_KEY).digest()
    ).decode(),
}


def _of_class(
    group: str, s3_class: str, classes: tuple[str, str, str], *, is_restored: bool = False
) -> Sample:
    default, natural, override = (Arrives(storage_class=each) for each in classes)
    return sample(
        group,
        s3_class,
        Sent(storage_class=s3_class, is_restored=is_restored),
        fail=default,
        drop=natural,
        rewrite=override,
    )


# The body, the tags of the upload, and the tags that are set later.
_LATER_TAGS: Mapping[str, tuple[bytes, Mapping[str, str], Mapping[str, str]]] = {
    "the first": (b"content", {}, {"state": "seen"}),
    "others": (b"content", {"state": "new", "owner": "me"}, {"state": "seen", "path": "a/b:c_d"}),
    "ten": (b"content", {"0": ""}, {str(number): "v" * 256 for number in range(10)}),
    "none": (b"content", {"state": "new"}, {}),
    "of an empty object": (b"", {"state": "new"}, {"state": "seen"}),
    "of a large object": (b"x" * (THRESHOLD_BYTES + 1), {"state": "new"}, {"state": "seen"}),
}

SAMPLES: list[Sample] = [
    *(sample("tags", title, Sent(tags=tags)) for title, tags in _TAGS.items()),
    *(
        sample("tags set after the upload", title, Sent(body, tags=tags, later_tags=later))
        for title, (body, tags, later) in _LATER_TAGS.items()
    ),
    *(
        sample(
            "tags that OSS does not accept",
            title,
            Sent(tags={**tags, "kept": "as it is"}),
            fail=_REFUSED,
            # Never rewritten, because lifecycle rules and policies match tags.
            drop=Arrives(tags={"kept": "as it is"}),
            rewrite=Arrives(tags={"kept": "as it is"}),
            lenient=Arrives() if title in _TAGS_OF_OTHER_ALPHABETS else _REFUSED,
        )
        for title, tags in _ODD_TAGS.items()
    ),
    *(_of_class("storage classes", name, classes) for name, classes in _CLASSES.items()),
    *(
        _of_class("archived, and restored", name, classes, is_restored=True)
        for name, classes in _ARCHIVES.items()
    ),
    *(
        sample(
            "archived",
            name,
            Sent(storage_class=name),
            everywhere=Refused("source_archived"),
        )
        for name in _ARCHIVES
    ),
    *(
        sample(group, title, Sent(other_headers=headers))
        for title, (group, headers) in _NOT_CARRIED.items()
    ),
    *(
        sample(
            CHECKSUMS,
            name,
            Sent(
                other_headers={
                    "x-amz-sdk-checksum-algorithm": name,
                    f"x-amz-checksum-{name.lower()}": base64.b64encode(checksum).decode(),
                }
            ),
        )
        for name, checksum in _CHECKSUMS.items()
    ),
    sample(
        "customer-provided encryption key",
        "SSE-C",
        Sent(other_headers=_WITH_A_CUSTOMER_KEY),
        everywhere=Refused("source_customer_key"),
    ),
]
