"""The split: what never crosses, what the sizes are, and what stays in place when rows are added."""

import json
import random
import tempfile
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import leakage, table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.split import assignment, columns, split
from sft_pipeline.dataset.text import jaccard, ngrams, shingles, words
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Duplicates, EmbeddedData, FileData, Leakage, Split


def data(leakage: dict | None = None, **fields) -> Data:
    fields.setdefault("min_test_size", 1)
    fields.setdefault("smaller_test_reason", "a test")
    return Data(
        source=EmbeddedData(kind="embedded"),
        split=Split(**fields),
        duplicates=Duplicates(threshold=0.5),
        leakage=Leakage(**(leakage or {})),
    )


def assign(rows: list[dict], spec: Data) -> tuple[list[str], dict[str, list[str]]]:
    with tempfile.TemporaryDirectory() as folder, Workers(1, 1) as workers:
        work, texts = Path(folder), [r["instruction"] for r in rows]
        place = {"response": "", "source_file": "f", "source_row": 1}
        table.write_table([place | r for r in rows], table.ROW, work / "rows.parquet")
        shared = SharedText.of(texts)
        batch = assignment.formed(texts, spec, shared, work / "forms")
        return assignment.assign(columns.read(work / "rows.parquet"), spec, [batch], shared, work, workers)


def row(instruction: str, type: str = "all", group: str | None = None, response: str = "r") -> dict:
    identity = table.row_id(instruction, response, type, None)
    return {
        "id": identity,
        "instruction": instruction,
        "response": response,
        "type": type,
        "group": group,
        "reference": None,
        "critics": None,
        "source_file": "x",
        "source_row": 1,
    }


def distinct(count: int, type: str = "all", start: int = 0) -> list[dict]:
    """Rows of which no two share a word."""
    return [row(f"{type}a{i} {type}b{i} {type}c{i}", type) for i in range(start, start + count)]


def finalized(rows: list[dict], folder: Path) -> InstructionDataset:
    folder.mkdir()
    table.write_table(rows, table.ROW, folder / InstructionDataset.ROWS)
    return InstructionDataset.finalize(folder, stage="clean", rows=len(rows), source="made up")


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


@pytest.mark.slow
@settings(max_examples=40)
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


@pytest.mark.slow
@settings(max_examples=25)
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
    assert (
        notes["test"][0]
        == "3 of 5 items of type 'x'; the largest component left has 20 rows and is not divided (such as 'v0' and 'v1')"
    )


def test_what_the_near_duplicate_search_misses_is_found_by_the_exact_comparison(monkeypatch):
    """With a search that finds nothing at all, still nothing crosses."""
    from sft_pipeline.dataset.duplicates.search import Components

    rng = random.Random(0)
    rows = [row(" ".join(rng.choices("abcdefgh", k=6))) for _ in range(120)]
    monkeypatch.setattr(assignment, "components", lambda sets, groups, duplicates: Components(len(sets.first)))
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
    made = split(finalized(rows, tmp_path / "clean"), data(test_size=20, dev_size=10), outs(tmp_path / "splits"))
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
    made = split(finalized(rows, tmp_path / "clean"), data(test_size=10, dev_size=5), outs(tmp_path / "splits"))
    held = table.read_table(made["test"].path(InstructionDataset.ROWS))
    assert len({r["instruction"].lower() for r in held}) == len(held) == 10
    assert made["test"].rejected == {"repeated_instruction": 10}
    assert made["train"].rows == 50  # in training, several responses to one instruction are no fault


