"""Which OSS storage class a replica gets, by that of its source.

Standard for all, unless a rule says otherwise: the colder classes are billed for a minimum of days
(IA 30, Archive 60, ColdArchive and DeepColdArchive 180) even if the next event overwrites the
object before, and the archive classes can't be read until they are restored.
https://help.aliyun.com/document_detail/51374.html
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

ANY = "*"
NATURAL = "natural"


class OssStorageClass(StrEnum):
    """As OSS writes them in `x-oss-storage-class`."""

    STANDARD = "Standard"
    IA = "IA"
    ARCHIVE = "Archive"
    COLD_ARCHIVE = "ColdArchive"
    DEEP_COLD_ARCHIVE = "DeepColdArchive"


_STANDARD, _IA = OssStorageClass.STANDARD, OssStorageClass.IA

# What each S3 class is closest to: first in whether it can be read at once, then in price.
NATURAL_CLASSES: dict[str, OssStorageClass] = {
    "STANDARD": _STANDARD,
    "REDUCED_REDUNDANCY": _STANDARD,  # OSS has nothing less durable
    "EXPRESS_ONEZONE": _STANDARD,  # OSS has nothing faster that is a class of objects
    "STANDARD_IA": _IA,
    # How many zones an OSS object is in is the bucket's to say, not the object's.
    "ONEZONE_IA": _IA,
    # Its objects may be hot, and S3 asks nothing for reading them; IA does.
    "INTELLIGENT_TIERING": _STANDARD,
    "GLACIER_IR": _IA,  # read at once, like no archive of OSS's by default
    "GLACIER": OssStorageClass.ARCHIVE,  # restored within minutes or hours
    # Restored within 12 hours: ColdArchive does that, DeepColdArchive takes up to 48.
    "DEEP_ARCHIVE": OssStorageClass.COLD_ARCHIVE,
    # On devices or by way of other services; seen in listings at most.
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
    """From S3's storage classes to OSS's."""

    classes: dict[str, OssStorageClass] = field(default_factory=dict)
    otherwise: OssStorageClass = _STANDARD

    def of(self, s3_class: str) -> OssStorageClass:
        """The class for a replica.

        Args:
            s3_class: the value of `x-amz-storage-class`; empty for STANDARD, where S3 sends none.
        """
        return self.classes.get(s3_class or "STANDARD", self.otherwise)


def parse_storage_classes(text: str) -> StorageClassMapping:
    """The mapping of a rule's text, such as `STANDARD_IA=IA, GLACIER=Archive, *=Standard`.

    Entries stand between commas or on lines of their own. `*` is for every class that is not named;
    without it that is Standard. The word `natural` stands for NATURAL_CLASSES, of which entries
    change single ones. The empty text makes everything Standard.

    Raises:
        ValueError: what is wrong, in words for the person who wrote it.
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
                f"{entry!r} is neither '{NATURAL}' nor like STANDARD_IA=IA (S3's class = OSS's)"
            )
        _check_known(s3_class, {ANY, *NATURAL_CLASSES}, whose="S3")
        _check_known(oss_class, set(OssStorageClass), whose="OSS")
        if s3_class in named:
            raise ValueError(f"{s3_class} stands there twice")
        named[s3_class] = OssStorageClass(oss_class)
    otherwise = named.pop(ANY, _STANDARD)
    return StorageClassMapping((NATURAL_CLASSES if natural else {}) | named, otherwise)


def _check_known(name: str, known: set[str], *, whose: str) -> None:
    if name in known:
        return
    for candidate in known:
        if candidate.lower() == name.lower():
            raise ValueError(f"{name!r} is written {candidate}")
    raise ValueError(
        f"{name!r} is no storage class of {whose}'s; there are {', '.join(sorted(known))}"
    )
