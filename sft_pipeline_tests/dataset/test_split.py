"""The split: what never crosses, what the sizes are, and what stays in place when rows are added."""

import json
import random
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import leakage, table
from sft_pipeline.dataset.split import assign, split
from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Duplicates, EmbeddedData, Split


def data(**fields) -> Data:
    fields.setdefault("min_test_size", 1)
    fields.setdefault("smaller_test_reason", "a test")
    return Data(source=EmbeddedData(kind="embedded"), split=Split(**fields), duplicates=Duplicates(threshold=0.5))


def row(instruction: str, type: str = "all", group: str | None = None, response: str = "r") -> dict:
    identity = table.row_id(instruction, response, type, None)
    return {
        "id": identity,
        "instruction": instruction,
        "response": response,
        "type": type,
        "group": group,
        "reference": None,
        "source_file": "x",
        "source_row": 1,
    }


def distinct(count: int, type: str = "all", start: int = 0) -> list[dict]:
    """Rows of which no two share a word."""
    return [row(f"{type}a{i} {type}b{i} {type}c{i}", type) for i in range(start, start + count)]


def sealed(rows: list[dict], folder: Path) -> InstructionDataset:
    folder.mkdir()
    table.write_table(rows, table.ROW, folder / InstructionDataset.ROWS)
    return InstructionDataset.seal(folder, stage="clean", rows=len(rows), source="made up")


def outs(folder: Path) -> dict[str, Path]:
    made = {side: folder / side for side in ("train", "dev", "test")}
    for path in made.values():
        path.mkdir(parents=True)
    return made


