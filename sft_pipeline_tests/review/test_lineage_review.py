"""The review over artifacts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.artifacts import Generations, HumanReview, InstructionDataset, ReviewRequest
from sft_pipeline.dataset.table import ROW, write_table
from sft_pipeline.experiment import Experiment
from sft_pipeline.review.lineage_review import request, result, returned_files
from sft_pipeline.review.returned import read_key
from sft_pipeline_tests.review import simulated


@pytest.fixture
def asked(tmp_path):
    """Asks for a review of 40 items; takes the evaluation of the specification, and the request of before."""
    folders = [tmp_path / name for name in ("test", "base", "sft")]
    for folder in folders:
        folder.mkdir()
    rows = [
        dict.fromkeys(ROW.names)
        | {"id": f"i{k}", "instruction": f"question {k}", "response": f"answer {k}", "type": "all"}
        | {"source_file": "f", "source_row": k + 1}
        for k in range(40)
    ]
    write_table(rows, ROW, folders[0] / InstructionDataset.ROWS)
    test = InstructionDataset.finalize(folders[0], stage="test", rows=40)
    answers = []
    for model, folder in zip(("base", "sft"), folders[1:], strict=True):
        outputs = [
            {"id": f"i{k}", "output": f"answer {k}" if model == "sft" and k % 2 else f"{model} {k}"} for k in range(40)
        ]
        pq.write_table(pa.Table.from_pylist(outputs), folder / Generations.ROWS)
        known = {"model": model, "rows": 40, "conditions": {}, "truncated_share": 0.0, "mean_tokens": 3.0}
        answers.append(Generations.finalize(folder, **known))

    def ask(name, before=None, **evaluation):
        written = {
            "description": "Made for a test.",
            "data": {"source": {"kind": "embedded"}},
            "model": {"source": {"kind": "embedded"}},
            "training": {"epochs": 1.0},
            "evaluation": {"scorers": {"default": {"kind": "exact"}}, **evaluation},
        }
        experiment = Experiment.model_validate_json(json.dumps(written))
        out = tmp_path / name
        out.mkdir()
        return experiment, request(test, *answers, experiment, "e", tmp_path, out, before)

    return ask


def test_without_a_declared_review_both_are_there_and_empty(asked, tmp_path):
    experiment, none = asked("request")
    assert not none.declared and list(none.files) == ["none.txt"]
    (tmp_path / "review").mkdir()
    review = result(none, experiment, tmp_path, tmp_path / "review")
    assert review.preference is None and not review.labels and list(review.files) == ["none.txt"]


def test_a_request_stands_while_answers_and_settings_are_the_same(asked):
    review = {"returned": "returned", "items_per_rater": 20}
    _, first = asked("first", review=review)
    assert first.population == {"won": 20, "same": 20} and first.items == 17
    # Other scorers would draw other pairs, and the pages that raters have would be nobody's.
    _, same = asked("same", first, review=review | {"returned": "elsewhere"}, scorers={"default": {"kind": "answer"}})
    assert (same.request, same.files) == (first.request, first.files)
    _, drawn_again = asked("again", review=review, scorers={"default": {"kind": "answer"}})
    assert drawn_again.request != first.request
    _, other = asked("other", first, review=review | {"seed": 3})
    assert other.request != first.request


def test_what_is_returned_becomes_labels(asked, tmp_path):
    experiment, made = asked("request", review={"returned": "back", "items_per_rater": 20})
    review = experiment.evaluation.review
    assert returned_files(review, tmp_path) == {}
    key = read_key(made.path(ReviewRequest.KEY))
    (tmp_path / "back").mkdir()
    truth = dict.fromkeys(key.items, "sft")
    simulated.save(key, "rater-1", simulated.answers(key, "rater-1", truth, simulated.rng(0)), tmp_path / "back")
    assert list(returned_files(review, tmp_path)) == ["rater-1.json"]
    (tmp_path / "review").mkdir()
    found = result(made, experiment, tmp_path, tmp_path / "review")
    assert found.request == made.request and found.labels == 34 and found.path(HumanReview.LABELS).is_file()
