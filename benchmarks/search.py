"""Searches over nothing but noise, and a search whose processes are killed.

python benchmarks/search.py noise           # 100 simulated searches: how many find something
python benchmarks/search.py kills FOLDER    # 20 toy trials on two processes, ten SIGKILLs at random moments
"""

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from sft_pipeline_tests.search.simulated import simulated

ROOT = Path(__file__).resolve().parent.parent
SEARCH = {"trials": 20, "devices": 2, "training": {"max_steps": 4, "save_steps": 1}}


def noise() -> None:
    found = sum(simulated(seed) for seed in range(1000, 1100))
    print(f"{100 - found} of 100 searches over noise: no better than the default")


def kills(folder: Path) -> None:
    import psutil

    folder.mkdir(parents=True)
    rng, killed = random.Random(1), {"search": 0, "trial": 0}
    command = [sys.executable, __file__, "search", str(folder)]
    search = subprocess.Popen(command, cwd=ROOT)
    while sum(killed.values()) < 10:
        time.sleep(rng.uniform(0.5, 5))
        victim, trials = "search" if rng.random() < 0.3 else "trial", []
        # A search that was killed imports everything before it has a trial again.
        while search.poll() is None and victim == "trial" and not trials:
            time.sleep(0.05)
            with suppress(psutil.NoSuchProcess):
                trials = [child for server in psutil.Process(search.pid).children() for child in server.children()]
        if search.poll() is not None:
            sys.exit(f"the search ended ({search.returncode}) after {killed}")
        if trials:
            rng.choice(trials).send_signal(signal.SIGKILL)
        else:
            search.kill()
            search.wait()
            search = subprocess.Popen(command, cwd=ROOT)
        killed[victim] += 1
    if search.wait():
        sys.exit(f"the search failed after {killed}")
    trials = json.loads((folder / "trials.json").read_text())
    print(f"killed: {killed}; trials {[trial['number'] for trial in trials]}")
    alike = replayed(folder) == [trial["parameters"] for trial in trials]
    print(f"parameters as drawn from the same figures without a kill: {alike}")


def replayed(folder: Path) -> list[dict[str, Any]]:
    """The parameters that a search draws from the same figures without being killed."""
    from sft_pipeline.search.study import Study
    from sft_pipeline_tests.search import conftest as toy

    (folder / "replayed").mkdir()
    study, drawn = Study(folder / "replayed", toy.experiment(**SEARCH).search, "replayed"), []
    for number in range(SEARCH["trials"]):
        if number >= SEARCH["devices"]:
            before = number - SEARCH["devices"]
            study.tell(before, json.loads((folder / "work" / "trials" / f"{before:04d}" / "result.json").read_text()))
        drawn.append(study.ask(number))
    return drawn


def search(folder: Path) -> None:
    """The trials of a toy search in `folder`, which resumes there."""
    from sft_pipeline.artifacts import InstructionDataset, LeakageProof, ModelSnapshot
    from sft_pipeline.search import run
    from sft_pipeline.search.halves import halves, part
    from sft_pipeline.search.study import Study
    from sft_pipeline_tests.search import conftest as toy
    from sft_pipeline_tests.training import conftest as training

    work = folder / "work"
    if not work.exists():
        made = folder / "made"
        made.mkdir(parents=True)
        training.make_toy_base(made / "base")
        for stage, count, first in (("train", 24, 0), ("dev", 40, 500)):
            training.split(made, stage, training.toy_rows(count, first))
        work.mkdir()
    base = ModelSnapshot.finalize(
        folder / "made" / "base", source="toy", revision="", architecture="Qwen2ForCausalLM", parameters=1, vocabulary=1
    )
    figures = dict.fromkeys(
        ("exact", "near", "groups", "contained", "contained_over_limit", "train_rows", "test_rows"), 0
    )
    proof = LeakageProof(
        against="train → dev", ngram=3, threshold=0.7, containment_ngram=8, max_contained_share=1.0, **figures
    )
    splits = [
        InstructionDataset.finalize(folder / "made" / stage, stage=stage, rows=rows, proof=proof)
        for stage, rows in (("train", 24), ("dev", 40))
    ]
    experiment = toy.experiment(**SEARCH)
    inputs = run.Inputs(experiment, "toy", base, training.passed(folder), *splits, ROOT, work)
    study = Study(work, inputs.search, run.fingerprint(inputs))
    rows = part(splits[1], halves(splits[1], experiment)[0], work / "search_rows")
    run.run_trials(inputs, study, rows, lambda text: print(text, flush=True))
    (folder / "trials.json").write_text(json.dumps([trial.model_dump(mode="json") for trial in study.finished()]))


if __name__ == "__main__":
    {"noise": noise, "kills": kills, "search": search}[sys.argv[1]](*map(Path, sys.argv[2:]))
