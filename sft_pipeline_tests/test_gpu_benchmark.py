"""benchmarks/gpu.py at toy size on the CPU: the first minute on a card must not be spent on a typo."""

import importlib
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_random_weights_in_nf4_train_alike_in_the_records_batches_and_packed(gpu, tmp_path, monkeypatch):
    card = gpu.Card("cpu", tiny=True)
    monkeypatch.setattr(gpu, "TINY", ("toy nf4",))
    monkeypatch.setattr(gpu.RandomBench, "DOCUMENTS", 100)
    monkeypatch.setattr(gpu, "WAYS", {name: gpu.WAYS[name] for name in ("record", "fast")})
    for section in ("card", "training"):
        (tmp_path / section).mkdir()
    (facts,) = gpu.section_card(card, tmp_path / "card")
    (tmp_path / "card" / "card.jsonl").write_text(json.dumps(facts))
    record, fast = gpu.section_training(card, tmp_path / "training")
    assert not {"failed", "skipped"} & (record.keys() | fast.keys()), (record, fast)
    assert record["tokens_per_step"] == fast["tokens_per_step"]  # the same rows in every step
    assert 0 <= fast["loss_against_record"] < 0.01
    assert record["times_record"] == 1 and fast["times_record"] > 0
    assert 0 < fast["share_of_matrix_rate"] < 1 and fast["planned_bytes"] > 0


@pytest.mark.slow
def test_a_section_that_fails_costs_only_itself(gpu, tmp_path, monkeypatch):
    child = gpu._child
    monkeypatch.setattr(gpu, "_child", lambda *given: child(*given, "too much"))
    result = gpu.measure(gpu.Card("cpu", tiny=True), ["card", "lease"], 8.0, tmp_path)
    assert all("ended with 1: " in found["error"] for found in result["sections"].values())
    assert json.loads((tmp_path / "gpu.json").read_text()) == result
    assert "section_lease() takes 2 positional arguments but 3 were given" in (tmp_path / "gpu.txt").read_text()


def test_the_table_has_a_line_for_each_way_with_what_it_lacks_left_empty(gpu):
    rows = [
        {"model": "7B nf4", "way": "record", "tokens_per_second": 1234.5, "peak_bytes": 5e9},
        {"model": "7B nf4", "way": "fast, flash-attn", "skipped": "flash-attn is not installed"},
    ]
    result = {"sections": {"training": {"seconds": 3.2, "error": "", "rows": rows}}}
    title, head, record, fast = gpu.text(result).splitlines()
    assert title == "training, 3 s" and head.split() == ["model", "way", "tokens_per_second", "peak_bytes", "skipped"]
    assert "1,234" in record and "5.00 GB" in record and fast.endswith("flash-attn is not installed")
