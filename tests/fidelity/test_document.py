"""docs/reports/fidelity.md says what the corpus proves."""

import pytest

from tests.fidelity.corpus import CORPUS
from tests.fidelity.document import EXAMPLES, PATH, document
from tests.fidelity.properties import Row, Verdict, proved_verdict, rows


def test_the_document_is_what_the_corpus_would_write_today() -> None:
    assert PATH.read_text(encoding="utf-8") == document(), "run: make fidelity"


def test_every_group_of_the_corpus_is_a_property_of_the_document() -> None:
    told = [group for row in rows() for group in row.groups]
    assert sorted(told) == sorted({sample.group for sample in CORPUS})
    assert set(EXAMPLES) <= set(told)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.what)
def test_what_is_said_of_a_property_is_what_its_objects_prove(row: Row) -> None:
    if row.verdict == Verdict.NOT_EXPRESSIBLE and not row.samples:
        return  # nothing of it can be sent that could arrive
    assert proved_verdict(row.samples) == row.verdict
