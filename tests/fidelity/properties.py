"""The properties of an object and how each is treated, which the corpus must prove."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tests.fidelity.corpus import CORPUS
from tests.fidelity.samples import Arrives, Refused, Sample, Variant

MAIN_VARIANTS = (Variant.FAIL, Variant.DROP, Variant.REWRITE)


class Treatment(StrEnum):
    """How a property is treated."""

    CARRIED = "carried"
    MAPPED = "mapped"
    BY_POLICY = "by policy"
    REFUSED = "refused"
    NOT_EXPRESSIBLE = "not expressible"


@dataclass(frozen=True)
class Row:
    """A property and its treatment, proved by groups of the corpus."""

    name: str
    treatment: Treatment
    text: str
    groups: tuple[str, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        return [sample for sample in CORPUS if sample.group in self.groups]


_CARRIED, _MAPPED, _BY_POLICY, _REFUSED, _NOT = Treatment

_ASKED = "[asked](../decisions/what-oss-takes-is-learned.md) whether it takes"

SECTIONS: dict[str, list[Row]] = {
    "Bytes": [
        Row(
            "content",
            _CARRIED,
            "Byte for byte, any size from 0; CRC-64 compared, in parts and as a whole.",
            ("sizes", "bytes", "uploaded to S3 in parts"),
        ),
        Row(
            "compressed content",
            _CARRIED,
            "Never decompressed, whatever `Content-Encoding` says.",
            ("encoded content",),
        ),
    ],
    "Keys": [
        Row(
            "keys",
            _CARRIED,
            "Byte for byte: `a//b`, `a/../b`, spaces, `+`, `%`, every normal form of Unicode.",
            ("keys", "long keys"),
        ),
        Row(
            "folder markers",
            _CARRIED,
            "An empty object whose key ends in `/`.",
            ("folder markers",),
        ),
        Row(
            "keys that OSS does not accept",
            _BY_POLICY,
            "`key_policy`: *fail*, *skip*, or *rewrite*, which is reversible. A destination prefix "
            "makes a leading `/` or `\\`, `.` and `..` possible.",
            ("keys that OSS does not accept", "keys that are too long"),
        ),
        Row(
            "keys that look rewritten",
            _MAPPED,
            "Carried under *fail* and *skip*; rewritten once more under *rewrite*, so that every "
            "key with `.s3sync-key/` is one that s3sync has rewritten.",
            ("keys that look rewritten",),
        ),
        Row(
            "keys with U+0000",
            _NOT,
            "PostgreSQL can't store them: the event becomes a dead letter, which says that no "
            "replay can succeed.",
        ),
    ],
    "Content headers": [
        Row(
            "Content-Type, Cache-Control, Content-Disposition, Content-Encoding, "
            "Content-Language, Expires",
            _CARRIED,
            "As text, each alone and all together; an invalid date stays as it is.",
            ("content headers",),
        ),
        Row(
            "values that are not printable ASCII",
            _BY_POLICY,
            "`metadata_policy`: *fail*, *drop*, or *rewrite*: `%XX`, with the exact bytes in "
            "`x-oss-meta-s3sync-header-<name>`.",
            ("content headers that OSS does not accept",),
        ),
        Row(
            "`aws-chunked` in Content-Encoding",
            _NOT,
            "Removed: it says how the upload was sent, not what is stored.",
        ),
    ],
    "User metadata": [
        Row(
            "names of a-z, 0-9, hyphen; values of printable ASCII",
            _CARRIED,
            "Up to S3's 2 KB; encoded words (`=?UTF-8?B?…?=`) unchanged.",
            ("user metadata",),
        ),
        Row(
            "capitals in names",
            _MAPPED,
            "S3 returns names in lower case.",
            ("names with capitals",),
        ),
        Row(
            "other names and values, and names that begin with `s3sync-`",
            _BY_POLICY,
            "`metadata_policy`: *fail*, *drop*, or *rewrite*, which is reversible. A bucket is "
            f"{_ASKED} values of UTF-8; if it does, they are carried.",
            ("user metadata that OSS does not accept",),
        ),
        Row(
            "more than 8 KB once rewritten",
            _BY_POLICY,
            "Fails under *rewrite* as well. This happens only if an object has both 2 KB beyond "
            "ASCII and a long key that is rewritten too.",
            ("metadata above OSS's limit",),
        ),
        Row(
            "fields that S3 counts but can't show (`x-amz-missing-meta`)",
            _NOT,
            "*Fail* fails; *drop* and *rewrite* copy without them, with a record.",
        ),
    ],
    "Tags": [
        Row(
            "up to 10 tags of ASCII letters, digits, space and `+-=._:/`",
            _CARRIED,
            "Read by one more request: of a small object only where it has tags, of a large object "
            "always.",
            ("tags",),
        ),
        Row(
            "tags set, changed or deleted after the upload",
            _CARRIED,
            "An event of tags (`s3:ObjectTagging:*`) sets the replica's tags by one request. The "
            "bytes are not copied again, and archived objects are not restored.",
            ("tags set after the upload",),
        ),
        Row(
            "tags with `@` or letters beyond ASCII",
            _BY_POLICY,
            "`tag_policy`: *fail* or *drop*. Never rewritten, because lifecycle rules match tags. "
            f"A bucket is {_ASKED} letters of all alphabets; if it does, they are carried.",
            ("tags that OSS does not accept",),
        ),
    ],
    "Storage class": [
        Row(
            "storage classes",
            _MAPPED,
            "`storage_classes`: Standard for all by default; `natural`, or a list.",
            ("storage classes", "archived, and restored"),
        ),
        Row(
            "archived objects (GLACIER, DEEP_ARCHIVE)",
            _REFUSED,
            "`source_archived`: S3 must restore them first; then retry.",
            ("archived",),
        ),
    ],
    "Access and encryption": [
        Row(
            "access",
            _NOT,
            "S3's ACLs and grants have no equal in OSS. `acl` of the rule sets the ACL of all its "
            "replicas; by default the bucket's applies.",
            ("S3 ACLs",),
        ),
        Row(
            "encryption at the source (SSE-S3, SSE-KMS)",
            _NOT,
            "S3 decrypts on reading. `encryption` of the rule (AES256, KMS with a key, SM4) says "
            "how OSS encrypts; by default the bucket decides.",
            ("encryption at the source",),
        ),
        Row(
            "customer-provided encryption keys (SSE-C)",
            _REFUSED,
            "`source_customer_key`: S3 can decrypt the object only with the customer's key.",
            ("customer-provided encryption key",),
        ),
    ],
    "What stays behind": [
        Row(
            "ETag",
            _NOT,
            "OSS makes its own. The source's is in `x-oss-meta-s3sync-etag`, with "
            "`-version`, and `-key` where the key was rewritten.",
        ),
        Row(
            "Last-Modified",
            _NOT,
            "OSS sets its own. The source's is in `x-oss-meta-s3sync-modified`.",
        ),
        Row(
            "S3's checksums (CRC32, CRC64NVME, SHA-256, …)",
            _NOT,
            "Compared with the bytes read, and kept on the job; OSS keeps only its CRC-64.",
            ("checksums at the source",),
        ),
        Row(
            "older versions, delete markers",
            _NOT,
            "The current state is kept equal, not history.",
        ),
        Row(
            "Object Lock: retention, legal hold",
            _NOT,
            "Neither read nor set. The operator may set OSS's own, of a bucket or (by invitation) "
            "of objects; an object that it protects can't be kept equal.",
        ),
        Row(
            "website redirects of objects",
            _NOT,
            "Not read: OSS redirects by rules of the bucket's website.",
            ("website redirects",),
        ),
        Row(
            "owner, and what the bucket has (policies, lifecycle, CORS, website)",
            _NOT,
            "Not a part of an object.",
        ),
    ],
}


def rows() -> list[Row]:
    return [row for section in SECTIONS.values() for row in section]


def proved_treatment(samples: Iterable[Sample]) -> Treatment:
    """The treatment of these samples, which must all be treated alike.

    Raises:
        ValueError: they are not.
    """
    treatments = {_treatment(sample) for sample in samples}
    if treatments == {Treatment.CARRIED, Treatment.MAPPED}:
        return Treatment.MAPPED  # a mapping may leave some unchanged
    if len(treatments) != 1:
        raise ValueError(f"the samples are treated differently: {sorted(treatments)}")
    return treatments.pop()


def _treatment(sample: Sample) -> Treatment:
    expected = [sample.expected[variant] for variant in MAIN_VARIANTS]
    if all(isinstance(each, Refused) for each in expected):
        return Treatment.REFUSED
    if isinstance(expected[0], Refused):
        return Treatment.BY_POLICY
    if sample.sent.other_headers:
        return Treatment.NOT_EXPRESSIBLE
    # A header that S3 itself fills in counts as carried.
    is_default = sample.is_mapped_by_s3 and sample.group == "content headers"
    if expected == [Arrives()] * 3 or is_default:
        return Treatment.CARRIED
    return Treatment.MAPPED
