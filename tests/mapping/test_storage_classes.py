"""The storage class of a replica."""

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


def test_every_s3_class_has_a_natural_oss_class() -> None:
    service: Any = botocore.session.get_session().get_service_model("s3")
    assert set(NATURAL_CLASSES) == set(service.shape_for("StorageClass").enum)


def test_the_classes_are_the_classes_of_the_oss_stand_in() -> None:
    assert tuple(OssStorageClass) == names.STORAGE_CLASSES


@pytest.mark.parametrize("s3_class", ["", "STANDARD", "GLACIER", "DEEP_ARCHIVE", "OF_TOMORROW"])
def test_every_class_maps_to_standard_by_default(s3_class: str) -> None:
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
def test_a_rules_mapping_decides_the_class(text: str, s3_class: str, expected: str) -> None:
    assert parse_storage_classes(text).of(s3_class) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("GLACIER", "'GLACIER' is neither 'natural' nor like STANDARD_IA=IA"),
        ("GLACIER=Archive; STANDARD=IA", "'Archive; STANDARD=IA' is not a storage class of OSS"),
        ("GLACIAL=Archive", "'GLACIAL' is not a storage class of S3; use one of *, AWS_BACKUP"),
        ("GLACIER=Glacier", "'Glacier' is not a storage class of OSS; use one of Archive, Cold"),
        ("GLACIER=archive", "write Archive instead of 'archive'"),
        ("glacier=Archive", "write GLACIER instead of 'glacier'"),
        ("GLACIER=Archive, GLACIER=IA", "GLACIER has two entries"),
        ("=IA", "'' is not a storage class of S3"),
        ("GLACIER=", "'' is not a storage class of OSS"),
    ],
)
def test_an_invalid_mapping_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_storage_classes(text)