def test_the_same_rows_give_the_same_bytes(tmp_path):
    rows = distinct(100)
    clean = finalized(rows, tmp_path / "clean")
    first, second = (split(clean, data(test_size=10, dev_size=5), outs(tmp_path / n)) for n in ("a", "b"))
    assert {s: d.digest for s, d in first.items()} == {s: d.digest for s, d in second.items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"test_size": 300, "min_test_size": 300}, "give 50 test items and 0 training rows"),
        ({"test_size": 60, "min_test_size": 60}, "for at least 60 test items"),
        ({"test_size": 60, "test_size_by_type": {"all": 60}}, "60 test items of type 'all'"),
        ({"test_size": 10, "test_size_by_type": {"safety": 5}}, "hold 0 (types: all)"),
    ],
)
def test_too_few_rows_stop_with_numbers_and_a_remedy(tmp_path, fields, message):
    with pytest.raises(DataError) as error:
        split(finalized(distinct(50), tmp_path / "clean"), data(dev_size=5, **fields), outs(tmp_path / "splits"))
    assert message in str(error.value)


def test_rows_that_are_all_one_component_stop_with_the_size_of_that_component(tmp_path):
    one = " ".join(f"w{i}" for i in range(30))
    rows = [row(f"{one} {i}") for i in range(40)]
    with pytest.raises(DataError, match="give 0 test items and 40 training rows.*has 40 rows and is not divided"):
        split(finalized(rows, tmp_path / "clean"), data(test_size=10, dev_size=5), outs(tmp_path / "splits"))


def test_three_rows_give_one_item_to_each_side_or_a_message(tmp_path):
    clean = finalized(distinct(3), tmp_path / "clean")
    made = split(clean, data(test_size=1, dev_size=1), outs(tmp_path / "splits"))
    assert {side: part.rows for side, part in made.items()} == {"train": 1, "dev": 1, "test": 1}
    assert made["test"].notes == ("1 items; fewer than 300, because: a test",)
    with pytest.raises(DataError, match="the 3 clean rows of made up give 3 test items and 0 training rows"):
        split(clean, data(), outs(tmp_path / "more"))


def test_no_rows_at_all_stop_with_a_message(tmp_path):
    with pytest.raises(DataError, match="the 0 clean rows of made up give 0 test items"):
        split(finalized([], tmp_path / "clean"), data(test_size=5), outs(tmp_path / "splits"))


def held(made: InstructionDataset, file: str = InstructionDataset.ROWS) -> list[dict]:
    return table.read_table(made.path(file))


LEAK = st.lists(st.sampled_from("abcd"), min_size=4, max_size=9).map(" ".join)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    rows=st.lists(st.builds(row, instruction=LEAK, response=st.one_of(st.just("r"), LEAK)), max_size=40),
    more=ROWS,
    test=st.none()
    | st.lists(st.builds(row, instruction=LEAK), min_size=1, max_size=6, unique_by=lambda item: item["id"]),
    order=st.randoms(use_true_random=False),
    limit=st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
)
def test_the_order_of_the_rows_does_not_decide_which_rows_the_parts_hold(
    rows, more, test, order, limit, tmp_path_factory
):
    """Not even which of several responses to one test instruction is kept, or which of several leaking rows goes."""
    rows = list({r["id"]: r for r in rows + more}.values()) + distinct(12, "z")
    folder = tmp_path_factory.mktemp("split")
    spec = data({"containment_ngram": 3, "max_contained_share": limit}, test_size=6, dev_size=4)
    spec = spec.model_copy(update={"duplicates": Duplicates(threshold=0.9)})
    first, second = (
        split(
            finalized(some, folder / f"clean{n}"),
            spec,
            outs(folder / f"splits{n}"),
            test=external(test, folder) if test else None,
        )
        for n, some in enumerate((rows, order.sample(rows, len(rows))))
    )
    for side in first:
        assert {r["id"] for r in held(first[side])} == {r["id"] for r in held(second[side])}
        gone = [
            {(r["id"], r["filter"], r["reason"], r["matched"]) for r in held(made[side], InstructionDataset.REJECTED)}
            for made in (first, second)
        ]
        assert gone[0] == gone[1]


