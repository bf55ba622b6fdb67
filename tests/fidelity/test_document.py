"""docs/reports/fidelity.md agrees with the corpus."""

import pytest

from tests.fidelity.corpus import CORPUS
from tests.fidelity.document import EXAMPLES, PATH, document
from tests.fidelity.properties import Row, Treatment, proved_treatment, rows


def test_the_document_is_up_to_date() -> None:
    assert PATH.read_text(encoding="utf-8") == document(), "run: make fidelity"


def test_every_group_of_the_corpus_is_a_property_of_the_document() -> None:
    groups = [group for row in rows() for group in row.groups]
    assert sorted(groups) == sorted({sample.group for sample in CORPUS})
    assert set(EXAMPLES) <= set(groups)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_the_treatment_of_a_property_is_the_one_that_its_samples_prove(row: Row) -> None:
    if row.treatment == Treatment.NOT_EXPRESSIBLE and not row.samples:
        return  # no sample can prove it
    assert proved_treatment(row.samples) == row.treatment
