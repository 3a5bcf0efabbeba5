"""The dev split in two."""

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.repeated_questions import clusters_of_rows
from sft_pipeline.search.halves import halves, part
from sft_pipeline_tests.search.conftest import experiment
from sft_pipeline_tests.training.conftest import split, toy_rows


def test_the_halves_are_apart_and_the_same_whatever_the_order(tmp_path):
    rows = toy_rows(40)
    for place, row in enumerate(rows):
        row["group"] = f"g{place % 8}" if place < 24 else None
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    seen, kept = halves(split(tmp_path / "a", "dev", rows), experiment())
    again = halves(split(tmp_path / "b", "dev", rows[::-1]), experiment())
    ids = [{row["id"] for row in side} for side in (seen, kept)]
    assert [{row["id"] for row in side} for side in again] == ids
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 40 and abs(len(seen) - 20) <= 3
    groups = [{row["group"] for row in side} - {None} for side in (seen, kept)]
    assert not groups[0] & groups[1]
    assert set(clusters_of_rows(kept).values()) >= groups[1]


def test_a_part_keeps_the_proof_and_has_the_same_version_each_time(tmp_path):
    dev = split(tmp_path, "dev", toy_rows(40))
    seen, _ = halves(dev, experiment(confirmation_share=0.25))
    first, second = (part(dev, seen, tmp_path / "rows") for _ in range(2))
    assert first.version == second.version and first.proof == dev.proof and first.rows == len(seen) == 30


def test_rows_that_stay_together_cannot_be_divided(tmp_path):
    rows = [row | {"group": "all"} for row in toy_rows(10)]
    with pytest.raises(DataError, match="10 rows.*Raise data.split.dev_size"):
        halves(split(tmp_path, "dev", rows), experiment())
