"""Which scorer judges which item, and joining answers by id."""

import pytest

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scoring import score_items, scorer_for
from sft_pipeline.experiment import ScorerSpec

EXACT, NUMERIC = ScorerSpec(kind="exact"), ScorerSpec(kind="numeric")


def row(id, type="t", response="blue", reference=None):
    return {"id": id, "instruction": "Do it.", "response": response, "type": type, "reference": reference}


def test_items_are_judged_by_the_scorer_of_their_type_and_joined_by_id():
    rows = [row("a"), row("b", "sum", "7"), row("c", reference='{"answer": "red"}')]
    outputs = {"c": "Red.", "a": "green", "b": "3 + 4 = 7", "other": "ignored"}
    judged = score_items(rows, outputs, {"default": EXACT, "sum": NUMERIC})
    assert [(j.id, j.type, j.success) for j in judged] == [("a", "t", False), ("b", "sum", True), ("c", "t", True)]
    assert judged[0].reason and not judged[1].reason


def test_every_kind_of_the_schema_has_its_scorer():
    from typing import get_args

    for kind in get_args(ScorerSpec.model_fields["kind"].annotation):
        assert scorer_for("t", {"t": ScorerSpec(kind=kind)}).kind == kind


def test_a_type_without_a_scorer_is_named():
    with pytest.raises(SpecificationError, match="'poem'.*declared are sum"):
        score_items([row("a", "poem")], {"a": "x"}, {"sum": NUMERIC})


def test_an_unknown_option_is_named():
    with pytest.raises(SpecificationError, match=r"scorers\.default\.options.*exact has no option refusal"):
        scorer_for("t", {"default": ScorerSpec(kind="exact", options={"refusal": "x"})})


def test_missing_answers_and_repeated_items_are_named():
    with pytest.raises(DataError, match="no answer to items b"):
        score_items([row("a"), row("b")], {"a": "blue"}, {"default": EXACT})
    with pytest.raises(DataError, match="items a stand more than once"):
        score_items([row("a"), row("a")], {"a": "blue"}, {"default": EXACT})


@pytest.mark.parametrize("reference", ["{not json", "[1]", '"text"'])
def test_a_reference_that_is_no_object_is_named(reference):
    with pytest.raises(DataError, match="item a, field reference"):
        score_items([row("a", reference=reference)], {"a": "blue"}, {"default": EXACT})
