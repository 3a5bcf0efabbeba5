import json

import pytest

from sft_pipeline.review.returned import read_returned
from sft_pipeline_tests.review.simulated import save


def test_faultless_files_are_used(small, answered, tmp_path):
    key, *_ = small
    for rater, answers in answered.items():
        save(key, rater, answers, tmp_path)
    (tmp_path / "notes.txt").write_text("of no concern")
    used, rejected = read_returned(key, tmp_path)
    assert list(used) == ["rater-1", "rater-2"] and not rejected
    assert all(answer.finished for answer in used["rater-2"].answers.values())


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"request": "0123456789abcdef"}, "answers another review"),
        ({"page": "0" * 64}, "texts were edited"),
        ({"rater": "rater-9"}, "was not asked"),
        ({"answers": {"t000000000000": {"better": "tie"}}}, "tasks that the page has not"),
        ({"answers": {"t000000000000": {"better": "both"}}}, "no file that a review page saved"),
        ({"answers": 3}, "no file that a review page saved"),
        ({"more": 1}, "no file that a review page saved"),
    ],
)
def test_each_fault_has_its_reason(small, answered, tmp_path, changed, why):
    key, *_ = small
    save(key, "rater-1", **({"answers": answered["rater-1"], "folder": tmp_path} | changed))
    save(key, "rater-2", answered["rater-2"], tmp_path)
    used, rejected = read_returned(key, tmp_path)
    assert list(used) == ["rater-2"] and list(rejected) == ["rater-1.json"]
    assert why in rejected["rater-1.json"]


def test_a_file_that_was_edited_does_not_fit_its_check(small, answered, tmp_path):
    key, *_ = small
    path = save(key, "rater-1", answered["rater-1"], tmp_path)
    path.write_text(path.read_text().replace('"better":"first"', '"better":"second"', 1))
    assert "was changed after the page had saved it" in read_returned(key, tmp_path)[1]["rater-1.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"review": {}}', b"[" * 100_000])
def test_what_is_no_returned_file_says_so(small, tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert "is no file that a review page saved" in read_returned(small[0], tmp_path)[1]["a.json"]


def test_copies_earlier_states_and_a_second_browser_have_their_reasons(small, answered, tmp_path):
    key, *_ = small
    answers = answered["rater-1"]
    half = dict(list(answers.items())[:7])
    save(key, "rater-1", half, tmp_path, "half.json")
    assert len(read_returned(key, tmp_path)[0]["rater-1"].answers) == 7
    whole = save(key, "rater-1", answers, tmp_path, "whole.json", saved="2026-01-02T00:00:00.000Z")
    (tmp_path / "whole (1).json").write_bytes(whole.read_bytes())
    used, rejected = read_returned(key, tmp_path)
    assert len(used["rater-1"].answers) == 20
    assert rejected == {"half.json": "an earlier state of whole (1).json", "whole.json": "is a copy of whole (1).json"}
    save(key, "rater-1", answers, tmp_path, "other.json", session="two")
    used, rejected = read_returned(key, tmp_path)
    assert not used and "was filled in in two browsers" in rejected["other.json"]
    assert rejected["whole (1).json"] == rejected["other.json"]


def test_a_pretty_printed_file_is_the_same_file(small, answered, tmp_path):
    key, *_ = small
    answers = {**answered["rater-1"]}
    first = next(iter(answers))
    answers[first] = answers[first] | {"note": 'ü "quoted"\n\u2028 \U0001f600 \x7f \\'}
    path = save(key, "rater-1", answers, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=2))
    assert read_returned(key, tmp_path)[0]["rater-1"].answers[first].note == answers[first]["note"]
