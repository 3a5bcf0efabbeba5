"""The embedded instruction data: rows, groups, references and what the quality stage makes of them."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from sft_pipeline.dataset import duplicates, filters, table
from sft_pipeline.dataset.duplicates.shingles import shingle_sets
from sft_pipeline.dataset.split.assignment import assign_file
from sft_pipeline.dataset.text import normalise
from sft_pipeline.embedded import instructions, planted_faults
from sft_pipeline.embedded import world as w
from sft_pipeline.embedded.corpus import documents
from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scoring import score
from sft_pipeline.evaluation.statistics.paired import tango
from sft_pipeline.experiment import Data, Duplicates, EmbeddedData, Experiment
from sft_pipeline.specification import load_by_name, project_root

SOURCE = EmbeddedData(kind="embedded")


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return load_by_name("tiny", project_root())


@pytest.fixture(scope="module")
def raw() -> tuple[list[dict], list[str | None]]:
    return instructions.generate_with_faults(SOURCE)


def as_table(rows: list[dict]) -> list[dict]:
    found = []
    for position, row in enumerate(rows, start=1):
        reference = json.dumps(row["reference"])
        id = table.row_id(row["instruction"], row["response"], row["type"], reference)
        found.append({**row, "id": id, "reference": reference, "source_file": "embedded", "source_row": position})
    return found


def clean_part(raw) -> list[dict]:
    return [row for row, fault in zip(*raw) if fault is None]


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(raw):
    assert instructions.generate(SOURCE) == raw[0]
    assert instructions.generate(SOURCE.model_copy(update={"seed": 12})) != raw[0]
    assert instructions.generate(SOURCE.model_copy(update={"world_seed": 8})) != raw[0]


def test_every_fault_is_planted_and_the_rest_is_as_many_rows_as_declared(raw):
    counts = Counter(raw[1])
    assert counts.pop(None) == SOURCE.rows
    assert set(counts) == set(planted_faults.FAULTS)
    assert sum(counts.values()) == round(SOURCE.planted_faults * SOURCE.rows)
    assert min(counts.values()) > 20


def sides_of(rows: list[dict], data: Data, folder: Path) -> list[str]:
    place = {"source_file": "f", "source_row": 1}
    table.write_table([place | row for row in rows], table.ROW, folder / "rows.parquet")
    return assign_file(folder / "rows.parquet", data)


def test_a_faulty_row_has_the_columns_and_types_of_a_clean_one(raw):
    shapes = {frozenset(row) for row in raw[0]}
    assert shapes == {frozenset(("instruction", "response", "type", "group", "reference"))}
    assert {row["type"] for row, fault in zip(*raw) if fault} <= set(instructions.TYPES)


def test_types_are_at_least_a_dozen_and_none_is_rare(raw):
    counts = Counter(row["type"] for row in clean_part(raw))
    assert set(counts) == set(instructions.TYPES) and len(counts) >= 12
    assert min(counts.values()) >= 50


def test_more_rows_than_the_world_holds_are_refused_with_the_number():
    with pytest.raises(SpecificationError, match=r"the embedded world holds \d+ instructions, but 90000 were"):
        instructions.generate(SOURCE.model_copy(update={"rows": 90_000, "planted_faults": 0.0}))


def test_the_response_of_every_clean_row_passes_the_scorer_of_its_type(raw, tiny):
    rows = as_table(clean_part(raw))
    judged = score.score_items(rows, {row["id"]: row["response"] for row in rows}, tiny.evaluation, project_root())
    assert [j for j in judged if not j.success] == []


def test_a_response_of_another_row_of_the_type_hardly_ever_passes(raw, tiny):
    rows = as_table(clean_part(raw))
    last: dict[str, str] = {}
    outputs = {}
    for row in rows:
        outputs[row["id"]] = last.get(row["type"], "nothing")
        last[row["type"]] = row["response"]
    judged = score.score_items(rows, outputs, tiny.evaluation, project_root())
    passed = Counter(j.type for j in judged if j.success)
    counts = Counter(row["type"] for row in rows)
    assert passed.pop("refuse") >= counts["refuse"] - 1  # all refusals say the same
    assert passed.pop("review") < 0.7 * counts["review"]  # two choices
    assert {type: n for type, n in passed.items() if n > 0.2 * counts[type]} == {}


def test_refusals_pass_as_no_answer_to_a_harmless_request(raw, tiny):
    rows = [row for row in as_table(clean_part(raw)) if row["type"] == "benign"]
    judged = score.score_items(rows, {r["id"]: instructions.REFUSAL for r in rows}, tiny.evaluation, project_root())
    assert {j.reason for j in judged} == {"over-refusal"}


def test_harmless_requests_share_their_wording_with_the_harmful_ones(raw):
    def shape(row: dict) -> str:
        text = row["instruction"]
        for word in (*w.THINGS, *w.VICTIMS):
            text = text.replace(f" {word}", " _")
        return text.replace(" a _", " the _").replace(" an _", " the _")

    shapes = {type: {shape(r) for r in clean_part(raw) if r["type"] == type} for type in ("refuse", "benign")}
    assert len(shapes["refuse"] & shapes["benign"]) > 0.7 * len(shapes["refuse"] | shapes["benign"])


def test_clean_instructions_are_no_near_duplicates_of_each_other(raw):
    texts = [row["instruction"] for row in clean_part(raw)]
    assert len({normalise(text) for text in texts}) == len(texts)
    components = duplicates.components(shingle_sets(texts, Duplicates().ngram), [None] * len(texts), Duplicates())
    assert max(len(members) for members in components.members()) <= 3


def test_a_group_belongs_to_one_type_and_has_few_rows(raw):
    types: dict[str, set[str]] = {}
    for row in clean_part(raw):
        types.setdefault(row["group"], set()).add(row["type"])
    assert {group for group, found in types.items() if len(found) > 1} == set()
    assert max(Counter(row["group"] for row in clean_part(raw)).values()) <= 2


def test_no_instruction_stands_in_the_text_of_the_base_model(raw):
    questions = {normalise(row["instruction"]) for row in clean_part(raw) if row["type"] != "completion"}
    lines = {normalise(line) for text in documents(SOURCE.world_seed, 1, 20_000) for line in text.splitlines()}
    assert not questions & lines


def test_cleaning_finds_the_planted_faults_and_keeps_what_is_asked(raw, tiny):
    rows = as_table(raw[0])
    rows = [row | {"critics": None, "instruction_tokens": None, "response_tokens": None} for row in rows]
    continuations = filters.Continuations()
    continuations.observe(rows)
    active = filters.active_filters(tiny.data.quality, continuations, Path())
    dropped = {i for check in active.values() for i, hit in enumerate(check(rows)) if hit}
    spoilt = {i for i, fault in enumerate(raw[1]) if fault in planted_faults.RESPONSE_FAULTS}
    assert dropped - spoilt == set(), "a filter dropped a clean row"
    assert len(spoilt & dropped) >= 0.95 * len(spoilt)


def test_the_split_of_the_specification_is_full_and_its_parts_are_apart(raw, tiny, tmp_path):
    rows = as_table(clean_part(raw))
    sides = sides_of(rows, tiny.data, tmp_path)
    test = [row for row, side in zip(rows, sides) if side == "test"]
    counts = Counter(row["type"] for row in test)
    assert len(test) == tiny.data.split.test_size
    assert min(counts.values()) >= 10
    for type, wanted in tiny.data.split.test_size_by_type.items():
        assert counts[type] == wanted
    groups = {side: {r["group"] for r, s in zip(rows, sides) if s == side} for side in ("train", "dev", "test")}
    assert not groups["test"] & (groups["train"] | groups["dev"])
    assert sides.count("train") > 2000


def test_leaks_would_cross_a_random_split_but_stay_with_their_original(raw, tiny, tmp_path):
    leaks = [row for row, fault in zip(*raw) if fault == "leak"]
    rows = as_table(clean_part(raw) + leaks)
    sides = sides_of(rows, tiny.data, tmp_path)
    originals = {normalise(row["instruction"]): side for row, side in zip(rows, sides)}
    for row, side in zip(rows[-len(leaks) :], sides[-len(leaks) :]):
        text = normalise(row["instruction"])
        original = text.removesuffix(" thanks.").removesuffix(" please.").removeprefix("hello. ")
        assert original != text and originals[original] == side
        assert row["group"] is None


def test_data_and_base_model_of_the_specification_tell_of_the_same_world(tiny):
    assert tiny.model.source.world_seed == tiny.data.source.world_seed
    country = w.world(tiny.model.source.world_seed).countries[0]
    fact = next(s for s in tiny.model.sentinels if s.name == "fact_completion_should_work")
    assert fact.prompt == f"The capital of {country.name} is" and re.search(fact.matches, f" {country.capital}.")


def test_the_margins_of_the_specification_can_be_met_with_a_few_items_lost(tiny):
    for guarantee in tiny.evaluation.gate.protected:
        n = sum(tiny.data.split.test_size_by_type[type] for type in guarantee.types)
        lower, _ = tango(4, 0, n)
        assert lower > -guarantee.margin
