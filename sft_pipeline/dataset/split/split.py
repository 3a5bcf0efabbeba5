"""The splits on disk: train, dev and test, the rows rejected from them, and the proof that nothing leaks.

assignment.py decides which row goes to which side. An external test file takes the place of the test split and is never
altered. Training and dev rows that leak into it, or that contain an item of a held-out benchmark, are rejected with the
reason. A row that the hash has put into the test split stays whatever it contains: nothing is trained on it.
"""

import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.artifacts import InstructionDataset, LeakageProof
from sft_pipeline.dataset import croissant, table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage import semantic
from sft_pipeline.dataset.leakage.batch import COMPARED, Batch
from sft_pipeline.dataset.leakage.leak_search import LeakSearch
from sft_pipeline.dataset.leakage.proof import PROOF, Comparison, Found, similarities, write
from sft_pipeline.dataset.leakage.removals import Removal, benchmark_removals, leak_removals, search_leaks
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.split.assignment import Formed, Notes, assign, formed
from sft_pipeline.dataset.split.columns import Columns
from sft_pipeline.dataset.split.columns import read as read_columns
from sft_pipeline.dataset.split.turns import questions, turn_items
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
    processes: int | None = 1,
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
        processes: how many work on the rows; None: as many as pay (`parallel`). It changes no byte.

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
    # An encoder computes on all cores by itself.
    workers = Workers(1 if embed else processes, table.group_count(clean.path(clean.ROWS)))
    with workers, TemporaryDirectory(dir=outs["train"]) as work:
        counts, notes, proofs = _divide(clean, data, outs, test, benchmarks or {}, embed, workers, Path(work), progress)
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


def _divide(
    clean: InstructionDataset,
    data: Data,
    outs: Mapping[str, Path],
    test: Path | None,
    benchmarks: Mapping[str, Path],
    embed: semantic.Embed | None,
    workers: Workers,
    work: Path,
    progress: Progress,
) -> tuple[dict[tuple[str, str], Counter], Notes, dict[str, LeakageProof]]:
    """Write the rows of all sides and the proofs; returns what `_write` does, notes on each side, and the proofs."""
    columns = read_columns(clean.path(clean.ROWS))
    external = _external_test(test, data.split) if test else None
    shared = _shared(clean, external or (), workers, progress)
    removals = benchmark_removals(clean, benchmarks, data, shared, workers, progress)

    def search(rows: Sequence[Mapping[str, Any]], side: str) -> LeakSearch:
        return LeakSearch(rows, side, data, shared, embed)

    def search_in(*searches: tuple[LeakSearch, npt.NDArray[np.bool_]]) -> None:
        search_leaks(clean, searches, data, shared, workers, progress)

    if external:
        into_test = search(external, "test")
        search_in((into_test, np.ones(len(columns.ids), bool)))
        removals |= _asked_again(columns, external, data.leakage.containment_ngram) | leak_removals(into_test)
    batches = workers.map(
        _formed, range(table.group_count(clean.path(clean.ROWS))), clean.path(clean.ROWS), data, shared, work
    )
    sides, notes = assign(columns, data, batches, shared, work, workers, removals.keys(), not external)
    removals = {p: removal for p, removal in removals.items() if sides[p] != "test"}
    kept = _kept(columns, sides, removals)
    dev = kept["dev"]
    into_dev = search(columns.rows(dev), "dev")
    training = np.array(sides) == "train"
    training[np.fromiter(removals, np.int64, len(removals))] = False
    searches = [(into_dev, training)]
    if not external:
        into_test = search(columns.test_items(kept["test"]), "test")
        learned = training.copy()
        learned[dev] = True
        searches.append((into_test, learned))
    search_in(*searches)
    if not external:
        removals |= leak_removals(into_test)
    if any(p in removals for p in dev):  # nothing has to leave for an item that has left itself
        into_dev = search(columns.rows([p for p in dev if p not in removals]), "dev")
        search_in((into_dev, training))
    removals |= leak_removals(into_dev, removals)
    _require(sides, kept, removals, notes, bool(external), clean, data.split)
    counts = _write(clean, columns, sides, kept, removals, outs, progress)
    if test and external:
        _copy_test(test, outs["test"] / InstructionDataset.ROWS)
        counts["types", "test"] = Counter(row["type"] for row in external)
        notes.setdefault("test", []).extend(_repeated_inside(external, data))
    if (count := len(external or kept["test"])) < 300:
        notes.setdefault("test", []).append(f"{count} items; fewer than 300, because: {data.split.smaller_test_reason}")
    return counts, notes, _prove(outs, data, shared, embed, workers, progress)


def _shared(
    clean: InstructionDataset, external: Sequence[Mapping[str, Any]], workers: Workers, progress: Progress
) -> SharedText:
    """What the instructions of all rows have in common."""
    shared = SharedText.of(row["instruction"] for row in external)
    path, done = clean.path(clean.ROWS), 0
    for count, some in workers.map(_learned, range(table.group_count(path)), path):
        shared.merge(some)
        progress("learn", done := done + count, clean.rows)
    return shared.ready()


def _instructions(path: Path, group: int) -> list[str]:
    return table.read_group(path, group, ("instruction",))["instruction"].to_pylist()


def _learned(group: int, path: Path) -> tuple[int, SharedText]:
    texts = _instructions(path, group)
    return len(texts), SharedText.of(texts)


