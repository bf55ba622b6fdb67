"""Which storage class a replica gets."""

import re
from typing import Any

import botocore.session
import pytest

from replication.mapping.storage_classes import (
    NATURAL_CLASSES,
    OssStorageClass,
    StorageClassMapping,
    parse_storage_classes,
)
from sandbox.oss import names


def test_every_class_of_s3_has_a_natural_one() -> None:
    service: Any = botocore.session.get_session().get_service_model("s3")
    assert set(NATURAL_CLASSES) == set(service.shape_for("StorageClass").enum)


def test_the_classes_are_those_of_oss() -> None:
    assert tuple(OssStorageClass) == names.STORAGE_CLASSES


@pytest.mark.parametrize("s3_class", ["", "STANDARD", "GLACIER", "DEEP_ARCHIVE", "OF_TOMORROW"])
def test_all_is_standard_unless_the_rule_says_otherwise(s3_class: str) -> None:
    assert StorageClassMapping().of(s3_class) == OssStorageClass.STANDARD
    assert parse_storage_classes(" \n").of(s3_class) == OssStorageClass.STANDARD


@pytest.mark.parametrize(
    ("text", "s3_class", "expected"),
    [
        ("STANDARD_IA=IA, GLACIER=Archive, *=Standard", "STANDARD_IA", "IA"),
        ("STANDARD_IA=IA, GLACIER=Archive, *=Standard", "GLACIER", "Archive"),
        ("STANDARD_IA=IA, GLACIER=Archive, *=Standard", "DEEP_ARCHIVE", "Standard"),
        ("STANDARD_IA = IA\nGLACIER = Archive\n", "GLACIER", "Archive"),
        ("STANDARD=IA", "", "IA"),
        ("*=IA", "", "IA"),
        ("*=IA", "OF_TOMORROW", "IA"),
        ("natural", "DEEP_ARCHIVE", "ColdArchive"),
        ("natural", "GLACIER_IR", "IA"),
        ("natural", "OF_TOMORROW", "Standard"),
        ("DEEP_ARCHIVE=DeepColdArchive, natural", "DEEP_ARCHIVE", "DeepColdArchive"),
        ("DEEP_ARCHIVE=DeepColdArchive, natural", "GLACIER", "Archive"),
        ("natural, *=IA", "OF_TOMORROW", "IA"),
        ("natural, *=IA", "STANDARD", "Standard"),
    ],
)
def test_a_rules_text_says_which_class(text: str, s3_class: str, expected: str) -> None:
    assert parse_storage_classes(text).of(s3_class) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("GLACIER", "'GLACIER' is neither 'natural' nor like STANDARD_IA=IA"),
        ("GLACIER=Archive; STANDARD=IA", "'Archive; STANDARD=IA' is no storage class of OSS's"),
        ("GLACIAL=Archive", "'GLACIAL' is no storage class of S3's; there are *, AWS_BACKUP"),
        ("GLACIER=Glacier", "'Glacier' is no storage class of OSS's; there are Archive, Cold"),
        ("GLACIER=archive", "'archive' is written Archive"),
        ("glacier=Archive", "'glacier' is written GLACIER"),
        ("GLACIER=Archive, GLACIER=IA", "GLACIER stands there twice"),
        ("=IA", "'' is no storage class of S3's"),
        ("GLACIER=", "'' is no storage class of OSS's"),
    ],
)
def test_a_wrong_text_is_refused_in_words(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_storage_classes(text)
