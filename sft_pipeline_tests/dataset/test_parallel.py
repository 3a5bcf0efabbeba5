"""Several processes give what one gives, and end with a message when one of them does not return."""

import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sft_pipeline.dataset import parallel, source, table
from sft_pipeline.dataset.cleaning import clean
from sft_pipeline.dataset.cleaning.fingerprints import Fingerprints, fingerprint
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.duplicates.shingles import word_hashes
from sft_pipeline.dataset.duplicates.sketches import Choice, Sketches
from sft_pipeline.dataset.parallel import LEAST, VARIABLE, Workers, cores, declared
from sft_pipeline.dataset.split import split
from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.experiment import BenchmarkFile, Conversations, Data, Duplicates, FileData, Leakage, Split


def add(number: int, other: int) -> int:
    return number + other


def end(number: int, how: int) -> int:
    if number == 3:
        os.kill(os.getpid(), how)
    return number


def refuse(number: int) -> int:
    raise DataError(f"data.jsonl, row {number}: is wrong")


def test_results_come_in_the_order_of_the_tasks_and_errors_as_they_are():
    with Workers(2, 9) as workers:
        assert workers.processes == 2
        assert list(workers.map(add, range(40), 7)) == [number + 7 for number in range(40)]
        assert list(workers.map(add, range(3), 1)) == [1, 2, 3]  # another state
        with pytest.raises(DataError, match="data.jsonl, row 5: is wrong"):
            list(workers.map(refuse, [5, 6]))


def test_a_process_that_is_killed_ends_the_work_with_what_to_do():
    with Workers(2, 9) as workers, pytest.raises(DataError, match=f"memory runs out.*--processes, or {VARIABLE}"):
        list(workers.map(end, range(40), signal.SIGKILL))


def test_an_interrupt_is_left_to_the_parent():
    with Workers(2, 9) as workers:
        assert list(workers.map(end, range(5), signal.SIGINT)) == [0, 1, 2, 3, 4]


def test_small_inputs_stay_in_one_process(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 4)
    wanted = {0: 1, LEAST: 1, 2 * LEAST - 1: 1, 2 * LEAST: 2, 100 * LEAST: 4}
    assert {batches: Workers(None, batches).processes for batches in wanted} == wanted
    assert [Workers(3, batches).processes for batches in (0, 2, 9)] == [1, 2, 3]