ROWS = st.lists(
    st.builds(
        row,
        instruction=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6).map(" ".join),
        type=st.sampled_from(["x", "y"]),
        group=st.sampled_from([None, None, None, "g1", "g2"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, test_size=st.integers(1, 12), dev_size=st.integers(1, 12), seed=st.integers(0, 3))
def test_no_near_duplicate_and_no_group_crosses_and_no_size_is_exceeded(rows, test_size, dev_size, seed):
    spec = data(test_size=test_size, dev_size=dev_size, seed=seed)
    sides, _ = assign(rows, spec)
    sets = [shingles(r["instruction"], spec.duplicates.ngram) for r in rows]
    for a, b in combinations(range(len(rows)), 2):
        if sides[a] != sides[b]:
            assert jaccard(sets[a], sets[b]) < 0.5
            assert rows[a]["group"] is None or rows[a]["group"] != rows[b]["group"]
    items = {side: len({r["instruction"] for r, s in zip(rows, sides) if s == side}) for side in set(sides)}
    assert items.get("test", 0) <= test_size and items.get("dev", 0) <= dev_size


@settings(max_examples=40, deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, order):
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)
    spec = data(test_size=6, dev_size=4)
    sides, _ = assign(rows, spec)
    assert assign([rows[i] for i in shuffled], spec)[0] == [sides[i] for i in shuffled]


@settings(max_examples=40, deadline=None)
@given(before=st.integers(20, 120), added=st.integers(0, 60), seed=st.integers(0, 99))
def test_added_rows_push_rows_from_test_to_dev_to_train_and_never_back(before, added, seed):
    """Holds for components of one row and unchanged sizes per type; larger components may fill gaps out of order."""
    spec = data(test_size=10, dev_size=6, seed=seed)
    old = distinct(before)
    was, _ = assign(old, spec)
    now, _ = assign(old + distinct(added, start=before), spec)
    rank = {"test": 0, "dev": 1, "train": 2}
    assert all(rank[a] <= rank[b] for a, b in zip(was, now))
    assert sum(a != b for a, b in zip(was, now)) <= 2 * added
    assert Counter(now)["test"] == 10 and Counter(now)["dev"] == 6


def test_another_seed_gives_another_test_split():
    rows = distinct(200)
    first, second = (
        {i for i, s in enumerate(assign(rows, data(test_size=50, dev_size=5, seed=seed))[0]) if s == "test"}
        for seed in (0, 1)
    )
    assert len(first) == len(second) == 50 and 2 < len(first & second) < 30


def test_types_are_divided_in_proportion_and_by_declared_numbers():
    rows = distinct(600, "x") + distinct(300, "y") + distinct(100, "z")
    sides, notes = assign(rows, data(test_size=100, dev_size=50))
    counts = Counter((r["type"], s) for r, s in zip(rows, sides))
    assert not notes
    assert [counts[t, "test"] for t in "xyz"] == [60, 30, 10]
    assert [counts[t, "dev"] for t in "xyz"] == [30, 15, 5]
    sides, _ = assign(rows, data(test_size=100, dev_size=50, test_size_by_type={"z": 40}))
    counts = Counter((r["type"], s) for r, s in zip(rows, sides))
    assert [counts[t, "test"] for t in "xyz"] == [40, 20, 40]


def test_a_component_larger_than_the_place_left_is_not_divided_and_said_so():
    big = [row(f"v{i}", "x", group="one") for i in range(20)]
    sides, notes = assign(big + distinct(3, "x"), data(test_size=5, dev_size=1))
    assert Counter(sides[:20]) == {"train": 20}
    assert notes[0] == "test: 3 of 5 items of type 'x'; the largest component left has 20 rows and is not divided"


def test_what_the_lsh_misses_is_found_by_the_exact_comparison(monkeypatch):
    """With an LSH that finds nothing at all, still nothing crosses."""
    from sft_pipeline.dataset import duplicates

    rng = random.Random(0)
    rows = [row(" ".join(rng.choices("abcdefgh", k=6))) for _ in range(120)]
    monkeypatch.setattr(duplicates.Index, "candidates", lambda self, signature: [])
    spec = data(test_size=20, dev_size=10)
    sides, _ = assign(rows, spec)
    sets = [shingles(r["instruction"], 3) for r in rows]
    assert {"test", "train"} <= set(sides)
    crossing = [
        (a, b) for a, b in product(range(120), repeat=2) if sides[a] != sides[b] and jaccard(sets[a], sets[b]) >= 0.5
    ]
    assert not crossing


def test_the_three_datasets_hold_every_row_once_and_carry_their_proofs(tmp_path):
    rows = distinct(60, "x") + distinct(40, "y") + [row("xa1 xb1 xc1", "x", response="another")]
    made = split(sealed(rows, tmp_path / "clean"), data(test_size=20, dev_size=10), outs(tmp_path / "splits"))
    assert {side: made[side].stage for side in made} == {"train": "train", "dev": "dev", "test": "test"}
    assert (made["test"].rows, made["dev"].rows) == (20, 10)
    assert sum(d.rows + sum(d.rejected.values()) for d in made.values()) == len(rows)
    assert made["train"].proof is None and "leakage_proof.json" not in made["train"].files
    assert made["dev"].proof.against == "train → dev" and made["dev"].proof.train_rows == made["train"].rows
    assert made["test"].proof.against == "train+dev → test"
    assert made["test"].proof.train_rows == made["train"].rows + made["dev"].rows
    assert made["test"].proof.clean and made["dev"].proof.clean
    written = json.loads(made["test"].path(leakage.PROOF).read_text(encoding="utf-8"))
    assert written == made["test"].proof.model_dump(mode="json")


def test_test_items_are_unique_instructions(tmp_path):
    rows = distinct(40) + [row(r["instruction"].upper(), response="another") for r in distinct(40)]
    made = split(sealed(rows, tmp_path / "clean"), data(test_size=10, dev_size=5), outs(tmp_path / "splits"))
    held = table.read_table(made["test"].path(InstructionDataset.ROWS))
    assert len({r["instruction"].lower() for r in held}) == len(held) == 10
    assert made["test"].rejected == {"repeated_instruction": 10}
    assert made["train"].rows == 50  # in training, several responses to one instruction are no fault


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = distinct(100)
    clean = sealed(rows, tmp_path / "clean")
    first, second = (split(clean, data(test_size=10, dev_size=5), outs(tmp_path / n)) for n in ("a", "b"))
    assert {s: d.digest for s, d in first.items()} == {s: d.digest for s, d in second.items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test_size": 300, "min_test_size": 300}, "give 50 test items and 0 training rows"),
        ({"test_size": 20, "min_test_size": 30}, "for at least 30 test items"),
        ({"test_size": 10, "test_size_by_type": {"all": 11}}, "test_size_by_type adds up to 11"),
        ({"test_size": 60, "test_size_by_type": {"all": 60}}, "60 test items of type 'all'"),
        ({"test_size": 10, "test_size_by_type": {"safety": 5}}, "hold 0 (types: all)"),
    ],
)
def test_too_few_rows_stop_with_numbers_and_a_remedy(tmp_path, fields, message):
    with pytest.raises(DataError) as error:
        split(sealed(distinct(50), tmp_path / "clean"), data(dev_size=5, **fields), outs(tmp_path / "splits"))
    assert message in str(error.value)


def test_no_rows_at_all_stop_with_a_message(tmp_path):
    with pytest.raises(DataError, match="the 0 clean rows of made up give 0 test items"):
        split(sealed([], tmp_path / "clean"), data(test_size=5), outs(tmp_path / "splits"))
