"""The splits on disk: train, dev and test, the rows rejected from them, and the proof that nothing leaks.

assignment.py decides which row goes to which side. An external test file takes the place of the test split and is never
altered. Training and dev rows that leak into it, or that contain an item of a held-out benchmark, are rejected with the
reason. A row that the hash has put into the test split stays whatever it contains: nothing is trained on it.
"""

import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.artifacts import InstructionDataset, LeakageProof
from sft_pipeline.dataset import croissant, table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage import semantic
from sft_pipeline.dataset.leakage.batch import COMPARED, Batch, blocks_of
from sft_pipeline.dataset.leakage.leak_search import LeakSearch
from sft_pipeline.dataset.leakage.proof import PROOF, Comparison, similarities, write
from sft_pipeline.dataset.leakage.removals import Removal, benchmark_removals, leak_removals, search_leaks
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.split.assignment import Columns, Notes, assign
from sft_pipeline.dataset.text import normalise
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Split
from sft_pipeline.provenance.hashing import hash_file


def split(
    clean: InstructionDataset,
    data: Data,
    outs: Mapping[str, Path],
    *,
    root: Path = Path(),
    test: Path | None = None,
    benchmarks: Mapping[str, Path] | None = None,
    progress: Progress = silent,
) -> dict[str, InstructionDataset]:
    """Divide the clean rows and prove that the parts are apart.

    Args:
        clean: dataset of stage "clean".
        data: the specification's data section.
        outs: existing folder for the files of each of "train", "dev" and "test".
        root: the project's root, to which the path of an embedding model is relative.
        test: rows (table.ROW) of an external test file; it becomes the test split as it is.
        benchmarks: held-out items (table.BENCHMARK) by the benchmark's name.
        progress: called with the rows done.

    Returns:
        The three datasets; dev carries the proof against train, test the one against train and dev together. Every
        clean row stands in one of them or in the rejected.parquet of the side that it would have stood on: rows that
        repeat a dev or test instruction (repeated_instruction), that leak (leaks_into_test, leaks_into_dev), that hold
        a benchmark's item (benchmark:NAME).

    Raises:
        DataError: the rows do not allow a test split of the declared minimum, or leave nothing to train on.
        ValueError: the specification names a test file or a benchmark that was not handed over.
    """
    declared = {*data.leakage.benchmarks, *(["data.test"] if data.test else [])}
    if missing := sorted(declared - {*(benchmarks or {}), *(["data.test"] if test else [])}):
        raise ValueError(f"the specification declares {', '.join(missing)}; hand over the rows that were read from it")
    embed = semantic.load(data.leakage.semantic.model, root) if data.leakage.semantic else None
    columns = _read(clean)
    external = _external_test(test, data.split) if test else None
    shared = SharedText.of([*columns.texts, *(row["instruction"] for row in external or ())])
    removals = benchmark_removals(clean, benchmarks or {}, data, shared, progress)

    def search(rows: Sequence[Mapping[str, Any]], side: str) -> LeakSearch:
        return LeakSearch(rows, side, data, shared, embed)

    if external:
        into_test = search(external, "test")
        search_leaks(clean, [(into_test, range(len(columns.ids)))], data, shared, progress)
        removals |= leak_removals(into_test)
    sides, notes = assign(columns, data, removals.keys(), not external, shared)
    removals = {p: removal for p, removal in removals.items() if sides[p] != "test"}
    kept = _kept(columns, sides, removals)
    dev = kept["dev"]
    into_dev = search(columns.rows(dev), "dev")
    training = [p for p, side in enumerate(sides) if side == "train" and p not in removals]
    searches = [(into_dev, training)]
    if not external:
        into_test = search(columns.rows(kept["test"]), "test")
        searches.append((into_test, [*training, *dev]))
    search_leaks(clean, searches, data, shared, progress)
    if not external:
        removals |= leak_removals(into_test)
    if any(p in removals for p in dev):  # nothing has to leave for an item that has left itself
        into_dev = search(columns.rows([p for p in dev if p not in removals]), "dev")
        search_leaks(clean, [(into_dev, training)], data, shared, progress)
    removals |= leak_removals(into_dev, removals)
    _require(sides, kept, removals, notes, bool(external), clean, data.split)
    counts = _write(clean, columns, sides, kept, removals, outs, progress)
    if test and external:
        shutil.copyfile(test, outs["test"] / InstructionDataset.ROWS)
        counts["types", "test"] = Counter(row["type"] for row in external)
        notes.setdefault("test", []).extend(_repeated_inside(external, data))
    if (count := len(external or kept["test"])) < 300:
        notes.setdefault("test", []).append(f"{count} items; fewer than 300, because: {data.split.smaller_test_reason}")
    proofs = _prove(outs, data, shared, embed, sum(counts["types", "train"].values()), progress)
    for side, out in outs.items():
        text = f"Rows of the {side} split, divided by near-duplicate component. Source: {clean.source}"
        croissant.write(out, "instructions", {side: out / InstructionDataset.ROWS}, description=text)
    return {
        side: InstructionDataset.finalize(
            outs[side],
            stage=side,
            rows=sum(counts["types", side].values()),
            rejected=dict(sorted(counts["rejected", side].items())),
            types=dict(sorted(counts["types", side].items())),
            source=_source(test, data) if test and side == "test" else clean.source,
            source_schema=clean.source_schema,
            thresholds=clean.thresholds,  # the gate asks the test split whether the data it came from held them
            proof=proofs.get(side),
            notes=tuple(notes.get(side, ())),
        )
        for side in ("train", "dev", "test")
    }


