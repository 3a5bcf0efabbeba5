"""Judgements from a file, joined by id and exact text."""

import json

import pytest

from sft_pipeline.errors import DataError
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
        ([GOOD, "", GOOD], r"judged\.jsonl, row 3: the same output of item i1 is judged in row 1 already"),
        ([GOOD, GOOD | {"success": False}], "row 2: the same output of item i1 is judged in row 1 already"),
        (["{"], "row 1: not JSON"),
        (["[1]"], "row 1: must be an object with id, output and success"),
        ([{"id": 5.5, "output": "x", "success": True}], "row 1, field id: must be text, is 5.5"),
        ([{"id": "i1", "success": True}], "row 1, field output: must be text, is None"),
        ([{"id": "i1", "output": "x"}], "row 1, field success: must be true, false or null, is 'missing'"),
        ([GOOD | {"success": 1}], "row 1, field success: must be true, false or null, is 1"),
        ([GOOD | {"reason": 1}], "row 1, field reason: must be text, is 1"),
        ([""], "the file holds no judgements"),
    ],
)
def test_rows_that_are_no_judgements_are_named(judge, written, rows, problem):
    with pytest.raises(DataError, match=problem):
        judge(judgements, "x", options=written(*rows))