def test_the_proof_of_the_test_split_is_that_of_its_files(tmp_path):
    """What stands on disk, read again and compared by itself, gives the same proof to the letter."""
    template = "tell me in a few words all about the"
    towns = [" ".join(f"{c}{i}" for c in "abcdefghijklmnop") for i in range(40)]
    rows = distinct(80) + [row(f"{template} {town}", response=town) for town in towns]
    rows = [r | {"source_file": "raw.jsonl", "source_row": n} for n, r in enumerate(rows, 1)]
    made = split(finalized(rows, tmp_path / "clean"), data(test_size=20, dev_size=10), outs(tmp_path / "splits"))
    proof = made["test"].proof
    training = [*held(made["train"]), *held(made["dev"])]
    again = leakage.prove(training, held(made["test"]), data(), "train+dev → test")
    assert again == proof and proof.contained and proof.nearest[0].train_source.startswith("raw.jsonl, row ")
    for change in ({"instruction": "another"}, {"response": "another"}):
        changed = [training[0] | change, *training[1:]]
        assert leakage.prove(changed, held(made["test"]), data(), "").train_sha256 != proof.train_sha256
    backwards = leakage.prove(training[::-1], held(made["test"])[::-1], data(), "train+dev → test")
    assert (backwards.leaks, backwards.nearest) == (proof.leaks, proof.nearest)


def test_a_row_whose_response_holds_a_test_item_is_no_training_row(tmp_path):
    rows = distinct(60) + [row("ask me something", response=f"Gladly. {LONG}?")]
    made = split(
        finalized(rows, tmp_path / "clean"),
        data(test_size=1, dev_size=5),
        outs(tmp_path / "splits"),
        test=external([row(LONG)], tmp_path),
    )
    gone = [r for side in ("train", "dev") for r in held(made[side], InstructionDataset.REJECTED)]
    assert [(r["id"], r["matched"]) for r in gone] == [(rows[-1]["id"], LONG)]
    assert made["test"].proof.clean


# ------------------------------------------------------------------------------------------------- an external test file


def external(rows: list[dict], folder: Path) -> Path:
    table.write_table(rows, table.ROW, folder / "external.parquet")
    return folder / "external.parquet"


LONG = "please write down in one short sentence what the capital city of france is called today my dear friend"


def test_an_external_test_file_stays_as_it_is_and_rows_that_leak_into_it_go(tmp_path):
    test = [row("What IS  it?"), row(LONG), row(LONG + " again"), row("only a group", group="g"), row("what is it?")]
    leaking = {
        "exact": row("what is it?", response="another"),
        "near": row(LONG + " thanks"),
        "group": row("nothing in common", group="g"),
    }
    file = external(test, tmp_path)
    clean = finalized(distinct(60) + list(leaking.values()), tmp_path / "clean")
    made = split(clean, data(test_size=5, dev_size=10), outs(tmp_path / "splits"), test=file)
    assert made["test"].path(InstructionDataset.ROWS).read_bytes() == file.read_bytes()
    assert (made["test"].rows, made["dev"].rows, made["train"].rows) == (5, 10, 50)
    assert made["test"].source.startswith("external.parquet, rows as read: sha256 ")
    assert made["test"].rejected == {} and held(made["test"], InstructionDataset.REJECTED) == []
    gone = {r["id"]: r for side in ("train", "dev") for r in held(made[side], InstructionDataset.REJECTED)}
    assert {r["filter"] for r in gone.values()} == {"leaks_into_test"}
    for tier, leak in leaking.items():
        assert gone[leak["id"]]["reason"].startswith(f"{tier}: ")
    assert test[0]["id"] in gone[leaking["exact"]["id"]]["reason"]
    assert gone[leaking["near"]["id"]]["matched"] == LONG
    assert made["test"].proof.clean and made["dev"].proof.clean
    assert made["test"].notes == (
        f"2 pairs of near-duplicates stand inside the test file, such as the rows {test[0]['id']} and "
        f"{test[4]['id']}; the file is left as it is",
        "5 items; fewer than 300, because: a test",
    )


