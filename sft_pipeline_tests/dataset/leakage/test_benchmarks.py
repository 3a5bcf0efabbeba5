"""BenchmarkIndex benchmarks: items are found wherever they stand in a row, and hardly anything else is."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from sft_pipeline.dataset import table
from sft_pipeline.dataset.duplicates.shared_text import MANY, SharedText
from sft_pipeline.dataset.leakage.batch import Batch
from sft_pipeline.dataset.leakage.benchmarks import BenchmarkIndex, Hit
from sft_pipeline.experiment import Data, EmbeddedData, Leakage


def data(**leakage) -> Data:
    return Data(source=EmbeddedData(kind="embedded"), leakage=Leakage(**leakage))


def protected(folder: Path, items: dict[str, list[str]], **leakage) -> BenchmarkIndex:
    files = {name: folder / f"{name}.parquet" for name in items}
    for name, texts in items.items():
        rows = [
            {"id": f"{name}-{i}", "text": text, "source_file": f"{name}.jsonl", "source_row": i + 1}
            for i, text in enumerate(texts)
        ]
        table.write_table(rows, table.BENCHMARK, files[name])
    return BenchmarkIndex(files, data(**leakage))


def row(instruction: str, response: str = "yes") -> dict:
    return {"instruction": instruction, "response": response}


def hits_of(bench: BenchmarkIndex, rows: list[dict]) -> dict[int, Hit]:
    return dict(bench.contained(Batch(rows, data(), SharedText.of(r["instruction"] for r in rows))))


def hit_of(bench: BenchmarkIndex, row: dict) -> Hit | None:
    return hits_of(bench, [row]).get(0)


ITEM = "A baker sells seven loaves every hour and works nine hours a day, so how many loaves does he sell in a week?"


def test_an_item_is_found_as_the_instruction_nearly_and_within_either_text(tmp_path):
    bench = protected(tmp_path, {"math": ["something else entirely", ITEM]})
    exact = hit_of(bench, row(ITEM.upper()))
    assert exact.benchmark == "math"
    assert exact.reason == "exact: the instruction is item math-1 (math.jsonl:2) of math"
    near = hit_of(bench, row(ITEM + " Thanks"))
    assert near.reason.startswith("near: the instruction resembles (Jaccard 0.95")
    for inside in (
        row(f"Solve this, if you can, and say how you did it: {ITEM} Then explain it to a child of ten."),
        row("Make up a problem.", f"Here it is. {ITEM} Easy!"),
    ):
        hit = hit_of(bench, inside)
        assert hit.reason.startswith("contained: 100%")
        assert hit.matched == " ".join(ITEM.lower().replace(",", "").replace("?", "").split())
    assert hit_of(bench, row("How does a baker make bread?", "He works nine hours a day.")) is None


def test_only_more_than_the_declared_share_of_an_item_counts(tmp_path):
    item = [f"w{i}" for i in range(27)]  # 20 8-grams
    half = row("say", " ".join(item[:17]))  # 10 of them
    more = row("say", " ".join(item[:18]))
    bench = protected(tmp_path, {"b": [" ".join(item)]})
    assert hit_of(bench, half) is None
    assert hit_of(bench, more).reason.startswith("contained: 55%")
    assert hit_of(protected(tmp_path, {"b": [" ".join(item)]}, max_benchmark_share=0.4), half)


def test_a_short_item_is_found_as_a_whole_and_one_below_four_words_only_exactly(tmp_path):
    bench = protected(tmp_path, {"b": ["Who wrote Faust?", "Who wrote the second Faust?"]})
    assert hit_of(bench, row("who wrote faust?")).reason.startswith("exact")
    assert hit_of(bench, row("Tell me: who wrote Faust? And when?")) is None
    assert "b-1" in hit_of(bench, row("Tell me, who wrote the second Faust, and when?")).reason
    assert hit_of(bench, row("Who wrote the third Faust after that?")) is None


def test_an_ngram_longer_than_the_shortest_item_or_shorter_works_as_well(tmp_path):
    for n in (2, 4, 13):
        bench = protected(tmp_path, {"b": [ITEM]}, containment_ngram=n)
        assert hit_of(bench, row("x", f"yes {ITEM} no")), n


def test_boilerplate_of_a_benchmark_identifies_no_item(tmp_path):
    boiler = (
        "First repeat the request above word for word without change and then give your answer to it in the usual way"
    )
    items = [f"Write about topic{i} in style{i} for reader{i} with mood{i} at place{i}. {boiler}" for i in range(9)]
    bench = protected(tmp_path, {"b": items})
    assert hit_of(bench, row(f"Tell a joke of bees. {boiler}")) is None
    for i, item in enumerate(items):
        assert f"item b-{i} " in hit_of(bench, row("x", f"well: {item}")).reason
    few = protected(tmp_path, {"b": items[: MANY - 1]})
    assert hit_of(few, row(f"Tell a joke of bees. {boiler}"))


def test_the_same_item_many_times_is_no_boilerplate(tmp_path):
    bench = protected(tmp_path, {"b": [ITEM] * 20})
    assert hit_of(bench, row("x", f"well: {ITEM}"))


def test_items_without_words_and_an_empty_file_do_no_harm(tmp_path):
    bench = protected(tmp_path, {"emoji": ["🙂", "??", ""], "none": []})
    assert hit_of(bench, row("🙂")).benchmark == "emoji"
    assert hit_of(bench, row("hello there", "🙂")) is None


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory) -> tuple[dict[str, list[str]], BenchmarkIndex]:
    """GSM8K, HumanEval, IFEval and three subjects of MMLU."""

    def column(path: str, name: str) -> list[str]:
        with (real_data / path).open(encoding="utf-8") as stream:
            return [json.loads(line)[name] for line in stream]

    items = {
        "gsm8k": column("gsm8k/test.jsonl", "question"),
        "humaneval": column("decontaminator/test/HumanEval.jsonl", "text"),
        "ifeval": column("ifeval/input_data.jsonl", "prompt"),
        "mmlu": [],
    }
    for subject in ("abstract_algebra", "high_school_us_history", "sociology"):
        path = real_data / "decontaminator" / "rephrase" / f"{subject}_test.csv"
        with path.open(encoding="utf-8", newline="") as stream:
            items["mmlu"] += [line[0] for line in csv.reader(stream)]
    return items, protected(tmp_path_factory.mktemp("benchmarks"), items)


@pytest.fixture(scope="module")
def alpaca(real_data) -> list[dict]:
    with (real_data / "alpaca-52k" / "alpaca_data.json").open(encoding="utf-8") as stream:
        return [row(f"{r['instruction']}\n{r['input']}".strip(), r["output"]) for r in json.load(stream)]


@pytest.mark.slow
@pytest.mark.real_data
def test_real_items_planted_in_alpaca_rows_are_found(real, alpaca):
    """All of them, but for five questions of MMLU with three words, which are only found as instructions."""
    items, bench = real
    missed = Counter()
    carriers = []
    planted = [(name, text) for name, texts in items.items() for text in texts]
    for (name, text), host in zip(planted, alpaca[::7]):
        for how, carrier in (
            ("as instruction", row(text, host["response"])),
            ("in instruction", row(f"{host['instruction']} {text}", host["response"])),
            ("in response", row(host["instruction"], f"{host['response']}\n{text}")),
        ):
            carriers.append((name, how, carrier))
    hits = hits_of(bench, [carrier for *_, carrier in carriers])
    for at, (name, how, _) in enumerate(carriers):
        if at not in hits or hits[at].benchmark != name:
            missed[name, how] += 1
    assert missed == {("mmlu", "in instruction"): 5, ("mmlu", "in response"): 5}


@pytest.mark.slow
@pytest.mark.real_data
def test_hardly_any_alpaca_row_is_taken_for_a_benchmark_item(real, alpaca):
    """Two of 52,002, both wrongly: a phrase of a short question of MMLU stands in them ("... is not a feature of")."""
    _, bench = real
    hits = hits_of(bench, alpaca)
    assert {i: (hit.benchmark, hit.matched) for i, hit in hits.items()} == {
        13667: ("mmlu", "which of the following is not a feature of"),
        25801: ("mmlu", "which of the following statements is true"),
    }
