"""Train, dev and test by near-duplicate component, so that nothing nearly the same stands on two sides.

A component is a connected component of the near-duplicate graph of the instructions, with equal groups united; it is
never divided. Its type is the commonest of its rows. Per type, components are taken in the order of a salted hash of
their text until the test split's share is full, then the dev split's; the rest is training data. So:

- the result depends on the rows, not on their order in the file;
- a row's place in the order never changes unless its component grows; rows that are added take places, and what they
  push out moves from test to dev and from dev to train. While sizes per type stay the same and components are single
  rows, no training row ever moves into dev or test.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, LeakageProof
from sft_pipeline.dataset import leakage, table
from sft_pipeline.dataset.duplicates import Components, components
from sft_pipeline.dataset.text import normalise
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Split
from sft_pipeline.provenance.hashing import hash_bytes

Row = Mapping[str, Any]

SIDES = ("test", "dev", "train")


def split(clean: InstructionDataset, data: Data, outs: Mapping[str, Path]) -> dict[str, InstructionDataset]:
    """Divide the clean rows and prove that the parts are apart.

    Args:
        clean: dataset of stage "clean".
        data: the specification's data section.
        outs: existing folder for the files of each of "train", "dev" and "test".

    Returns:
        The three datasets; dev carries the proof against train, test the one against train and dev together. Rows
        that repeat an instruction of the dev or test split stand in that split's rejected.parquet.

    Raises:
        DataError: the rows do not allow a test split of the declared minimum.
    """
    rows = table.read_table(clean.path(clean.ROWS))
    sides, notes = assign(rows, data)
    _require(sides, rows, clean, data.split)
    parts: dict[str, list[Row]] = {side: [] for side in SIDES}
    repeated: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    seen: dict[str, Row] = {}
    for row, side in zip(rows, sides):
        first = seen.setdefault(normalise(row["instruction"]), row)
        if side == "train" or first is row:
            parts[side].append(row)
        else:
            reason = f"repeats the instruction of the kept row {first['id']}; a {side} item counts once"
            repeated[side].append(table.rejected_row(row, "repeated_instruction", reason, first["instruction"]))
    proofs = {
        "dev": leakage.prove(parts["train"], parts["dev"], data.duplicates, data.split, "train → dev"),
        "test": leakage.prove(
            [*parts["train"], *parts["dev"]], parts["test"], data.duplicates, data.split, "train+dev → test"
        ),
    }
    return {
        side: _seal(side, parts[side], repeated[side], proofs.get(side), clean, notes, outs[side])
        for side in ("train", "dev", "test")
    }


def assign(rows: Sequence[Row], data: Data) -> tuple[list[str], tuple[str, ...]]:
    """The side of each row, and notes on what could not be had as declared."""
    texts = [row["instruction"] for row in rows]
    united = components(texts, [row["group"] for row in rows], data.duplicates)
    while True:
        sides, notes = _by_hash(rows, united, data.split)
        crossing = _crossing(texts, sides, data)
        if not crossing:
            return sides, notes
        # The LSH misses a pair in some thousands; what it missed is found here by exact comparison, and united.
        for a, b in crossing:
            united.unite(a, b)


def _crossing(texts: Sequence[str], sides: Sequence[str], data: Data) -> list[tuple[int, int]]:
    """Near-duplicate pairs that stand on two sides, by exact comparison."""
    found = []
    for held_out, others in (("test", ("dev", "train")), ("dev", ("train",))):
        here = [i for i, side in enumerate(sides) if side == held_out]
        there = [i for i, side in enumerate(sides) if side in others]
        found += [
            (here[a], there[b])
            for a, b, similarity in leakage.similarities(
                [texts[i] for i in there], [texts[i] for i in here], data.duplicates.ngram
            )
            if similarity >= data.duplicates.threshold
        ]
    return found


def _by_hash(rows: Sequence[Row], united: Components, split: Split) -> tuple[list[str], tuple[str, ...]]:
    keys = [normalise(row["instruction"]) for row in rows]
    ranks = [hash_bytes(f"{split.seed}\n{key}".encode()) for key in keys]
    strata: dict[str, list[tuple[str, int, list[int]]]] = {}  # type → (rank, items, rows) of each component
    for members in united.members():
        counts = Counter(rows[i]["type"] for i in members)
        type = min(counts, key=lambda name: (-counts[name], name))
        items = len({keys[i] for i in members})
        strata.setdefault(type, []).append((min(ranks[i] for i in members), items, members))
    available = {type: sum(items for _, items, _ in found) for type, found in sorted(strata.items())}
    quotas = {"test": _test_quotas(available, split), "dev": _shares(split.dev_size, available)}
    sides = ["train"] * len(rows)
    notes = []
    for type in available:
        rest = sorted(strata[type])
        for side in ("test", "dev"):
            missing, left = quotas[side][type], []
            for component in rest:
                if component[1] <= missing:
                    missing -= component[1]
                    for i in component[2]:
                        sides[i] = side
                else:
                    left.append(component)
            if missing:
                largest = max((items for _, items, _ in left), default=0)
                notes.append(
                    f"{side}: {quotas[side][type] - missing} of {quotas[side][type]} items of type {type!r}; "
                    f"the largest component left has {largest} rows and is not divided"
                )
            rest = left
    return sides, tuple(notes)


def _test_quotas(available: Mapping[str, int], split: Split) -> dict[str, int]:
    """Test items per type: the declared numbers, and the rest in proportion to the rows of the other types."""
    for type, wanted in split.test_size_by_type.items():
        if available.get(type, 0) <= wanted:
            raise DataError(
                f"data.split.test_size_by_type: {wanted} test items of type {type!r} were asked for, and the clean data "
                f"hold {available.get(type, 0)} (types: {', '.join(available)}); lower the number or bring more rows"
            )
    rest = split.test_size - sum(split.test_size_by_type.values())
    if rest < 0:
        raise DataError(
            f"data.split: test_size is {split.test_size} but test_size_by_type adds up to {split.test_size - rest}; "
            f"raise test_size to at least that"
        )
    others = {type: count for type, count in available.items() if type not in split.test_size_by_type}
    return {**_shares(rest, others), **split.test_size_by_type}


def _shares(total: int, counts: Mapping[str, int]) -> dict[str, int]:
    """`total` divided in proportion to `counts` by largest remainders."""
    everything = sum(counts.values())
    exact = {name: total * count / everything for name, count in counts.items()}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares


def _require(sides: Sequence[str], rows: Sequence[Row], clean: InstructionDataset, split: Split) -> None:
    counts = Counter(sides)
    items = len({normalise(row["instruction"]) for row, side in zip(rows, sides) if side == "test"})
    if items >= split.min_test_size and counts["train"]:
        return
    raise DataError(
        f"the {len(rows)} clean rows of {clean.source or 'the dataset'} give {items} test items and {counts['train']} "
        f"training rows; data.split asks for {split.test_size} test and {split.dev_size} dev items, and for at least "
        f"{split.min_test_size} test items. Bring more rows, or lower test_size and min_test_size and say why in "
        "smaller_test_reason; if components of near-duplicates are too large, raise data.duplicates.threshold"
    )


def _seal(
    side: str,
    rows: Sequence[Row],
    repeated: Sequence[Row],
    proof: LeakageProof | None,
    clean: InstructionDataset,
    notes: Sequence[str],
    out: Path,
) -> InstructionDataset:
    table.write_table(rows, table.ROW, out / InstructionDataset.ROWS)
    table.write_table(repeated, table.REJECTED, out / InstructionDataset.REJECTED)
    if proof:
        text = json.dumps(proof.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (out / leakage.PROOF).write_text(text + "\n", encoding="utf-8")
    return InstructionDataset.seal(
        out,
        stage=side,
        rows=len(rows),
        rejected={"repeated_instruction": len(repeated)} if repeated else {},
        types=dict(sorted(Counter(row["type"] for row in rows).items())),
        source=clean.source,
        source_schema=clean.source_schema,
        thresholds=clean.thresholds,  # the gate asks the test split whether the data it came from held them
        proof=proof,
        notes=tuple(note for note in notes if note.startswith(f"{side}:")),
    )
