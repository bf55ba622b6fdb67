"""The whole corpus, and the samples that a stand-in for S3 can't hold."""

from tests.fidelity import bodies, keys, metadata, places
from tests.fidelity.samples import Sample, Shortfall, Variant

MINISTACK, MOTO = "MiniStack", "moto"
WITH_EVENTS = {MINISTACK}

_REFUSES, _ALTERS, _SERVES = Shortfall.REFUSES, Shortfall.ALTERS, Shortfall.SERVES
_LATIN1 = "it takes each byte beyond ASCII for a character, and encodes that character again"

# By implementation and sample: how the implementation falls short of S3, and why.
EXCLUSIONS = {
    MINISTACK: {
        "content headers: no type": (_ALTERS, "it returns application/octet-stream"),
        "uploaded to S3 in parts: two, with headers, metadata and tags": (
            _ALTERS,
            "it loses the tags of an upload in parts",
        ),
        "archived, and restored: GLACIER": (_REFUSES, "its restores never complete"),
        "archived, and restored: DEEP_ARCHIVE": (_REFUSES, "its restores never complete"),
    },
    MOTO: {
        "keys: line feed": (_REFUSES, "its routes don't match a line feed"),
        "keys that OSS does not accept: CR LF": (_REFUSES, "its routes don't match a line feed"),
        "content headers that OSS does not accept: disposition in Chinese": (_ALTERS, _LATIN1),
        "content headers that OSS does not accept: language in Latin-1": (_ALTERS, _LATIN1),
        "user metadata that OSS does not accept: Chinese, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS does not accept: Latin-1, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS does not accept: emoji, as bytes": (_ALTERS, _LATIN1),
        "user metadata that OSS does not accept: 2 KB of Chinese": (_ALTERS, _LATIN1),
        "metadata above OSS's limit: 2 KB of Chinese and a key of 1 KB": (
            _ALTERS,
            _LATIN1,
        ),
        "user metadata that OSS does not accept: symbols in a name": (
            _ALTERS,
            "it drops names with other symbols than hyphen, dot and underscore",
        ),
        "storage classes: OUTPOSTS": (_REFUSES, "it has no such class"),
        "storage classes: SNOW": (_REFUSES, "it has no such class"),
        "customer-provided encryption key: SSE-C": (_SERVES, "the key is not needed"),
    },
}


def _with_exclusions(sample: Sample) -> Sample:
    for implementation, exclusions in EXCLUSIONS.items():
        if sample.name in exclusions:
            sample = sample.excluded_from(implementation, *exclusions[sample.name])
    return sample


CORPUS = tuple(
    _with_exclusions(each)
    for each in (*keys.SAMPLES, *metadata.SAMPLES, *bodies.SAMPLES, *places.SAMPLES)
)


def samples_for(variant: Variant, implementation: str) -> list[Sample]:
    """The samples that are replicated from this implementation of S3 under the variant's rule."""
    return [
        sample
        for sample in CORPUS
        if variant in sample.expected and implementation not in sample.exclusions
    ]
