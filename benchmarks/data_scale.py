"""Does the data stage reach its targets? Time and memory of read, clean, split and proof; near-duplicates against oracles.

    .venv/bin/python benchmarks/data_scale.py                      # everything but the ten millions
    .venv/bin/python benchmarks/data_scale.py alpaca recall        # only these
    .venv/bin/python benchmarks/data_scale.py --no-split --processes 1 rows-50000
    .venv/bin/python benchmarks/data_scale.py --ratio 3 alpaca     # one process and two by turns, three times each

Cases: alpaca, rows-50000, rows-500000, rows-1000000, rows-10000000, recall, datasketch, rensa (where that is installed). Each
runs in a process of its own and prints a line of JSON, and its figures against the targets. Memory is the largest sum over all its
processes (proportional set size: what they share counts once), looked at four times a second; processor time is that of all, too.
Alpaca is looked for where the tests look for it (SFT_PIPELINE_REAL_DATA). The generated rows are written before the clock
starts.
"""

import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from results import figure, record

LIBRARIES = ("datasketch", "rensa")
CASES = ("alpaca", "rows-50000", "rows-500000", "rows-1000000", "rows-10000000", "recall", *LIBRARIES)
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


def candidates(library: str, sets: Iterator[list[str]], permutations: int, bands: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a band of their signatures, by datasketch or rensa with the project's parameters."""
    if library == "datasketch":
        from datasketch import MinHash, MinHashLSH

        lsh = MinHashLSH(num_perm=permutations, params=(bands, permutations // bands))

        def signature(shingles: list[str]) -> Any:
            made = MinHash(num_perm=permutations)
            made.update_batch([shingle.encode() for shingle in shingles])
            return made
    else:
        from rensa import RMinHash, RMinHashLSH

        lsh = RMinHashLSH(0.7, permutations, bands)  # the threshold decides nothing here

        def signature(shingles: list[str]) -> Any:
            made = RMinHash(num_perm=permutations, seed=1)
            made.update(shingles)
            return made

    for position, shingles in enumerate(sets):
        of_row = signature(shingles)
        yield from ((other, position) for other in lsh.query(of_row))
        lsh.insert(position, of_row)


def against(library: str) -> dict[str, float]:
    """The same pairs by another library with the same parameters, every candidate verified in the same way.

    `alone_s` is the library's share of that time: signatures and candidates, nothing verified.
    """
    from sft_pipeline.dataset.duplicates import near_pairs
    from sft_pipeline.dataset.duplicates.minhash import bands
    from sft_pipeline.dataset.text import jaccard, shingles
    from sft_pipeline.experiment import Duplicates

    texts, duplicates = pairs_of_alpaca(), Duplicates(threshold=0.7)
    parameters = duplicates.permutations, bands(duplicates)
    list(near_pairs(texts[:10], duplicates)), list(candidates(library, [["a"]], *parameters))  # imports
    started = time.monotonic()
    ours = {(a, b) for a, b, _ in near_pairs(texts, duplicates)}
    middle = time.monotonic()
    sets = [shingles(text, duplicates.ngram) for text in texts]
    cut = time.monotonic()
    found = set(candidates(library, ([*shingles] for shingles in sets), *parameters))
    searched = time.monotonic()
    theirs = {(a, b) for a, b in found if jaccard(sets[a], sets[b]) >= duplicates.threshold}
    ended = time.monotonic()
    return {
        "ours_s": middle - started,
        "theirs_s": ended - middle,
        "alone_s": searched - cut,
        "times_as_long": (ended - middle) / (middle - started),
        "pairs": len(ours),
        "pairs_by_one_only": len(ours ^ theirs),
    }


def run_case(case: str, split: bool, processes: int | None) -> dict[str, float]:
    if case in ("recall", *LIBRARIES):
        return recall() if case == "recall" else against(case)
    if case == "alpaca":
        return stage(ALPACA, split, processes)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in instructions(int(case.removeprefix("rows-"))))
        return stage(path, split, processes)


# -------------------------------------------------------------------------------------------------------------- report


def figures(case: str, found: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """What the page of all figures shows of a case, with its targets."""
    now = found[case]
    if case == "recall":
        rows = [(name, kind) for name in ("alpaca", "changed") for kind in ("recall", "precision")]
        aims = {"recall": "≥ 0.99", "precision": "1"}
        return [
            figure(
                f"{kind}, {name} ({now[f'{name}_pairs']:.0f} pairs)", now[f"{name}_{kind}"], "all pairs", "", aims[kind]
            )
            for name, kind in rows
        ]
    if case in LIBRARIES:
        aim = "≥ 10" if case == "datasketch" else ""
        what = f"near-duplicates of 5,000 rows; pairs that only one finds: {now['pairs_by_one_only']:.0f}"
        rows = [
            figure(
                what, f"{now['ours_s']:.3g} s", f"{case}, verified: {now['theirs_s']:.3g} s", now["times_as_long"], aim
            )
        ]
        return [*rows, figure("the same", "", f"{case} alone: {now['alone_s']:.3g} s", now["alone_s"] / now["ours_s"])]
    # Processor time: on a shared machine the clock measures the neighbours, too.
    aims = {"rows-1000000": ("≤ 150", "≤ 2"), "rows-10000000": ("", "≤ 8")}
    seconds, memory = aims.get(case, ("", ""))
    rows = [
        figure(f"{now['rows']:,.0f} rows, from reading to the proof", f"{now['seconds']:.1f} s", aim=seconds),
        figure("processor time of all processes", f"{now['cpu_s']:.1f} s"),
        figure("largest memory of all processes", f"{now['peak_gib']:.2f} GiB", aim=memory),
    ]
    fewer = {"rows-500000": "rows-50000", "rows-10000000": "rows-1000000"}.get(case)
    if fewer in found:
        rows.append(
            figure("processor time", "", f"a tenth of the rows: {fewer}", now["cpu_s"] / found[fewer]["cpu_s"], "≤ 12")
        )
    return rows


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
        title = f"Data: {case}"
        if chosen.ratio:
            runs = [[measured(case, split, count)["seconds"] for count in (1, 2)] for _ in range(chosen.ratio)]
            one, two = map(min, zip(*runs))
            rows = [figure("two processes", f"{two:.1f} s", f"one process: {one:.1f} s", one / two, "≥ 1.7")]
            title += ", by one process and two"
        elif case == "rensa" and not importlib.util.find_spec("rensa"):
            print("rensa is not installed", flush=True)
            continue
        else:
            found[case] = measured(case, split, chosen.processes)
            print(case, json.dumps(found[case]), flush=True)
            rows = figures(case, found)
        for row in rows:
            print("  " + "; ".join(f"{name} {text}" for name, text in row.items() if text), flush=True)
        record(f"data_{case}{'_ratio' if chosen.ratio else ''}", title, rows)


if __name__ == "__main__":
    main()
