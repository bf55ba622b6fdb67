"""Maps the S3 storage class of an object to the OSS storage class of its replica.

The default is Standard for all objects. OSS bills the colder classes for a minimum number of days
(IA 30, Archive 60, ColdArchive and DeepColdArchive 180) even if an event overwrites the object
earlier, and objects in the archive classes can't be read until they are restored.
https://help.aliyun.com/document_detail/51374.html
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

ANY = "*"
NATURAL = "natural"


class OssStorageClass(StrEnum):
    """OSS's storage classes, as in `x-oss-storage-class`."""

    STANDARD = "Standard"
    IA = "IA"
    ARCHIVE = "Archive"
    COLD_ARCHIVE = "ColdArchive"
    DEEP_COLD_ARCHIVE = "DeepColdArchive"


_STANDARD, _IA = OssStorageClass.STANDARD, OssStorageClass.IA

# The closest OSS class for each S3 class: compared first by immediate access, then by price.
NATURAL_CLASSES: dict[str, OssStorageClass] = {
    "STANDARD": _STANDARD,
    "REDUCED_REDUNDANCY": _STANDARD,  # OSS has no less durable class
    "EXPRESS_ONEZONE": _STANDARD,  # OSS has no faster class for objects
    "STANDARD_IA": _IA,
    # In OSS, the bucket and not the object decides the number of zones.
    "ONEZONE_IA": _IA,
    # The objects may be hot; IA charges for reading them, S3 does not.
    "INTELLIGENT_TIERING": _STANDARD,
    "GLACIER_IR": _IA,  # immediate access, which OSS's archive classes lack by default
    "GLACIER": OssStorageClass.ARCHIVE,  # restored within minutes or hours
    # Restored within 12 hours, like ColdArchive; DeepColdArchive takes up to 48.
    "DEEP_ARCHIVE": OssStorageClass.COLD_ARCHIVE,
    # Used on devices or by other services; they appear in listings at most.
    "OUTPOSTS": _STANDARD,
    "SNOW": _STANDARD,
    "FSX_OPENZFS": _STANDARD,
    "FSX_ONTAP": _STANDARD,
    "AWS_BACKUP_WARM": _STANDARD,
    "AWS_BACKUP_LOW_COST_WARM": _STANDARD,
}

_SEPARATOR = re.compile(r"[,\n]")


@dataclass(frozen=True)
class StorageClassMapping:
    """A mapping from S3 storage classes to OSS storage classes."""

    classes: dict[str, OssStorageClass] = field(default_factory=dict)
    otherwise: OssStorageClass = _STANDARD

    def of(self, s3_class: str) -> OssStorageClass:
        """The OSS class of a replica.

        Args:
            s3_class: the value of `x-amz-storage-class`; empty for STANDARD, which S3 omits.
        """
        return self.classes.get(s3_class or "STANDARD", self.otherwise)


@lru_cache(maxsize=1024)  # each transfer asks for its rule's
def parse_storage_classes(text: str) -> StorageClassMapping:
    """Parse a rule's mapping, such as `STANDARD_IA=IA, GLACIER=Archive, *=Standard`.

    Commas or line ends separate the entries. `*` stands for every class without an entry; its
    default is Standard. The word `natural` stands for NATURAL_CLASSES; other entries override
    single classes of it. An empty text maps every class to Standard.

    Raises:
        ValueError: the mapping is not valid; the text tells its author why.
    """
    named: dict[str, OssStorageClass] = {}
    natural = False
    for entry in filter(None, (entry.strip() for entry in _SEPARATOR.split(text))):
        if entry == NATURAL:
            natural = True
            continue
        s3_class, equals, oss_class = (part.strip() for part in entry.partition("="))
        if not equals:
            raise ValueError(
                f"{entry!r} is neither '{NATURAL}' nor like STANDARD_IA=IA (S3 class = OSS class)"
            )
        _check_known(s3_class, {ANY, *NATURAL_CLASSES}, whose="S3")
        _check_known(oss_class, set(OssStorageClass), whose="OSS")
        if s3_class in named:
            raise ValueError(f"{s3_class} has two entries")
        named[s3_class] = OssStorageClass(oss_class)
    otherwise = named.pop(ANY, _STANDARD)
    return StorageClassMapping((NATURAL_CLASSES if natural else {}) | named, otherwise)


def _check_known(name: str, known: set[str], *, whose: str) -> None:
    if name in known:
        return
    for candidate in known:
        if candidate.lower() == name.lower():
            raise ValueError(f"write {candidate} instead of {name!r}")
    raise ValueError(
        f"{name!r} is not a storage class of {whose}; use one of {', '.join(sorted(known))}"
    )
