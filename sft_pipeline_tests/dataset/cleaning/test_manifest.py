"""The quality manifest: lengths as they are, samples that show why a row was dropped, a file with one spelling."""

import json
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import FilterOutcome, QualityManifest
from sft_pipeline.dataset import table
from sft_pipeline.dataset.cleaning import manifest


def distribution(values, batch=1000):
    lengths = manifest.Lengths()
    for start in range(0, len(values), batch):
        lengths.add("response_words", values[start : start + batch])
    (found,) = lengths.distributions()
    return found


@settings(max_examples=200)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=300), st.integers(1, 50))
def test_the_figures_are_those_of_the_values_however_they_come(values, batch):
    found = distribution(values, batch)
    ordered = sorted(values)
    assert found.median == statistics.median(values)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=6e-4)
    assert found.p95 == next(v for v in ordered if 100 * sum(o <= v for o in ordered) >= 95 * len(ordered))
    assert found.largest == ordered[-1]


@settings(max_examples=200)
@given(st.lists(st.one_of(st.integers(0, 90), st.integers(0, 10**6)), min_size=1, max_size=300))
def test_every_value_stands_in_its_bin_of_the_histogram(values):
    found = distribution(values)
    assert 1 <= len(found.counts) <= manifest.BINS and len(found.edges) == len(found.counts) + 1
    for low, high, count in zip(found.edges, found.edges[1:], found.counts):
        assert low < high and count == sum(low <= value < high for value in values)
    assert sum(found.counts) == len(values)


def test_a_long_tail_is_one_bin_and_leaves_the_others_narrow():
    found = distribution([*range(1, 101)] * 10 + [10_000_000])
    assert found.edges[1] - found.edges[0] == 4
    assert found.edges[-2] <= 101 and found.edges[-1] == 10_000_001 and found.counts[-1] >= 1


def test_lengths_of_no_row_have_no_distribution_and_equal_lengths_one_bin():
    lengths = manifest.Lengths()
    lengths.add("response_words", [])
    assert lengths.distributions() == ()
    assert distribution([7] * 12).counts == (12,)


def rejected(path, rows):
    table.write_table(
        [
            {
                "source_file": "a.jsonl", "source_row": k + 1, "filter": name, "reason": f"{name} it is", "matched": matched,
                "id": id, "instruction": instruction, "response": response, "type": "all",
            }
            for k, (name, matched, id, instruction, response) in enumerate(rows)
        ],
        table.REJECTED,
        path,
    )  # fmt: skip
    return path


def test_samples_are_five_of_each_filter_and_the_same_in_every_run(tmp_path):
    rows = [("empty" if k % 3 else "truncated", "", f"{k:016x}", f"Ask {k}", f"Answer {k}") for k in range(9000)]
    path = rejected(tmp_path / "rejected.parquet", rows)
    found = manifest.samples(path)
    assert [sample.filter for sample in found] == ["empty"] * 5 + ["truncated"] * 5
    assert manifest.samples(path) == found
    for sample in found:
        assert sample.instruction == f"Ask {sample.source_row - 1}" and sample.response.startswith("Answer")
    assert max(sample.source_row for sample in found) > table.BATCH / 2  # not the first rows
    # Rows that are added can take a place, but do not draw again.
    more = rejected(tmp_path / "more.parquet", rows + [(n, m, f"new{i}", *t) for n, m, i, *t in rows[:900]])
    assert len(set(found) & set(manifest.samples(more))) >= 7


def test_unreadable_rows_have_no_text_and_few_rows_are_all_shown(tmp_path):
    path = rejected(tmp_path / "r.parquet", [("unreadable", '{"instruction": ', None, None, None)] * 3)
    found = manifest.samples(path)
    assert len(found) == 3 and {sample.source_row for sample in found} == {1, 2, 3}
    assert {(sample.instruction, sample.response) for sample in found} == {("", "")}


def test_no_rejected_row_has_no_sample(tmp_path):
    assert manifest.samples(rejected(tmp_path / "r.parquet", [])) == ()


def test_a_long_text_is_cut_to_the_place_that_was_objected_to(tmp_path):
    long = "word " * 300 + "and then ###END### " + "more " * 300
    rows = [
        ("delimiter", "then ###END###", "0" * 16, "Ask", long),
        ("repetition", "over and over again", "1" * 16, "x" * 5000, "y" * 900 + "Over and\nover AGAIN" + "z" * 900),
        ("scope", "not in the texts", "2" * 16, "Ask", "start " + "x" * 100_000),
    ]
    by_filter = {s.filter: s for s in manifest.samples(rejected(tmp_path / "r.parquet", rows))}
    assert "then ###END### more" in by_filter["delimiter"].response
    assert by_filter["delimiter"].response.startswith("…") and by_filter["delimiter"].response.endswith("…")
    assert "Over and\nover AGAIN" in by_filter["repetition"].response
    assert by_filter["repetition"].instruction == "x" * 400 + "…"
    assert by_filter["scope"].response.startswith("start ")
    assert all(len(s.response) <= 402 and len(s.instruction) <= 402 for s in by_filter.values())


def a_manifest(**changes) -> QualityManifest:
    fields = {
        "source": "a.jsonl", "source_schema": "alpaca", "rows_read": 10, "rows_unreadable": 1, "rows_kept": 8,
        "types": {"ä": 8}, "unique_instructions": 8, "filters": (FilterOutcome(name="empty", matched=1, dropped=1),),
        "duplicates": (), "lengths": (distribution([1, 2, 3]),), "thresholds": (), "acceptance": {"pair": 0.75},
    }  # fmt: skip
    return QualityManifest(**fields | changes)


def test_the_file_reads_back_as_the_same_manifest_and_has_one_spelling(tmp_path):
    for text in ("plain", "emoji 👩‍👩‍👧, עברית, \x00 and \u202e"):
        written = a_manifest(notes=(text,))
        manifest.write(written, tmp_path)
        data = (tmp_path / "manifest.json").read_bytes()
        assert QualityManifest.model_validate_json(data) == written
        manifest.write(QualityManifest.model_validate(json.loads(data)), tmp_path)
        assert (tmp_path / "manifest.json").read_bytes() == data
    assert "ä" in data.decode()
