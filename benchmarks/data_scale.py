"""Does the data stage reach its targets? Time and memory of read, clean, split and proof; near-duplicates against oracles.

    .venv/bin/python benchmarks/data_scale.py                      # everything but the ten millions
    .venv/bin/python benchmarks/data_scale.py alpaca recall        # only these
    .venv/bin/python benchmarks/data_scale.py --no-split --processes 1 rows-50000
    .venv/bin/python benchmarks/data_scale.py --ratio 3 alpaca     # one process and two by turns, three times each

Cases: alpaca, rows-50000, rows-500000, rows-1000000, rows-10000000, recall, datasketch. Each runs in a process
of its own and prints a line of JSON; a table against the targets follows. Memory is the largest sum over all its processes
(proportional set size: what they share counts once), looked at four times a second; processor time is that of all, too.
Alpaca is looked for where the tests look for it (SFT_PIPELINE_REAL_DATA). The generated rows are written before the clock
starts.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CASES = ("alpaca", "rows-50000", "rows-500000", "rows-1000000", "rows-10000000", "recall", "datasketch")
REAL_DATA = Path(os.environ.get("SFT_PIPELINE_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
ALPACA = REAL_DATA / "alpaca-52k" / "alpaca_data.json"


# ------------------------------------------------------------------------------------------------------ generated rows


def instructions(rows: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """Instruction rows as people have them: lengths and duplicates much like Alpaca's, and its faults.

    Words have the frequencies of Zipf's law. An instruction has a dozen words (log-normal, up to 60), two rows in five an
    input (median 15 words, up to 400), a response a median of 35 (up to 1,000): about 75 words a row. Of a hundred rows 76
    are free text, 15 come from one of a hundred templates with one or two slots, 5 are another row with a word or two
    exchanged, 1.5 an exact copy, 1.5 another response to the same instruction, 1 is empty or a placeholder.
    """
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in [*"bdfghklmnprstvz", "ch", "st", "tr"] for v in [*"aeiou", "ai", "ou"]]
    made = {"".join(random.Random(number).choices(syllables, k=1 + number % 4)): None for number in range(90_000)}
    vocabulary = np.array(list(made)[:50_000], object)
    frequency = 1 / np.arange(1, len(vocabulary) + 1)
    total = np.cumsum(frequency / frequency.sum())

    def lengths(count: int, median: float, sigma: float, most: int) -> list[int]:
        return np.clip(rng.lognormal(np.log(median), sigma, count), 2, most).astype(int).tolist()

    def texts(sizes: list[int]) -> Iterator[list[str]]:
        found = vocabulary[np.minimum(np.searchsorted(total, rng.random(sum(sizes))), len(vocabulary) - 1)].tolist()
        start = 0
        for size in sizes:
            yield found[start : start + size]
            start += size

    def rare(count: int) -> list[str]:
        return vocabulary[rng.integers(0, len(vocabulary), count)].tolist()

    templates = list(zip(texts(lengths(100, 9, 0.4, 20)), texts(lengths(100, 12, 0.6, 40))))
    recent: list[tuple[list[str], list[str], list[str]]] = []
    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        columns = (texts(lengths(count, *shape)) for shape in ((12, 0.45, 60), (15, 0.9, 400), (35, 0.85, 1000)))
        chances = rng.random((count, 2)).tolist()
        for (kind, with_input), asked, given, answered in zip(chances, *columns):
            given = given if with_input < 0.4 else []
            if kind >= 0.91 and recent:
                asked, given, old = map(list, recent[int(rng.integers(len(recent)))])
                answered = answered if kind >= 0.985 else old
                if kind < 0.96:
                    for text in (asked, answered):
                        text[int(rng.integers(len(text)))] = rare(1)[0]
            elif kind >= 0.76:
                asked, answered = map(list, templates[int(rng.integers(len(templates)))])
                slot = rare(int(rng.integers(1, 3)))
                asked[len(asked) * 2 // 3 : len(asked) * 2 // 3] = slot
                given, answered[:0] = [], slot
            if 0.75 <= kind < 0.76:
                answered = ["noinput"] if with_input < 0.5 else []
            elif len(recent) < 20_000:
                recent.append((asked, given, answered))
            else:
                recent[int(rng.integers(len(recent)))] = asked, given, answered
            output = " ".join(answered).capitalize() + ("." if len(answered) > 1 else "")
            yield {
                "instruction": " ".join(asked).capitalize() + ".",
                "input": " ".join(given).capitalize(),
                "output": output,
            }


# --------------------------------------------------------------------------------------------------------------- cases


def stage(path: Path, split: bool, processes: int | None) -> dict[str, float]:
    """Read, clean, and split with its proofs: seconds of each, and how many rows there were and stayed."""
    from sft_pipeline.dataset import source
    from sft_pipeline.dataset.cleaning import clean
    from sft_pipeline.experiment import Data, FileData

    data = Data(source=FileData(kind="file", path=str(path)))
    found: dict[str, float] = {}

    with tempfile.TemporaryDirectory() as temporary:

        def folder(name: str) -> Path:
            made = Path(temporary) / name
            made.mkdir()
            return made

        started, cpu, own = time.monotonic(), processor_time(), time.process_time()
        raw = source.read(data.source, Path(temporary), folder("raw"), processes=processes)
        found |= {"rows": raw.rows, "read_s": time.monotonic() - started}
        before, stages = time.monotonic(), {}

        def progress(name: str, done: int, total: int | None) -> None:
            stages[name] = time.monotonic() - before

        cleaned = clean(raw, data, folder("clean"), root=Path(temporary), progress=progress, processes=processes)
        found |= {"kept": cleaned.rows, "clean_s": time.monotonic() - before}
        found |= {f"clean_until_{name}_s": seconds for name, seconds in stages.items()}
        if split:
            from sft_pipeline.dataset.split import split as divide

            before = time.monotonic()
            outs = {name: folder(name) for name in ("train", "dev", "test")}
            parts = divide(cleaned, data, outs, root=Path(temporary), processes=processes)
            found |= {"split_s": time.monotonic() - before, "test": parts["test"].rows}
            found["leaks"] = sum(not part.proof.clean for part in parts.values() if part.proof)
        found |= {"seconds": time.monotonic() - started, "cpu_s": processor_time() - cpu}
        found["main_cpu_s"] = time.process_time() - own
    return found


def processor_time() -> float:
    """Of this process and of those that worked for it: they are children of multiprocessing's server, which is asked."""
    from multiprocessing.forkserver import _forkserver

    seconds = time.process_time()
    if server := _forkserver._forkserver_pid:
        fields = Path(f"/proc/{server}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def memory(process: int) -> int:
    """Bytes of a process and all below it; what several share counts once."""
    found = 0
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            found += int(line.split()[1]) << 10 if line.startswith("Pss:") else 0
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            found += sum(memory(int(child)) for child in children.read_text().split())
    except (OSError, ProcessLookupError):
        pass  # it has ended
    return found


def pairs_of_alpaca() -> list[str]:
    rows = json.loads(ALPACA.read_text(encoding="utf-8"))[:5000]
    return [f"{row['instruction']}\n{row['input']}" for row in rows]


def recall() -> dict[str, float]:
    """Near-duplicates on 5,000 rows of Alpaca against an exact comparison of all pairs.

    Alpaca was deduplicated by its makers, so that few pairs are there to be found: a second run has 2,500 rows and of
    each a copy in which one word in eight is exchanged.
    """
    from itertools import combinations

    from sft_pipeline.dataset.duplicates import near_pairs
    from sft_pipeline.dataset.text import jaccard, shingles
    from sft_pipeline.experiment import Duplicates

    duplicates, rng, found = Duplicates(threshold=0.7), random.Random(0), {}
    texts = pairs_of_alpaca()
    changed = []
    for text in texts[:2500]:
        words = text.split()
        for _ in range(len(words) // 8):
            words[rng.randrange(len(words))] = "something"
        changed.append(" ".join(words))
    for name, some in (("alpaca", texts), ("changed", texts[:2500] + changed)):
        sets = [shingles(text, duplicates.ngram) for text in some]
        exact = {
            (a, b) for a, b in combinations(range(len(sets)), 2) if jaccard(sets[a], sets[b]) >= duplicates.threshold
        }
        started = time.monotonic()
        ours = {(a, b) for a, b, _ in near_pairs(some, duplicates)}
        found |= {f"{name}_seconds": time.monotonic() - started, f"{name}_pairs": len(exact)}
        found |= {f"{name}_recall": len(ours & exact) / len(exact), f"{name}_precision": len(ours & exact) / len(ours)}
    return found


def datasketch() -> dict[str, float]:
    """The same pairs by datasketch with the same parameters, every candidate verified in the same way."""
    from datasketch import MinHash, MinHashLSH

    from sft_pipeline.dataset.duplicates import near_pairs
    from sft_pipeline.dataset.duplicates.minhash import bands
    from sft_pipeline.dataset.text import jaccard, shingles
    from sft_pipeline.experiment import Duplicates

    texts, duplicates = pairs_of_alpaca(), Duplicates(threshold=0.7)
    list(near_pairs(texts[:10], duplicates))  # imports
    started = time.monotonic()
    ours = {(a, b) for a, b, _ in near_pairs(texts, duplicates)}
    middle = time.monotonic()
    count = bands(duplicates)
    lsh = MinHashLSH(num_perm=duplicates.permutations, params=(count, duplicates.permutations // count))
    theirs, sets = set(), []
    for position, text in enumerate(texts):
        sets.append(shingles(text, duplicates.ngram))
        signature = MinHash(num_perm=duplicates.permutations)
        signature.update_batch([shingle.encode() for shingle in sets[-1]])
        for other in lsh.query(signature):
            if jaccard(sets[other], sets[-1]) >= duplicates.threshold:
                theirs.add((other, position))
        lsh.insert(position, signature)
    ended = time.monotonic()
    return {
        "ours_s": middle - started,
        "datasketch_s": ended - middle,
        "times_as_long": (ended - middle) / (middle - started),
        "pairs": len(ours),
        "pairs_by_one_only": len(ours ^ theirs),
    }


def run_case(case: str, split: bool, processes: int | None) -> dict[str, float]:
    if case in ("recall", "datasketch"):
        return {"recall": recall, "datasketch": datasketch}[case]()
    if case == "alpaca":
        return stage(ALPACA, split, processes)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in instructions(int(case.removeprefix("rows-"))))
        return stage(path, split, processes)


# -------------------------------------------------------------------------------------------------------------- report


def judged(found: dict[str, dict[str, float]]) -> Iterator[tuple[str, float, str, bool]]:
    """Figure, value, target, reached: for the targets that the cases allow to judge."""
    # Processor time: on a shared machine the clock measures the neighbours, too.
    targets = (("alpaca", "cpu_s", 9), ("rows-1000000", "seconds", 150), ("rows-1000000", "peak_gib", 2))
    for case, figure, limit in (*targets, ("rows-10000000", "peak_gib", 8)):
        if case in found:
            yield f"{case}: {figure}", found[case][figure], f"<= {limit}", found[case][figure] <= limit
    for few, many in (("rows-50000", "rows-500000"), ("rows-1000000", "rows-10000000")):
        if {few, many} <= found.keys():
            ratio = found[many]["cpu_s"] / found[few]["cpu_s"]
            yield f"{many}: processor time, times", ratio, "<= 12", ratio <= 12
    for name in ("alpaca", "changed") if "recall" in found else ():
        values = found["recall"]
        yield f"recall, {name}", values[f"{name}_recall"], ">= 0.99", values[f"{name}_recall"] >= 0.99
        yield f"precision, {name}", values[f"{name}_precision"], "= 1", values[f"{name}_precision"] == 1
    if "datasketch" in found:
        times = found["datasketch"]["times_as_long"]
        yield "datasketch takes times as long", times, ">= 10", times >= 10


def measured(case: str, split: bool, processes: int | None) -> dict[str, float]:
    """The figures of a case in a process of its own."""
    command = [sys.executable, __file__, "--here", case, *([] if split else ["--no-split"])]
    command += ["--processes", str(processes)] if processes else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        peak = 0
        while child.poll() is None:
            peak = max(peak, memory(child.pid))
            time.sleep(0.25)
        assert child.stdout is not None
        line = child.stdout.read()
    if child.returncode:
        sys.exit(f"{case} ended with {child.returncode}")
    return {**json.loads(line.splitlines()[-1]), "peak_gib": round(peak / 2**30, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "cases", nargs="*", choices=CASES, metavar="CASE", help="cases to run; default: all but the last"
    )
    parser.add_argument("--no-split", action="store_true", help="only read and clean")
    parser.add_argument("--processes", type=int, help="default: as many as pay")
    parser.add_argument("--ratio", type=int, metavar="TIMES", help="one process and two by turns, so often")
    parser.add_argument("--here", action="store_true", help="run one case in this process")
    chosen = parser.parse_args()
    split = not chosen.no_split
    if chosen.here:
        values = run_case(chosen.cases[0], split, chosen.processes)
        print(json.dumps({name: round(value, 4) for name, value in values.items()}))
        return
    found: dict[str, dict[str, float]] = {}
    for case in chosen.cases or [case for case in CASES if case != "rows-10000000"]:
        if chosen.ratio:
            runs = [[measured(case, split, count)["seconds"] for count in (1, 2)] for _ in range(chosen.ratio)]
            one, two = map(min, zip(*runs))
            print(
                f"{case}: {one:.2f} s with one process, {two:.2f} s with two: {one / two:.2f} times as fast", flush=True
            )
            continue
        found[case] = measured(case, split, chosen.processes)
        print(case, json.dumps(found[case]), flush=True)
    print()
    for figure, value, target, reached in judged(found):
        print(f"{figure:40} {value:10.3f}   {target:8} {'reached' if reached else 'MISSED'}")


if __name__ == "__main__":
    main()