# ------------------------------------------------------------------------------------------------------------ the proof


def _prove(
    outs: Mapping[str, Path],
    data: Data,
    shared: SharedText,
    embed: semantic.Embed | None,
    training: int,
    progress: Progress,
) -> dict[str, LeakageProof]:
    """The proofs of dev and test, from the files as they were written."""
    files = {side: outs[side] / InstructionDataset.ROWS for side in outs}
    held = {side: table.read_table(files[side], COMPARED) for side in ("dev", "test")}
    found = {side: Comparison(rows, data, shared, embed) for side, rows in held.items()}
    done = 0
    blocks: Iterable[Sequence[Mapping[str, Any]]]
    blocks = chain(table.batches(files["train"], COMPARED), blocks_of(held["dev"]))
    for rows in blocks:
        batch = Batch(rows, data, shared)
        found["test"].add(batch)
        if done < training:
            found["dev"].add(batch)
        progress("proof", done := done + len(rows), training + len(held["dev"]))
    proofs = {"dev": found["dev"].proof("train → dev"), "test": found["test"].proof("train+dev → test")}
    for side, proof in proofs.items():
        write(proof, outs[side] / PROOF)
    return proofs


# ------------------------------------------------------------------------------------------------------ an external test file


def _external_test(test: Path, split: Split) -> list[dict[str, Any]]:
    schema = pq.read_schema(test)
    if missing := [name for name in table.ROW.names if name not in schema.names]:
        raise DataError(f"{test}: the test rows have no column {missing[0]!r}; read the file with dataset/source first")
    rows = table.read_table(test, (*COMPARED, "type"))
    items = len({normalise(row["instruction"]) for row in rows})
    if items < split.min_test_size or not rows:
        raise DataError(
            f"data.test: {test.name} holds {items} different instructions, and data.split.min_test_size asks for at "
            f"least {split.min_test_size}. Add test items, or lower min_test_size and say why in "
            "smaller_test_reason"
        )
    _require_once(rows)
    return rows


