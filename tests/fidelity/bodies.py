"""Samples of content: sizes around each boundary, compressed content, uploads to S3 in parts."""

import gzip
import random
import zlib

from tests.fidelity.samples import Sample, Sent, sample

# The smallest values that the settings allow: larger objects are copied in parts of this size.
THRESHOLD_BYTES = PART_BYTES = 1024**2
S3_PART_BYTES = 5 * 1024**2  # the smallest that S3 allows

_NOISE = random.Random(1).randbytes(S3_PART_BYTES + 1)
_TEXT = b"the same line again and again\n" * 4000

_SIZES = {
    "empty": 0,
    "one byte": 1,
    "two bytes": 2,
    "one chunk of the reader": 64 * 1024,
    "a byte more than a chunk": 64 * 1024 + 1,
    "a byte under the threshold": THRESHOLD_BYTES - 1,
    "the threshold": THRESHOLD_BYTES,
    "a byte over the threshold": THRESHOLD_BYTES + 1,
    "a byte under two parts": 2 * PART_BYTES - 1,
    "two parts": 2 * PART_BYTES,
    "a byte over two parts": 2 * PART_BYTES + 1,
    "three parts and a bit": 3 * PART_BYTES + 12_345,
}

_ENCODED = {
    "gzip": (gzip.compress(_TEXT, mtime=0), "gzip"),
    "gzip in upper case": (gzip.compress(_TEXT, mtime=0), "GZIP"),
    "gzip twice": (gzip.compress(gzip.compress(_TEXT, mtime=0), mtime=0), "gzip, gzip"),
    "gzip of nothing": (gzip.compress(b"", mtime=0), "gzip"),
    "deflate": (zlib.compress(_TEXT), "deflate"),
    "not gzip, but marked as gzip": (b"plain text", "gzip"),
    "empty, but marked as gzip": (b"", "gzip"),
    "brotli, without a decoder": (_NOISE[:1000], "br"),
    "zstd, without a decoder": (_NOISE[:1000], "zstd"),
    "gzip in parts": (gzip.compress(_NOISE[: 2 * PART_BYTES], mtime=0), "gzip"),
}

SAMPLES: list[Sample] = [
    *(sample("sizes", title, Sent(body=_NOISE[:size])) for title, size in _SIZES.items()),
    *(
        sample(
            "encoded content",
            title,
            Sent(body=body, headers={"content-type": "text/plain", "content-encoding": coding}),
        )
        for title, (body, coding) in _ENCODED.items()
    ),
    sample("bytes", "gzip without Content-Encoding", Sent(body=gzip.compress(_TEXT, mtime=0))),
    sample("bytes", "line ends of all kinds", Sent(body=b"a\r\nb\nc\rd\x00e\x1a\xff\xfe")),
    sample("bytes", "zeros", Sent(body=bytes(100_000))),
    sample("uploaded to S3 in parts", "two", Sent(body=_NOISE, part_bytes=S3_PART_BYTES)),
    sample("uploaded to S3 in parts", "one", Sent(body=b"small", part_bytes=S3_PART_BYTES)),
    sample(
        "uploaded to S3 in parts",
        "two, with headers, metadata and tags",
        Sent(
            body=_NOISE,
            part_bytes=S3_PART_BYTES,
            headers={"content-type": "video/mp4", "cache-control": "max-age=60"},
            metadata={"taken-by": "me"},
            tags={"year": "2026"},
        ),
    ),
]
