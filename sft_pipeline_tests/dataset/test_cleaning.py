"""Cleaning as a whole: nothing is lost, the planted faults are found, the figures are right."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import source, table
from sft_pipeline.dataset.cleaning import clean
from sft_pipeline.dataset.embedded.instructions import generate_with_faults
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, EmbeddedData, FileData, Quality


def folder(base: Path) -> Path:
    path = base / str(len(list(base.iterdir())))
    path.mkdir()
    return path


def run(tmp_path: Path, values: list, quality: Quality | None = None, count_tokens=None):
    root = folder(tmp_path)
    (root / "data.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    data = Data(source=FileData(kind="file", path="data.jsonl"), quality=quality or Quality())
    raw = source.read(data.source, root, folder(tmp_path))
    return raw, clean(raw, data, folder(tmp_path), count_tokens)


def rejected(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.REJECTED))


def rows(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.ROWS))


def pair(instruction: str, response: str) -> dict[str, str]:
    return {"instruction": instruction, "response": response}


def test_every_dropped_row_stands_in_the_rejected_table_with_filter_reason_and_text(tmp_path):
    raw, found = run(
        tmp_path,
        [
            pair("Name a fruit.", "Apple."),
            pair("name a  FRUIT.", "apple."),
            pair("Name a fruit.", "Pear."),
            pair("Name a tree.", ""),
            pair("Tell the story of the old fox and the raven.", "The fox flattered the raven until it sang for him."),
            pair("Tell the story of the old fox and the raven.!", "The fox flattered the raven until it sang for him!"),
            pair("Name a town.", "Instruction: x\nInstruction: y ###END###"),
        ],
    )
    shown = {r["source_row"]: (r["filter"], r["reason"]) for r in rejected(found)}
    assert [r["source_row"] for r in rows(found)] == [1, 5]
    assert found.rejected == Counter(name for name, _ in shown.values())
    first, fifth = (r["id"] for r in rows(found))
    assert shown[2][0] == "exact_duplicate" and first in shown[2][1]
    assert shown[3][0] == "other_response" and first in shown[3][1]
    assert shown[4] == ("empty", "the response is empty")
    assert shown[6][0] == "near_duplicate" and f"similarity 1.000 to the kept row {fifth}" in shown[6][1]
    assert shown[7] == ("delimiter", "the response holds the delimiter ###END### (also: runaway)")
    assert all(r["instruction"] and r["matched"] is not None for r in rejected(found))


def test_ids_are_unique_after_cleaning(tmp_path):
    _, found = run(tmp_path, [pair("a", "b")] * 5 + [pair("c", "d")])
    assert len({r["id"] for r in rows(found)}) == found.rows == 2


def test_all_rows_duplicates_of_one(tmp_path):
    raw, found = run(tmp_path, [pair("Name a fruit.", "Apple.")] * 300)
    assert (raw.rows, found.rows, found.rejected) == (300, 1, {"exact_duplicate": 299})
    kept = next(t for t in found.thresholds if t.name == "kept_share")
    assert not kept.passed


def test_nothing_left_is_an_empty_dataset_whose_thresholds_fail(tmp_path):
    _, found = run(tmp_path, [pair("a", ""), pair("b", "<noinput>")])
    assert (found.rows, found.statistics) == (0, {"rows": 0, "unique_instructions": 0})
    assert [t.name for t in found.thresholds if not t.passed] == ["kept_share"]


def test_thresholds_count_what_the_filters_object_to_among_the_raw_rows(tmp_path):
    values = [pair(f"Question {i} about {i * 7}?", f"Answer {i * 13}.") for i in range(16)]
    values += [pair("r", "Yes.\nUser: and now?"), pair("t", "The numerical value of the equation is")]
    values += [pair("both", "No ###END###\nUser: and now?"), {"instruction": "unreadable"}]
    _, found = run(tmp_path, values, Quality(max_runaway_share=0.1, max_truncated_share=0.1))
    value = {t.name: t.value for t in found.thresholds}
    assert value["runaway_share"] == pytest.approx(2 / 19, abs=1e-6)
    assert value["truncated_share"] == pytest.approx(1 / 19, abs=1e-6)
    assert value["unreadable_share"] == pytest.approx(1 / 20)
    assert value["kept_share"] == pytest.approx(16 / 19, abs=1e-6)
    assert value["delimiters_in_kept_rows"] == 0
    assert {t.name for t in found.thresholds if not t.passed} == {"runaway_share", "unreadable_share"}


def test_statistics_count_words_and_with_a_tokenizer_tokens(tmp_path):
    values = [pair(f"w{i} " * i, f"v{i} " * (2 * i)) for i in range(1, 21)]
    quality = Quality(max_median_response_tokens=40, max_repeated_share=1)
    _, found = run(tmp_path, values, quality, lambda texts: [len(text.replace(" ", "")) for text in texts])
    assert found.statistics["instruction_words_median"] == 10.5
    assert found.statistics["instruction_words_mean"] == 10.5
    assert found.statistics["instruction_words_p95"] == 19
    assert found.statistics["response_words_max"] == 40
    median = next(t for t in found.thresholds if t.name == "median_response_tokens")
    assert median.value == found.statistics["response_tokens_median"] > 40
    assert not median.passed
    _, without = run(tmp_path, values, quality)
    assert "response_tokens_median" not in without.statistics
    assert without.notes and "max_median_response_tokens" in without.notes[0]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    values = [pair(f"Question {i % 40} of many?", f"Answer {i % 37}") for i in range(100)]
    first, second = (run(tmp_path, values)[1] for _ in range(2))
    assert {n: f.sha256 for n, f in first.files.items()} == {n: f.sha256 for n, f in second.files.items()}


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "🙂" * 40,
            "שלום עולם",
            "a\u0000b",
            "\ud800",
            "<script>alert(1)</script>",
            "=1+1",
            "\u202eabc",
            "\ufeff",
            "a\u2028b",
        ]
    ),
    st.lists(st.sampled_from(["the", "cat", "sat", "Q:", "\nUser:", "</s>", "1."]), max_size=12).map(" ".join),
    st.none(),
    st.integers(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.fixed_dictionaries({"instruction": HOSTILE, "response": HOSTILE}), min_size=1, max_size=12))
def test_no_row_is_lost_whatever_stands_in_it(tmp_path, values):
    try:
        raw, found = run(tmp_path, values)
    except DataError as error:
        assert "can be used" in str(error)
        return
    assert raw.rows + sum(raw.rejected.values()) == len(values)
    assert found.rows + sum(found.rejected.values()) == raw.rows
    positions = [r["source_row"] for r in rows(found) + rejected(found) + rejected(raw)]
    assert sorted(positions) == list(range(1, len(values) + 1))


def test_the_planted_faults_of_the_embedded_data_are_found_and_clean_rows_stay(tmp_path):
    spec = EmbeddedData(kind="embedded", rows=1500)
    faults = generate_with_faults(spec)[1]
    raw = source.read(spec, tmp_path, folder(tmp_path))
    found = clean(raw, Data(source=spec), folder(tmp_path))
    dropped = {r["source_row"]: r["filter"] for r in rejected(found)}
    by_fault = Counter((fault, dropped.get(i)) for i, fault in enumerate(faults, 1))
    for fault, name in {
        "empty": "empty",
        "placeholder": "placeholder",
        "runaway": "runaway",
        "delimiter": "delimiter",
        "echo": "repeats_instruction",
        "repetition": "repetition",
        "truncated": "truncated",
    }.items():
        planted = sum(n for (f, _), n in by_fault.items() if f == fault)
        assert planted >= 10
        assert by_fault[fault, name] >= 0.9 * planted, (fault, by_fault)
    # A clean row is dropped only for a copy of it that stands before it.
    assert {name for (fault, name) in by_fault if fault is None} <= {
        None,
        *("exact_duplicate", "near_duplicate", "other_response"),
    }
    copies = sum(n for (fault, _), n in by_fault.items() if fault in ("exact_duplicate", "near_duplicate", "leak"))
    assert sum(n for (fault, name), n in by_fault.items() if fault is None and name) <= copies


@pytest.mark.real_data
def test_alpaca_loses_little_and_mostly_merged_or_missing_answers(real_data, tmp_path):
    path = real_data / "alpaca-52k" / "alpaca_data.json"
    data = Data(source=FileData(kind="file", path=str(path), limit=6000))
    raw = source.read(data.source, tmp_path, folder(tmp_path))
    found = clean(raw, data, folder(tmp_path))
    assert found.rows + sum(found.rejected.values()) == raw.rows == 6000
    assert found.rows > 0.99 * raw.rows
    assert {r["source_row"] for r in rejected(found) if r["filter"] == "runaway"} == {
        1794,
        1983,
        3855,
        4060,
        4538,
        5865,
    }
    assert {r["source_row"] for r in rejected(found) if r["filter"] == "truncated"} == {3237}