def test_the_environment_declares_the_number(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert declared() is None
    monkeypatch.setenv(VARIABLE, " 3 ")
    assert declared() == 3
    for wrong in ("0", "-1", "all"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(SpecificationError, match=f"{VARIABLE} is '{wrong}'"):
            declared()


def test_the_cores_are_those_of_the_affinity_within_the_quota_of_a_container(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.setattr(parallel, "QUOTA", tmp_path / "cpu.max")
    assert cores() == 4  # no such file
    for quota, wanted in (("max 100000", 4), ("200000 100000", 2), ("30000 100000", 1), ("900000 100000", 4)):
        parallel.QUOTA.write_text(f"{quota}\n")
        assert cores() == wanted


def test_memory_holds_some_350_bytes_of_a_row(tmp_path):
    made = [{"instruction": f"Name {n} colours.", "response": f"{'Red, green and blue. ' * 50}{n}"} for n in range(64)]
    texts = [row[field] for row in made for field in ("instruction", "response")]
    shared = SharedText.of(texts[::2]).ready()
    held = Fingerprints(Duplicates(), tmp_path)
    held.add(np.arange(64), fingerprint(made, word_hashes(texts), Duplicates(), shared))
    arrays = set[int]()

    def size(value: object) -> int:
        if isinstance(value, np.ndarray) and id(value) not in arrays:
            arrays.add(id(value))
            return value.nbytes
        if isinstance(value, list | tuple):
            return sum(map(size, value))
        return sum(map(size, vars(value).values())) if isinstance(value, Fingerprints | Sketches | Choice) else 0

    assert 330 * 64 < size(held) < 360 * 64


def rows(count: int = 700) -> list[dict]:
    """Rows of several schemas, with faults, duplicates of all kinds and text that many share."""
    rng = random.Random(0)
    words = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("lo", "ra", "mit")]
    found: list[dict] = []
    before: list[list[str]] = []
    for number in range(count):
        asked, answered = (rng.choices(words, k=rng.randint(4, 14)) for _ in range(2))
        if number % 7 == 1:
            asked = list(rng.choice(before))
        before.append(asked)
        if number % 11 == 2:
            asked[-1] = "gone"
        row: dict = {"instruction": " ".join(asked), "output": f"{' '.join(answered)}."}
        if number % 5 == 3:
            row["input"] = "A passage that stands behind many of them and is rather long.\nIt has two lines, too."
        if number % 13 == 4:
            talk = [("system", "Be brief."), ("user", " ".join(asked)), ("assistant", row["output"])]
            row = {"messages": [{"role": role, "content": text} for role, text in talk]}
        if number % 17 == 5:
            row["output"] = ""
        found.append(row if number % 50 else {"instruction": number, "output": ["no text"]})
    return found


def digests(folder: Path, processes: int) -> dict[str, str]:
    out = folder / str(processes)

    def made(name: str) -> Path:
        (out / name).mkdir(parents=True)
        return out / name

    data = Data(
        source=FileData(kind="file", path="data.jsonl", conversations=Conversations(several_turns="first")),
        split=Split(test_size=40, dev_size=20, min_test_size=10, smaller_test_reason="a test"),
        leakage=Leakage(benchmarks={"bench": BenchmarkFile(path="bench.jsonl")}),
    )
    how = {"processes": processes}
    raw = source.read(data.source, folder, made("raw"), benchmarks=data.leakage.benchmarks, **how)
    kept = clean(raw, data, made("clean"), count_tokens=lambda texts: list(map(len, texts)), **how)
    outs = {side: made(side) for side in ("train", "dev", "test")}
    sides = split(kept, data, outs, benchmarks=raw.benchmarks, **how)
    assert raw.rejected and kept.rejected and any("lines: 2" in note for note in kept.notes)
    assert all(part.rows for part in sides.values())
    parts = {"raw": raw, "clean": kept, **sides}
    return {f"{part}/{name}": file.sha256 for part, one in parts.items() for name, file in one.files.items()}


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(tmp_path, monkeypatch):
    made = rows()
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made) + "broken\n")
    (tmp_path / "bench.jsonl").write_text(json.dumps({"question": made[10]["instruction"]}) + "\n")
    monkeypatch.setattr(table, "BATCH", 64)
    one = digests(tmp_path, 1)
    assert len(one) == 20
    assert digests(tmp_path, 2) == one
    assert digests(tmp_path, 3) == one


@pytest.mark.slow
def test_an_error_in_a_process_names_file_and_row_as_in_one(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "BATCH", 8)
    row = {"instruction": "Greet me.", "response": "Hello.", "pair_critique": {"is_good": True}}
    own = [{**row, "instruction": f"Greet {number}."} for number in range(40)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    data = Data(source=FileData(kind="file", path="data.jsonl"))
    data = data.model_copy(update={"quality": data.quality.model_copy(update={"critics": "confident"})})
    messages = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        (out / "raw").mkdir(parents=True)
        (out / "clean").mkdir()
        raw = source.read(data.source, tmp_path, out / "raw", processes=processes)
        with pytest.raises(DataError, match="data.jsonl, row 1: .* critic has confident = None") as error:
            clean(raw, data, out / "clean", processes=processes)
        messages.append(str(error.value))
        assert not list((out / "clean").iterdir())
    assert messages[0] == messages[1]


@pytest.mark.parametrize("by", ["row", "table"])
def test_a_row_group_is_bounded_by_bytes(tmp_path, monkeypatch, by):
    monkeypatch.setattr(table, "BATCH", 10)
    monkeypatch.setattr(table, "BATCH_BYTES", 1000)
    place = {"source_file": "f", "source_row": 1}
    lengths = [5] * 25 + [300] * 7 + [5000] + [5] * 3
    made = [{"id": str(n), "text": "x" * length, **place} for n, length in enumerate(lengths)]
    with table.Writer(tmp_path / "a.parquet", table.BENCHMARK) as writer:
        if by == "row":
            for row in made:
                writer.add(row)
        else:
            for start in range(0, len(made), 7):
                writer.add_table(table.pa.Table.from_pylist(made[start : start + 7], schema=table.BENCHMARK))
    assert table.read_table(tmp_path / "a.parquet") == made
    assert table.group_sizes(tmp_path / "a.parquet") == [10, 10, 8, 3, 1, 1, 3]
    assert pq.read_metadata(tmp_path / "a.parquet").num_rows == len(made)