@pytest.mark.slow
@settings(max_examples=25)
@given(rows=ROWS, test=ROWS, limit=st.sampled_from([0.0, 0.3, 1.0]))
def test_whatever_the_test_file_holds_the_proof_is_clean_and_only_leaking_rows_are_gone(
    rows, test, limit, tmp_path_factory
):
    rows = list({r["id"]: r for r in rows}.values()) + distinct(10, "z")
    test = list({r["id"]: r for r in test}.values())
    folder = tmp_path_factory.mktemp("split")
    spec = data({"containment_ngram": 2, "max_contained_share": limit}, test_size=6, dev_size=4)
    made = split(finalized(rows, folder / "clean"), spec, outs(folder / "splits"), test=external(test, folder))
    assert made["test"].proof.clean and made["dev"].proof.clean
    assert sum(part.rows + sum(part.rejected.values()) for part in made.values()) == len(rows) + len(test)
    words_of_test = set().union(*(ngrams(words(t["instruction"]), 2) for t in test))
    for side in ("train", "dev"):
        for gone in held(made[side], InstructionDataset.REJECTED):
            if gone["filter"] == "leaks_into_test":
                mine = shingles(gone["instruction"], 3)
                original = next(r for r in rows if r["id"] == gone["id"])
                assert (
                    any(jaccard(mine, shingles(t["instruction"], 3)) >= 0.5 for t in test)
                    or original["group"] in {t["group"] for t in test} - {None}
                    or (
                        limit < 1 and words_of_test & set(ngrams(words(f"{gone['instruction']} {gone['response']}"), 2))
                    )
                )


def test_a_declared_limit_of_containment_is_kept_by_removing_the_rows_that_hold_most(tmp_path):
    """Three rows hold half of the item each; the limit allows half, so that one or two of them may stay."""
    item = [f"w{i}" for i in range(40)]
    pieces = [row("x " * 30 + " ".join(item[a:b])) for a, b in ((0, 22), (9, 31), (18, 40))]
    clean = finalized(distinct(40) + pieces, tmp_path / "clean")
    spec = data({"max_contained_share": 0.5}, test_size=1, dev_size=5)
    made = split(clean, spec, outs(tmp_path / "splits"), test=external([row(" ".join(item))], tmp_path))
    gone = [r for side in ("train", "dev") for r in held(made[side], InstructionDataset.REJECTED)]
    assert len(gone) == 2 and all(r["reason"].startswith("contained: ") for r in gone)
    assert made["test"].proof.contained == 1 and made["test"].proof.clean


def test_a_split_off_test_keeps_the_limit_of_containment_too(tmp_path):
    """Rows of one long template and otherwise nothing in common: no near-duplicates, but eight words are the same."""
    rows = [
        row(f"tell me in a few words all about the {' '.join(f'{c}{i}' for c in 'abcdefghijklmnop')}")
        for i in range(60)
    ]
    clean = finalized(rows + distinct(60), tmp_path / "clean")
    free = split(clean, data(test_size=10, dev_size=5), outs(tmp_path / "free"))
    assert free["test"].proof.contained > 0 and free["test"].proof.clean
    limited = split(clean, data({"max_contained_share": 0.0}, test_size=10, dev_size=5), outs(tmp_path / "limited"))
    assert limited["test"].proof.contained == limited["dev"].proof.contained == 0
    assert limited["train"].rejected["leaks_into_test"] > 40
    assert {r["id"] for r in held(free["test"])} == {r["id"] for r in held(limited["test"])}


def test_an_external_test_file_that_is_too_small_is_refused_with_the_remedy(tmp_path):
    file = external(distinct(20) + distinct(20), tmp_path)
    with pytest.raises(DataError, match="external.parquet holds 20 different instructions.*smaller_test_reason"):
        split(finalized(distinct(50, "x"), tmp_path / "clean"), data(min_test_size=30), outs(tmp_path / "s"), test=file)


def test_an_external_test_file_with_a_row_twice_is_refused_with_the_rows(tmp_path):
    again = {**distinct(1)[0], "group": "another", "source_row": 21}
    with pytest.raises(DataError, match="1 items occur more than once, such as x row 1, x row 21: .*Remove"):
        split(
            finalized(distinct(50, "x"), tmp_path / "clean"),
            data(),
            outs(tmp_path / "s"),
            test=external([*distinct(20), again], tmp_path),
        )


