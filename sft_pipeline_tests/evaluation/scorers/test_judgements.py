"""Judgements from a file, joined by id and exact text."""

import gzip
import json

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.human_labels import read_labels
from sft_pipeline.evaluation.scorers import Item, judgements


@pytest.fixture
def written(tmp_path):
    """Writes rows and returns the scorer's options."""

    def write(*rows) -> dict[str, str]:
        path = tmp_path / "judged.jsonl"
        path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), "utf-8")
        return {"file": str(path)}

    return write


def test_a_judgement_belongs_to_the_text_that_was_read(judge, written):
    options = written(
        {"id": "i1", "output": "good", "success": True, "by": "me"},
        {"id": "i1", "output": "bad", "success": False, "reason": "rude"},
        {"id": "i1", "output": "so so", "success": None},
        {"id": "i2", "output": "other", "success": True},
    )
    assert (judge(judgements, "good", options=options).success, judge(judgements, "bad", options=options).reason) == (
        True,
        "rude",
    )
    assert judge(judgements, "so so", options=options).success is None
    for unread in ("good ", "other", ""):
        score = judge(judgements, unread, options=options)
        assert (score.success, score.reason) == (None, "no judgement of this output in the file")


def test_an_id_that_is_a_whole_number_is_its_digits(judge, written):
    options = written({"id": 7, "output": "x", "success": True})
    assert judgements.score(Item("7", "", "", "t"), "x", options).success is True


def test_a_file_that_changed_is_read_again(judge, written, tmp_path):
    import os

    options = written({"id": "i1", "output": "x", "success": True})
    assert judge(judgements, "x", options=options).success
    written({"id": "i1", "output": "x", "success": False})
    os.utime(tmp_path / "judged.jsonl", (1, 1))
    assert judge(judgements, "x", options=options).success is False


GOOD = {"id": "i1", "output": "x", "success": True}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (
            [GOOD, "", GOOD | {"success": False}],
            r"judged\.jsonl, row 3: the same output of item i1 is judged otherwise in row 1",
        ),
        (["{"], "row 1: not JSON"),
        (["[1]"], "row 1: is a number; every row is one JSON object"),
        ([{"id": 5.5, "output": "x", "success": True}], "row 1, field id: must be text or a whole number, is 5.5"),
        ([{"id": "i1", "success": True}], "row 1, field output: is missing; a judgement belongs to the text"),
        ([{"id": "i1", "output": "x"}], "row 1, field success: is missing; must be true, false or null"),
        ([GOOD | {"success": 2}], "row 1, field success: must be true, false or null, is 2"),
        ([GOOD | {"reason": 1}], "row 1, field reason: must be text, is 1"),
        ([""], "the file is empty"),
    ],
)
def test_rows_that_are_no_judgements_are_named(judge, written, rows, problem):
    with pytest.raises(DataError, match=problem):
        judge(judgements, "x", options=written(*rows))


def test_equal_judgements_of_one_text_are_one(judge, written):
    """Both models may give the same text, and whoever judged it judged it twice."""
    assert judge(judgements, "x", options=written(GOOD, "", GOOD)).success is True


def test_a_file_as_other_tools_write_it_is_read(judge, tmp_path):
    path = tmp_path / "judged.jsonl"
    text = '\ufeff{"id": 7, "output": "x", "success": 1}\n'
    path.write_bytes(gzip.compress(text.encode()))
    assert read_labels(path) == {("7", "x"): (True, "")}
