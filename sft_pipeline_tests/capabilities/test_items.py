"""Reading benchmarks: the published files whole, and what is wrong with others by file, row and field."""

import json

import pytest

from sft_pipeline.capabilities.items import drawn, held_out, read
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Benchmark, Capabilities
from sft_pipeline_tests.capabilities import conftest as rows_of

REAL = {
    "mmlu": ("benchmarks/mmlu/test", 14042),
    "humaneval": ("benchmarks/humaneval/HumanEval.jsonl.gz", 164),
    "gsm8k": ("gsm8k/test.jsonl", 1319),
    "truthfulqa": ("benchmarks/truthfulqa/mc_task.json", 817),
    "hellaswag": ("benchmarks/hellaswag/hellaswag_val_full.txt.bz2", 10042),
}


def benchmark(path, **fields):
    return Benchmark.model_validate({"items": {"path": str(path)}, **fields})


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
@pytest.mark.slow
def test_published_files_are_read_whole(real_data, name):
    path, count = REAL[name]
    found = read(name, benchmark(real_data / path), real_data)
    assert len(found.items) == count
    assert not any("the published benchmark has" in note for note in found.notes)


@pytest.mark.real_data
def test_both_forms_of_a_subject_are_the_same_items(real_data):
    folder = real_data / "benchmarks" / "mmlu"
    one = read("mmlu", benchmark(folder / "test" / "anatomy_test.csv"), real_data)
    other = read("mmlu", benchmark(folder / "hendrycks_form" / "test" / "anatomy_test.csv"), real_data)
    assert [item.fields for item in one.items] == [item.fields for item in other.items]
    assert one.items[0].subject == "anatomy" and one.items[0].fields["answer"] == 0


@pytest.mark.real_data
@pytest.mark.slow
def test_the_two_files_of_hellaswag_agree(real_data):
    folder = real_data / "benchmarks" / "hellaswag"
    some = read("hellaswag", benchmark(folder / "hellaswag_val_first1000.jsonl"), real_data)
    every = read("hellaswag", benchmark(folder / "hellaswag_val_full.txt.bz2"), real_data)
    assert [item.fields for item in some.items] == [item.fields for item in every.items[:1000]]
    assert any("1,000 items; the published benchmark has 10,042" in note for note in some.notes)