def _require_once(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse rows of one id: answers are joined to items by it, so that the gate could not tell them apart.

    Raises:
        DataError: names the file and the rows of the first ones.
    """
    places: dict[str, list[str]] = {}
    for row in rows:
        places.setdefault(row["id"], []).append(f"{row['source_file']} row {row['source_row']}")
    if twice := [found for found in places.values() if len(found) > 1]:
        raise DataError(
            f"data.test: {len(twice)} items occur more than once, such as {', '.join(twice[0][:5])}: instruction, response, "
            "type and reference are the same, and an item is judged once. Remove the repetitions from the file"
        )


def _source(test: Path, data: Data) -> str:
    return f"{data.test.path if data.test else test.name}, rows as read: sha256 {hash_file(test)}"


def _repeated_inside(external: Sequence[Mapping[str, Any]], data: Data) -> tuple[str, ...]:
    """Notes on near-duplicates inside an external test file, which stays as it is."""
    texts = [row["instruction"] for row in external]
    pairs = [
        (a, b) for a, b, _ in similarities(texts, texts, data.duplicates.ngram, data.duplicates.threshold) if a < b
    ]
    if not pairs:
        return ()
    a, b = min(pairs)
    return (
        f"{len(pairs)} pairs of near-duplicates stand inside the test file, such as the rows {external[a]['id']} "
        f"and {external[b]['id']}; the file is left as it is",
    )


# --------------------------------------------------------------------------------------------------- reading and writing


def _read(clean: InstructionDataset) -> Columns:
    columns = Columns([], [], [], [])
    names: dict[str, str] = {}  # one string for all rows of a type
    for batch in table.batches(clean.path(clean.ROWS), ("id", "instruction", "group", "type")):
        columns.ids.extend(row["id"] for row in batch)
        columns.texts.extend(row["instruction"] for row in batch)
        columns.types.extend(names.setdefault(row["type"], row["type"]) for row in batch)
        columns.groups.extend(row["group"] for row in batch)
    return columns


def _kept(columns: Columns, sides: Sequence[str], removals: Collection[int]) -> dict[str, list[int]]:
    """Positions of the dev and of the test items: of equal instructions the row with the smallest id counts."""
    kept = {}
    for side in ("dev", "test"):
        first: dict[str, int] = {}
        for position, other in enumerate(sides):
            if other == side and position not in removals:
                key = normalise(columns.texts[position])
                first[key] = min(first.get(key, position), position, key=lambda p: (columns.ids[p], p))
        kept[side] = sorted(first.values())
    return kept


def _require(
    sides: Sequence[str],
    kept: Mapping[str, Sequence[int]],
    removals: Mapping[int, Removal],
    notes: Notes,
    external: bool,
    clean: InstructionDataset,
    split: Split,
) -> None:
    training = sum(side == "train" and p not in removals for p, side in enumerate(sides))
    items = len(kept["test"])
    if (external or items >= split.min_test_size) and training:
        return
    gone = Counter(removal.filter for removal in removals.values())
    removed = f" ({', '.join(f'{count} rejected as {name}' for name, count in sorted(gone.items()))})" if gone else ""
    if external:
        raise DataError(
            f"the {len(sides)} clean rows of {clean.source or 'the dataset'}{removed} leave nothing to train on beside "
            f"the external test file and {len(kept['dev'])} dev items; add other training rows"
        )
    why = next((f" ({note})" for note in notes.get("test", ())), "")
    raise DataError(
        f"the {len(sides)} clean rows of {clean.source or 'the dataset'}{removed} give {items} test items and "
        f"{training} training rows{why}; data.split asks for {split.test_size} test and {split.dev_size} dev items, and "
        f"for at least {split.min_test_size} test items. Add rows, or lower test_size and min_test_size and say "
        "why in smaller_test_reason. Where one component is too large, look at its rows: near-duplicates among them go with "
        "data.duplicates.drop: instruction, rows of one group are divided by a finer group, and rows that only look alike "
        "by a higher data.duplicates.threshold"
    )


def _write(
    clean: InstructionDataset,
    columns: Columns,
    sides: Sequence[str],
    kept: Mapping[str, Sequence[int]],
    removals: Mapping[int, Removal],
    outs: Mapping[str, Path],
    progress: Progress,
) -> dict[tuple[str, str], Counter]:
    """Write every clean row to its side's rows or rejected rows; returns ("types" or "rejected", side) → counts."""
    counts: dict[tuple[str, str], Counter] = {
        (table_name, side): Counter() for table_name in ("types", "rejected") for side in outs
    }
    gone = dict(removals)
    for side, positions in kept.items():
        items = {normalise(columns.texts[position]): position for position in positions}
        for position in [p for p, other in enumerate(sides) if other == side and p not in gone]:
            if (item := items[normalise(columns.texts[position])]) != position:
                reason = f"repeats the instruction of the row {columns.ids[item]}; a {side} item counts once"
                gone[position] = Removal("repeated_instruction", reason, columns.texts[item])
    stays, assigned = np.ones(len(sides), bool), np.array(sides)
    stays[np.fromiter(gone, np.int64, len(gone))] = False
    of_side = {side: stays & (assigned == side) for side in outs}
    with ExitStack() as stack:
        rows, rejected = (
            {side: stack.enter_context(table.Writer(out / name, schema)) for side, out in outs.items()}
            for name, schema in (
                (InstructionDataset.ROWS, table.ROW),
                (InstructionDataset.REJECTED, table.REJECTED),
            )
        )
        start = 0
        for batch in pq.ParquetFile(clean.path(clean.ROWS)).iter_batches(table.BATCH):
            end = start + len(batch)
            for index in np.flatnonzero(~stays[start:end]).tolist():
                side, removal = sides[start + index], gone[start + index]
                (row,) = batch.slice(index, 1).to_pylist()
                rejected[side].add(table.rejected_row(row, *removal))
                counts["rejected", side][removal.filter] += 1
            for side, here in of_side.items():
                counts["types", side].update(compress(columns.types[start:end], here[start:end].tolist()))
                rows[side].add_batch(batch.filter(pa.array(here[start:end])))
            start = end
            progress("split", start, len(sides))
    return counts
