"""Writes docs/reports/fidelity.md: what becomes of each property, as the corpus proves it.

python -m tests.fidelity.document
"""

from collections.abc import Iterator
from pathlib import Path

from tests.fidelity.corpus import CORPUS
from tests.fidelity.properties import MAIN_VARIANTS, SECTIONS
from tests.fidelity.samples import Arrives, Expected, LeftOut, Refused, Sample, Variant

PATH = Path(__file__).resolve().parents[2] / "docs/reports/fidelity.md"

_SHOWN_CHARACTERS = 60

# The document shows each sample of these groups, with what becomes of it.
EXAMPLES = {
    "keys that OSS does not accept": "key_policy",
    "keys that are too long": "key_policy",
    "keys that look rewritten": "key_policy",
    "content headers that OSS does not accept": "metadata_policy",
    "user metadata that OSS does not accept": "metadata_policy",
    "tags that OSS does not accept": "tag_policy",
}


def document() -> str:
    """The text of the whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Fidelity: what arrives"
    yield ""
    yield (
        "`make fidelity` writes this page. Before, it replicates every object that is counted "
        "here, from two independent implementations of S3 to the OSS stand-in, and compares it: "
        "bytes, headers, user metadata, tags, storage class, access, encryption. "
        f"The corpus has {len(CORPUS)} objects. [sandbox-oss.md](../reference/sandbox-oss.md) says "
        "how real OSS differs from the stand-in, as far as that is known."
    )
    yield ""
    yield "- **carried**: it arrives as it was sent."
    yield "- **mapped**: it arrives in another form, as described here."
    yield "- **by policy**: OSS does not accept it, and the rule's policy says what happens."
    yield "- **refused**: the job fails with that code, before a byte is written."
    yield (
        "- **not expressible**: it does not arrive; the object is copied unless the row says "
        "otherwise."
    )
    for title, section in SECTIONS.items():
        yield from (
            "",
            f"## {title}",
            "",
            "| property | | what happens | objects |",
            "|---|---|---|---|",
        )
        for row in section:
            yield f"| {row.name} | {row.treatment} | {row.text} | {len(row.samples) or '–'} |"
    yield from ("", "## Results of the policies", "")
    yield "Characters that can't be printed are shown in the form `\\x01`; long texts are cut."
    for group, policy in EXAMPLES.items():
        yield from ("", f"### {group[0].upper()}{group[1:]}: `{policy}`", "")
        second = "skip" if policy == "key_policy" else "drop"
        samples = [each for each in CORPUS if each.group == group]
        variants = list(MAIN_VARIANTS[:2] if policy == "tag_policy" else MAIN_VARIANTS)
        titles = ["", "sent", "fail", second, "rewrite"][: 2 + len(variants)]
        if all(Variant.LENIENT in sample.expected for sample in samples):
            variants.append(Variant.LENIENT)
            titles.append("fail, in a bucket that takes more")
        yield f"| {' | '.join(titles)} |".replace("|  |", "| |")
        yield "|---" * len(titles) + "|"
        for sample in samples:
            cells = [
                _sent(sample, policy),
                *(_becomes(sample, variant, policy) for variant in variants),
            ]
            yield f"| {sample.title} | {' | '.join(cells)} |"
    yield from ("", "### Storage classes", "", "| S3 | by default | `natural` |", "|---|---|---|")
    for sample in CORPUS:
        if sample.sent.storage_class and sample.group != "archived":
            cells = [_class(sample.expected[variant]) for variant in MAIN_VARIANTS[:2]]
            restored = ", restored" if sample.sent.is_restored else ""
            yield f"| {sample.title}{restored} | {' | '.join(cells)} |"
    yield from ("", "## Objects that a stand-in can't hold", "")
    yield (
        "These objects are replicated from the other implementation of S3 only. A test checks that "
        "each gap still exists."
    )
    yield from ("", "| object | not on | why |", "|---|---|---|")
    for sample in CORPUS:
        for implementation, exclusion in sample.exclusions.items():
            yield f"| {sample.name} | {implementation} | {exclusion.how}: {exclusion.reason} |"


def _sent(sample: Sample, policy: str) -> str:
    if policy == "key_policy":
        return _code(sample.key)
    if policy == "tag_policy":
        return _fields(sample.sent.tags)
    if sample.group.startswith("content headers"):
        return _fields(sample.sent.headers)
    return _fields(sample.sent.metadata)


def _becomes(sample: Sample, variant: Variant, policy: str) -> str:
    match sample.expected[variant]:
        case Refused(code):
            return f"fails: {code}"
        case LeftOut():
            return "left out"
        case Arrives() as arrives if arrives.is_as_sent:
            return "as it is"
        case Arrives(key=str(key)) if policy == "key_policy":
            return _code(key)
        case Arrives() as arrives if policy == "tag_policy":
            return _fields(arrives.tags or {})
        case Arrives() as arrives:
            is_header = sample.group.startswith("content headers")
            return _fields((arrives.headers if is_header else arrives.metadata) or {})


def _class(expected: Expected) -> str:
    assert isinstance(expected, Arrives)
    return expected.storage_class


def _fields(fields: object) -> str:
    assert isinstance(fields, dict)
    # Leave out the ordinary fields, which only show that they survive together with the odd one.
    shown = {name: value for name, value in fields.items() if name not in {"kept", "content-type"}}
    return ", ".join(_code(f"{name}: {value}") for name, value in shown.items()) or "without it"


def _code(text: str) -> str:
    text = _as_text(text)
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]}…"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    shown = shown.replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def _as_text(wire: str) -> str:
    """Decode the bytes of a header, if they are UTF-8."""
    try:
        return wire.encode("latin-1").decode()
    except UnicodeError:
        return wire


if __name__ == "__main__":
    PATH.write_text(document(), encoding="utf-8")
