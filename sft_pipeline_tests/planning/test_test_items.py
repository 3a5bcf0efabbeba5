"""What is said of a test item that the gate could not judge; test_bad_input.py has the other reasons to refuse."""

import json

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Evaluation
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import test_items as plan_items


@pytest.fixture
def check(toy, toy_base, dataset):
    """Looks at test items of the types `form` and `kind`."""

    def check(items):
        scorers = {"default": {"kind": "exact"}, "form": {"kind": "json_record"}}
        experiment = toy().model_copy(update={"evaluation": Evaluation.model_validate({"scorers": scorers})})
        plan_items.check(experiment, toy_base, dataset("test", items), load_tokenizer(toy_base.root))

    return check


def test_a_reference_that_cannot_be_used_is_named_by_file_and_row_with_how_many_there_are(check, rows):
    items = rows(10)
    for k, record in enumerate(({}, {"a": 1}, [1], "a")):
        items[2 * k] |= {"type": "form", "reference": json.dumps({"record": record})}
    with pytest.raises(DataError) as said:
        check(items)
    assert str(said.value).startswith(
        f"toy.jsonl, row 5: item {items[4]['id']} (type form), field reference.record: must be a JSON object"
    )
    assert str(said.value).endswith(" 2 of the 4 test items of type form cannot be judged.")


def test_a_reference_that_is_no_json_is_named_so_too(check, rows):
    items = rows(3)
    items[2] |= {"reference": "[1]"}
    with pytest.raises(
        DataError, match=r"^toy.jsonl, row 3: item \w+, field reference: not a JSON object: .* 1 of the 3"
    ):
        check(items)


def test_what_no_item_alone_has_wrong_is_said_as_it_is(check, rows):
    with pytest.raises(DataError, match="occur more than once in the rows to be judged"):
        check(rows(1) * 2)