def test_an_external_test_file_that_holds_all_of_the_data_leaves_nothing_to_train_on(tmp_path):
    file = external(distinct(20), tmp_path)
    with pytest.raises(DataError, match="20 rejected as leaks_into_test.*leave nothing to train on"):
        split(finalized(distinct(20), tmp_path / "clean"), data(), outs(tmp_path / "s"), test=file)


def test_what_the_specification_declares_cannot_be_left_out(tmp_path):
    clean = finalized(distinct(50), tmp_path / "clean")
    spec = data({"benchmarks": {"apples": {"path": "apples.jsonl"}}}, test_size=5)
    spec = spec.model_copy(update={"test": FileData(kind="file", path="test.jsonl")})
    with pytest.raises(ValueError, match="declares apples, data.test"):
        split(clean, spec, outs(tmp_path / "a"))
    with pytest.raises(ValueError, match="declares apples;"):
        split(clean, spec, outs(tmp_path / "b"), test=external(distinct(5, "t"), tmp_path))


# ---------------------------------------------------------------------------------------------------------- benchmarks


def test_training_rows_that_hold_a_benchmark_item_are_set_aside_and_test_rows_are_not(tmp_path):
    items = [f"question number {i} asks how many apples the farmer number {i} still has today" for i in range(40)]
    rows = distinct(40) + [row(f"Answer this please. {text}") for text in items]
    benchmark = tmp_path / "apples.parquet"
    table.write_table(
        [{"id": f"q{i}", "text": text, "source_file": "a.jsonl", "source_row": i + 1} for i, text in enumerate(items)],
        table.BENCHMARK,
        benchmark,
    )
    spec = data(test_size=20, dev_size=10).model_copy(update={"duplicates": Duplicates(threshold=0.95)})
    made = split(finalized(rows, tmp_path / "clean"), spec, outs(tmp_path / "splits"), benchmarks={"apples": benchmark})
    in_test = [r for r in held(made["test"]) if r["instruction"].startswith("Answer")]
    gone = [r for side in ("train", "dev") for r in held(made[side], InstructionDataset.REJECTED)]
    assert in_test and len(in_test) + len(gone) == 40
    assert {r["filter"] for r in gone} == {"benchmark:apples"}
    assert all(r["matched"] in r["instruction"] for r in gone)
    assert made["dev"].rows == 10  # rows that go fill no place of the dev split
    assert made["train"].rejected["benchmark:apples"] > made["dev"].rejected.get("benchmark:apples", 0)
    assert not any(r["instruction"].startswith("Answer") for side in ("train", "dev") for r in held(made[side]))


@pytest.mark.real_data
@pytest.mark.slow
def test_real_test_items_among_real_training_rows_are_what_is_rejected(real_data, tmp_path):
    """GSM8K with its external test file: forty of its items, some of them touched up, stand in the training rows."""
    questions = {
        name: [json.loads(line)["question"] for line in (real_data / "gsm8k" / f"{name}.jsonl").open(encoding="utf-8")]
        for name in ("train", "test")
    }
    planted = [
        text.upper() if i % 2 else f"{text} Think step by step." for i, text in enumerate(questions["test"][:40])
    ]
    rows = [row(text) for text in planted + questions["train"][:2000]]
    clean = finalized(rows, tmp_path / "clean")
    spec = data(test_size=300).model_copy(update={"duplicates": Duplicates()})
    file = external([row(text) for text in questions["test"]], tmp_path)
    made = split(clean, spec, outs(tmp_path / "splits"), test=file)
    gone = [r for side in ("train", "dev") for r in held(made[side], InstructionDataset.REJECTED)]
    assert {r["instruction"] for r in gone} == set(planted)
    assert Counter(r["reason"].split(":")[0] for r in gone) == {"exact": 20, "near": 20}
    assert (made["test"].rows, made["dev"].rows, made["train"].rows) == (1319, 100, 1900)
    assert made["test"].proof.clean and made["test"].notes == ()