def _formed(group: int, path: Path, data: Data, shared: SharedText, work: Path) -> Formed:
    return formed(_instructions(path, group), data, shared, work / f"forms-{group}")


# ------------------------------------------------------------------------------------------------------------ the proof


def _prove(
    outs: Mapping[str, Path],
    data: Data,
    shared: SharedText,
    embed: semantic.Embed | None,
    workers: Workers,
    progress: Progress,
) -> dict[str, LeakageProof]:
    """The proofs of dev and test, from the files as they were written."""
    files = {side: outs[side] / InstructionDataset.ROWS for side in outs}
    held = {side: table.read_table(files[side], COMPARED) for side in ("dev", "test")}
    comparisons = {side: Comparison(rows, data, shared, embed) for side, rows in held.items()}
    sizes = {side: table.group_sizes(files[side]) for side in ("train", "dev")}
    # Dev is compared with train, test with both.
    tasks: list[tuple[Path, int, tuple[str, ...]]]
    tasks = [(files["train"], group, ("dev", "test")) for group in range(len(sizes["train"]))]
    tasks += [(files["dev"], group, ("test",)) for group in range(len(sizes["dev"]))]
    done, total = 0, sum(map(sum, sizes.values()))
    for (_, _, names), (found, lines, count) in zip(tasks, workers.map(_compared, tasks, comparisons, data, shared)):
        for name, some in zip(names, found):
            comparisons[name].take(some, lines, count)
        progress("proof", done := done + count, total)
    proofs = {"dev": comparisons["dev"].proof("train → dev"), "test": comparisons["test"].proof("train+dev → test")}
    for side, proof in proofs.items():
        write(proof, outs[side] / PROOF)
    return proofs


def _compared(
    task: tuple[Path, int, tuple[str, ...]], comparisons: Mapping[str, Comparison], data: Data, shared: SharedText
) -> tuple[list[Found], tuple[bytes, bytes], int]:
    """What each of the comparisons finds in a batch of training rows."""
    path, group, names = task
    batch = Batch(table.read_group(path, group, COMPARED).to_pylist(), data, shared)
    return [comparisons[name].compare(batch) for name in names], batch.lines, len(batch)


# ------------------------------------------------------------------------------------------------------ an external test file


def _external_test(test: Path, split: Split) -> list[dict[str, Any]]:
    schema = pq.read_schema(test)
    if missing := [name for name in table.ROW.names if name not in schema.names]:
        raise DataError(f"{test}: the test rows have no column {missing[0]!r}; read the file with dataset/source first")
    talk = ("reference", "conversation") if table.row_schema(test) is table.TALK else ()
    rows = table.read_table(test, (*COMPARED, "type", *talk))
    asked = len({normalise(row["instruction"]) for row in rows})
    if asked < split.min_test_size or not rows:
        raise DataError(
            f"data.test: {test.name} holds {asked} different instructions, and data.split.min_test_size asks for at "
            f"least {split.min_test_size}. Add test items, or lower min_test_size and say why in "
            "smaller_test_reason"
        )
    _require_once(rows)
    return list(turn_items(rows))


def _asked_again(columns: Columns, external: Sequence[Mapping[str, Any]], least: int) -> dict[int, Removal]:
    """The rows in which a user asks what one asks in a conversation of the test file, be it only a small part of the item."""
    asked = {question: row for row in external if row.get("conversation") for question in questions(row, least)}
    return {
        position: Removal("leaks_into_test", f"a user asks what one asks in the test item {item['id']}", question)
        for position, question in (columns.questions(least) if asked else ())
        if (item := asked.get(question))
    }


def _copy_test(test: Path, out: Path) -> None:
    """The external test file as it is, but for conversations, of which each answer becomes an item."""
    if table.row_schema(test) is table.TALK:
        table.write_table(turn_items(table.read_table(test)), table.TALK, out)
    else:
        shutil.copyfile(test, out)


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
    source = clean.path(clean.ROWS)
    schema_of_rows = table.row_schema(source)
    with ExitStack() as stack:
        rows, rejected = (
            {side: stack.enter_context(table.Writer(out / name, schema)) for side, out in outs.items()}
            for name, schema in (
                (InstructionDataset.ROWS, schema_of_rows),
                (InstructionDataset.REJECTED, table.REJECTED),
            )
        )
        tested: list[dict[str, Any]] = []
        start = 0
        for group in range(table.group_count(source)):
            batch = table.read_group(source, group)
            end = start + len(batch)
            going = np.flatnonzero(~stays[start:end])
            for index, row in zip(going.tolist(), batch.take(going).to_pylist()):
                side, removal = sides[start + index], gone[start + index]
                rejected[side].add(table.rejected_row(row, *removal))
                counts["rejected", side][removal.filter] += 1
            for side, here in of_side.items():
                part = batch.filter(pa.array(here[start:end]))
                if schema_of_rows is table.TALK and side == "test":
                    tested += part.to_pylist()
                    continue
                counts["types", side].update(compress(columns.types[start:end], here[start:end].tolist()))
                rows[side].add_table(part)
            start = end
            progress("split", start, len(sides))
        for answer in turn_items(tested):
            rows["test"].add(answer)
            counts["types", "test"][answer["type"]] += 1
    return counts