def broken(rows, at, **fields):
    found = [dict(row) for row in rows]
    found[at] = {name: value for name, value in {**found[at], **fields}.items() if value is not None}
    return found


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("gsm8k", [*rows_of.gsm8k(3), rows_of.gsm8k(1)[0]], "row 4 repeats x.jsonl, row 1: it would count twice"),
        (
            "humaneval",
            [*rows_of.humaneval(2), {**rows_of.humaneval(3)[2], "task_id": "HumanEval/0"}],
            "row 3, field task_id",
        ),
        ("gsm8k", broken(rows_of.gsm8k(3), 1, answer="It is 7."), "row 2, field answer: does not end in ####"),
        ("gsm8k", broken(rows_of.gsm8k(3), 2, question=None), "row 3, field question: is missing"),
        (
            "humaneval",
            broken(rows_of.humaneval(2), 1, test="assert True"),
            "row 2, field test: defines no function check",
        ),
        ("hellaswag", broken(rows_of.hellaswag(2), 1, label=4), "row 2, field label: '4' is none of the 4 choices"),
        ("hellaswag", broken(rows_of.hellaswag(2), 0, endings=["a", "b", "c"]), "row 1, field endings: has 3 entries"),
        (
            "truthfulqa",
            broken(rows_of.truthfulqa(2), 1, mc1_targets={"yes": 1, "sure": 1, "no": 0}),
            "row 2, field mc1_targets: has 2 true choices, not one",
        ),
        (
            "mmlu",
            [{"question": "q", "choices": list("abcd"), "answer": "E", "subject": "anatomy"}],
            "field answer: 'E'",
        ),
        ("gsm8k", [], "is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_named(tmp_path, kind, rows, message):
    path = rows_of.write(tmp_path / "x.jsonl", rows)
    with pytest.raises(DataError, match=message):
        read("b", benchmark(path, task=kind), tmp_path)


def test_broken_lines_and_other_files_are_named(tmp_path, files):
    (tmp_path / "x.jsonl").write_text(json.dumps(rows_of.gsm8k(1)[0]) + '\n{"question": "half\n')
    with pytest.raises(DataError, match="row 2: not JSON"):
        read("gsm8k", benchmark(tmp_path / "x.jsonl"), tmp_path)
    (tmp_path / "anatomy_test.csv").write_text("q,a,b,c,d,0\nq2,a,b,c\n")
    with pytest.raises(DataError, match="anatomy_test.csv, row 2"):
        read("mmlu", benchmark(tmp_path / "anatomy_test.csv"), tmp_path)
    other = Benchmark.model_validate({"items": {"path": str(files / "gsm8k.jsonl"), "sha256": "0" * 64}})
    with pytest.raises(DataError, match=r"hashes to [0-9a-f]{64}, declared is 0{64}"):
        read("gsm8k", other, tmp_path)
    (tmp_path / "six.txt").write_text("a\n0\nb\nc\nd\ne\nf\n")
    with pytest.raises(DataError, match="its last item has 1 lines instead of six"):
        read("hellaswag", benchmark(tmp_path / "six.txt"), tmp_path)


def test_a_limit_draws_the_same_items_again_and_others_by_another_seed(files):
    items = read("gsm8k", benchmark(files / "gsm8k_train.jsonl"), files).items
    first = drawn("gsm8k", items, 3, 11)
    assert first == sorted(first) == drawn("gsm8k", items, 3, 11)
    assert len({tuple(drawn("gsm8k", items, 3, seed)) for seed in range(20)}) > 5
    assert drawn("gsm8k", items, 99, 11) == list(range(6))


def test_items_are_held_out_under_the_name_of_their_benchmark(files, benchmarks):
    spec = Capabilities.model_validate({"benchmarks": {**benchmarks, "world": {"world_seed": 7}}})
    found = held_out(spec, files)
    assert {name: len(held.texts) for name, held in found.items()} == {
        "capabilities.mmlu": 8,
        "capabilities.humaneval": 3,
        "capabilities.gsm8k": 4,
        "capabilities.truthfulqa": 5,
        "capabilities.hellaswag": 5,
        "capabilities.world": 240,
    }
    assert found["capabilities.gsm8k"].texts[0] == (rows_of.gsm8k(1)[0]["question"], "gsm8k.jsonl", 1)
    assert found["capabilities.hellaswag"].texts[2][0] == "A man sits behind 2 drums. he"


def test_a_training_row_that_holds_an_item_is_removed_without_the_file_being_named_twice(tmp_path, files):
    from sft_pipeline.dataset import source
    from sft_pipeline.dataset.split.split import split
    from sft_pipeline.experiment import Data

    question = rows_of.gsm8k(1)[0]["question"]
    rows = [{"instruction": f"Name the {n}th thing of town {n * 7}", "response": f"thing {n}"} for n in range(40)]
    rows_of.write(tmp_path / "rows.jsonl", [*rows, {"instruction": f"Please answer. {question}", "response": "One."}])
    data = Data.model_validate(
        {
            "source": {"kind": "file", "path": "rows.jsonl"},
            "split": {"test_size": 5, "dev_size": 5, "min_test_size": 1, "smaller_test_reason": "a test"},
        }
    )
    spec = Capabilities.model_validate({"benchmarks": {"gsm8k": {"items": {"path": str(files / "gsm8k.jsonl")}}}})
    for name in ("raw", "train", "dev", "test"):
        (tmp_path / name).mkdir()
    raw = source.read(data.source, tmp_path, tmp_path / "raw", held_out_items=held_out(spec, tmp_path))
    assert raw.source_files["evaluation.capabilities.benchmarks.gsm8k.items.path"].path == str(files / "gsm8k.jsonl")
    outs = {name: tmp_path / name for name in ("train", "dev", "test")}
    made = split(raw, data, outs, benchmarks=raw.benchmarks)
    rejected = {reason: count for part in made.values() for reason, count in part.rejected.items()}
    assert rejected == {"benchmark:capabilities.gsm8k": 1}
