"""The whole corpus, and what each stand-in for S3 can't hold of it."""

from tests.fidelity import bodies, keys, metadata, places
from tests.fidelity.samples import Leg, Sample, Shortfall

MINISTACK, MOTO = "MiniStack", "moto"
WITH_EVENTS = {MINISTACK}

_REFUSES, _ALTERS, _SERVES = Shortfall.REFUSES, Shortfall.ALTERS, Shortfall.SERVES
_LATIN1 = "it takes each byte beyond ASCII for a character, and encodes that once more"

# By implementation and name: how it falls short of S3, and why.
EXCUSES = {
    MINISTACK: {
        "content headers: no type": (_ALTERS, "it says application/octet-stream"),
        "uploaded to S3 in parts: with all that belongs to it": (
            _ALTERS,
            "it loses the tags of an upload in parts",
        ),
        "archived, and restored: GLACIER": (_REFUSES, "its restores are never done"),
        "archived, and restored: DEEP_ARCHIVE": (_REFUSES, "its restores are never done"),
    },
    MOTO: {
        "keys: line feed": (_REFUSES, "its routes have no line feed"),
        "keys that OSS can't have: CR LF": (_REFUSES, "its routes have no line feed"),
        "content headers that OSS can't keep: disposition in Chinese": (_ALTERS, _LATIN1),
        "content headers that OSS can't keep: language in Latin-1": (_ALTERS, _LATIN1),
        "user metadata that OSS can't keep: Chinese, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS can't keep: Latin-1, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS can't keep: emoji, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS can't keep: 2 KB of Chinese": (_ALTERS, _LATIN1),
        "more metadata than there is room for: 2 KB of Chinese and a key of 1 KB": (
            _ALTERS,
            _LATIN1,
        ),
        "user metadata that OSS can't keep: signs in a name": (
            _ALTERS,
            "it drops a name with other signs than hyphen, dot and underscore",
        ),
        "storage classes: OUTPOSTS": (_REFUSES, "it has no such class"),
        "storage classes: SNOW": (_REFUSES, "it has no such class"),
        "a key that only its owner has: SSE-C": (_SERVES, "it gives it out without the key"),
    },
}


def _excused(sample: Sample) -> Sample:
    for implementation, excuses in EXCUSES.items():
        if sample.name in excuses:
            sample = sample.not_on(implementation, *excuses[sample.name])
    return sample


CORPUS = tuple(
    _excused(each) for each in (*keys.SAMPLES, *metadata.SAMPLES, *bodies.SAMPLES, *places.SAMPLES)
)


def of_leg(leg: Leg, implementation: str) -> list[Sample]:
    """What is replicated under a leg's rule from that implementation of S3."""
    return [
        sample
        for sample in CORPUS
        if leg in sample.expected and implementation not in sample.excuses
    ]
