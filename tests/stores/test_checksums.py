"""The source's own checksum is computed as S3 computes it, in one pass or part by part."""

import base64
import hashlib
import itertools
import zlib
from dataclasses import replace

import pytest

from replication.stores.base import ObjectInfo
from replication.stores.checksums import SourceChecksum, source_checksum
from tests.stores.conftest import SourceCase

CONTENT = b"123456789"

# Check values from the catalogue of parametrised CRC algorithms (reveng), zlib and hashlib.
KNOWN = {
    "CRC64NVME": bytes.fromhex("ae8b14860a799888"),
    "CRC32C": bytes.fromhex("e3069283"),
    "CRC32": zlib.crc32(CONTENT).to_bytes(4, "big"),
    "MD5": hashlib.md5(CONTENT).digest(),
    "SHA256": hashlib.sha256(CONTENT).digest(),
    "SHA1": hashlib.sha1(CONTENT).digest(),
}


def text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize("algorithm", KNOWN)
def test_a_checksum_has_the_known_value_however_the_bytes_are_cut(algorithm: str) -> None:
    checksum = SourceChecksum(algorithm, text(KNOWN[algorithm]))
    for cuts in ([0, 9], [0, 1, 9], [0, 4, 4, 9]):
        running = checksum.begin()
        for start, end in itertools.pairwise(cuts):
            running.update(CONTENT[start:end])
        assert running.value() == checksum.expected


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32C", "CRC32"])
def test_the_crcs_of_parts_combine_to_that_of_the_whole(algorithm: str) -> None:
    checksum = SourceChecksum(algorithm, text(KNOWN[algorithm]))
    assert checksum.is_combinable
    parts = []
    for piece in (CONTENT[:2], b"", CONTENT[2:8], CONTENT[8:]):
        running = checksum.begin()
        running.update(piece)
        parts.append((running.crc, len(piece)))
    assert checksum.combine(parts) == checksum.expected


def test_the_cheapest_checksum_is_chosen() -> None:
    md5 = KNOWN["MD5"].hex()
    both = ObjectInfo(9, "e", md5=md5, checksums={"SHA256": "s", "CRC32": "c"})
    assert source_checksum(both) == SourceChecksum("CRC32", "c")
    digests = ObjectInfo(9, "e", md5=md5, checksums={"SHA256": "s"})
    assert source_checksum(digests) == SourceChecksum("MD5", text(KNOWN["MD5"]), is_guess=True)
    promised = replace(digests, md5_is_promised=True)
    assert source_checksum(promised) == SourceChecksum("MD5", text(KNOWN["MD5"]))
    assert source_checksum(digests, must_combine=True) is None
    assert source_checksum(ObjectInfo(9, "e")) is None


@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1"])
def test_a_server_accepts_the_checksum_and_returns_it(
    s3_source: SourceCase, algorithm: str
) -> None:
    expected = text(KNOWN[algorithm])
    s3_source.put(
        "a.txt", CONTENT, ChecksumAlgorithm=algorithm, **{f"Checksum{algorithm}": expected}
    )
    with s3_source.store.open("a.txt") as found:
        assert found.info.checksums == {algorithm: expected}
        checksum = SourceChecksum(algorithm, found.info.checksums[algorithm])
        running = checksum.begin()
        while data := found.read(4):
            running.update(data)
    assert running.value() == checksum.expected
