"""Does a lineage survive `kill -9` at random moments? Whole runs of a small embedded default, killed as groups of processes.

    .venv/bin/python benchmarks/kills.py --kills 30 --seed 1

A round begins with an empty store. The command is killed at a moment that is drawn uniformly from half of the time that an
uninterrupted run took, and started again, until it has ended by itself; then the next round begins. After each kill everything
that is stored is verified and what was stored before must still be there. At the end of a round every version must be that of
the uninterrupted run, but that of the release, which holds dates. Prints a line for each kill and round; exits 1 at the first loss.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from sft_pipeline.artifacts import AdapterSnapshot
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import read_lineage, verify_lineage
from sft_pipeline.specification import project_root

NAME = "small"


def small() -> str:
    """The embedded default with its shipped base, less than half of its rows and fewer passes over them."""
    spec = yaml.safe_load((project_root() / "specs" / "tiny.yaml").read_text())
    spec["data"]["source"]["rows"] = 1200
    spec["data"]["split"] = {"test_size": 300, "dev_size": 40, "seed": 0}
    spec["training"] |= {"epochs": 1.5, "save_steps": 5}
    spec["evaluation"]["gate"] = {"alpha": 0.01, "test": "exact"}
    return yaml.safe_dump(spec)


def run(folder: Path, after: float | None) -> int | None:
    """Exit code of the command; None where it was killed after so many seconds."""
    environment = os.environ | {
        "SFT_PIPELINE_ROOT": str(folder),
        "SFT_PIPELINE_STORE": str(folder / "store"),
        "DAGSTER_HOME": str(folder / "home"),
    }
    with open(folder / "log", "w") as log:
        command = [sys.executable, "-m", "sft_pipeline.cli", "run", NAME]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            return process.wait(after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None


def versions(folder: Path) -> dict[str, str]:
    """The version of every stored artifact, all of whose files were checked."""
    return {name: a.version for name, a in read_lineage(Store(folder / "store"), NAME)[0].items()}


def fresh(where: Path) -> Path:
    """A project of its own with an empty store."""
    (where / "specs").mkdir(parents=True)
    (where / "home").mkdir()
    (where / "specs" / f"{NAME}.yaml").write_text(small())
    shutil.copy(project_root() / "dagster_home" / "dagster.yaml", where / "home")
    return where


def check(condition: object, what: str, folder: Path) -> None:
    if not condition:
        print(f"LOST: {what}\n{(folder / 'log').read_text()[-3000:]}\n{folder}", flush=True)
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw, place = random.Random(options.seed), Path(tempfile.mkdtemp(prefix="kills-"))
    began, kills, rounds, resumed = time.monotonic(), 0, 0, 0
    first = fresh(place / "uninterrupted")
    code = run(first, None)
    took, expected = time.monotonic() - began, versions(first)
    check(code == 0, "the uninterrupted run did not pass its gate", first)
    print(f"uninterrupted: exit code {code}, {took:.1f} s, {len(expected)} artifacts", flush=True)
    while kills < options.kills:
        rounds += 1
        folder, before = fresh(place / f"round{rounds}"), dict[str, str]()
        ended, here = None, 0
        while ended is None:
            moment = draw.uniform(0, took / 2)
            ended = run(folder, moment if kills < options.kills else None)
            problems, _ = verify_lineage(Store(folder / "store"), NAME)
            check(not problems, "; ".join(problems), folder)
            now = versions(folder)
            check(before.items() <= now.items(), f"{before.keys() - now.keys()} of an earlier run", folder)
            if ended is None:
                kills, here = kills + 1, here + 1
                print(f"kill {kills}: after {moment:.1f} s, {len(now)} artifacts stored", flush=True)
            before = now
        check(ended == code, f"exit code {ended} in place of {code}", folder)
        other = {name for name in now.keys() | expected.keys() if now.get(name) != expected.get(name)}
        check(other <= {"release"}, f"other versions: {other}", folder)  # a release says when its run was, and how long
        adapter = Store(folder / "store").get("lora_adapter", NAME, AdapterSnapshot)
        step = adapter.measurements["resumed_at_step"]
        resumed += bool(step)
        print(
            f"round {rounds}: {here} kills, {len(now) - len(other)} equal versions, training resumed at step {step}",
            flush=True,
        )
        shutil.rmtree(folder)
    took = time.monotonic() - began
    print(f"{kills} kills in {rounds} rounds, nothing lost; {resumed} trainings resumed; {took:.0f} s")
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
