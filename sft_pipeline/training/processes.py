"""A training over several processes: torch's elastic launcher starts them, accelerate joins them, TRL trains as ever.

On the CPU they talk by gloo, on CUDA by NCCL, with a device each. Every process runs the same code on its share of each
step's rows; the first one writes checkpoints and log. FSDP shards the (quantised) base over the devices instead of
holding it on each; that path needs CUDA devices.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_pipeline import artifacts
from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot, TrainingPlan
from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.training import checkpoints

LOG = "processes.log"
"""What the processes say, in the work folder."""

ROWS = "processes.jsonl"
"""Log rows of the first process, in the work folder, one JSON object per line."""

POLL = 0.5
"""Seconds between two looks at the log rows."""


def launch(
    experiment: Experiment,
    base: ModelSnapshot,
    plan: TrainingPlan,
    train: InstructionDataset,
    dev: InstructionDataset,
    work: Path,
    start: checkpoints.Checkpoint | None,
    on_log: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Train in `experiment.training.processes` processes until all have ended.

    Args:
        experiment: the specification.
        base: the base model's files.
        plan: steps and warm-up.
        train: training rows.
        dev: rows for the evaluations.
        work: folder for checkpoints.
        start: the checkpoint to go on from.
        on_log: called with each log row as it comes.

    Raises:
        TrainingError: a process failed; with the last lines that it wrote.
    """
    names = {"base": base, "plan": plan, "train": train, "dev": dev}
    given = {name: artifact.model_dump(mode="json") | {"root": str(artifact.root)} for name, artifact in names.items()}
    given |= {
        "experiment": experiment.model_dump_json(),
        "work": str(work),
        "start": asdict(start) | {"folder": str(start.folder)} if start else None,
    }
    (work / "processes.json").write_text(json.dumps(given))
    (work / ROWS).write_text("")
    cpu = experiment.model.device == "cpu"
    count = str(experiment.training.processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    environment = os.environ | {"ACCELERATE_USE_CPU": str(cpu).lower(), "OMP_NUM_THREADS": _threads(count)}
    with open(work / LOG, "w") as log, open(work / ROWS) as rows:
        process = subprocess.Popen(
            [*command, "-m", "sft_pipeline.training.processes", str(work / "processes.json")],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            while process.poll() is None:
                _hand_on(rows, on_log)
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        _hand_on(rows, on_log)
    if process.returncode:
        said = (work / LOG).read_text(errors="replace").splitlines()[-30:]
        raise TrainingError(f"a process of {count} failed; {work / LOG} ends with:\n" + "\n".join(said))


def _threads(processes: str) -> str:
    """Threads per process: an equal share of the cores, since spinning threads on shared cores are many times slower."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // int(processes)))


def _hand_on(rows, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    while line := rows.readline():
        if on_log is not None:
            on_log(json.loads(line))


def _work(path: Path) -> None:
    """One process's part."""
    import torch

    from sft_pipeline.training import trainer

    given = json.loads(path.read_text())
    kinds = {
        "base": artifacts.ModelSnapshot,
        "plan": artifacts.TrainingPlan,
        "train": artifacts.InstructionDataset,
        "dev": artifacts.InstructionDataset,
    }
    read = {name: kind.model_validate(given[name]) for name, kind in kinds.items()}
    first = os.environ["RANK"] == "0"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    work = Path(given["work"])
    start = given["start"] and checkpoints.Checkpoint(**given["start"] | {"folder": Path(given["start"]["folder"])})
    with open(work / ROWS, "a") as rows:

        def on_log(row: dict[str, Any]) -> None:
            rows.write(json.dumps(row) + "\n")
            rows.flush()

        trainer.train_here(
            Experiment.model_validate_json(given["experiment"]),
            *read.values(),
            work,
            start,
            on_log if first else None,
        )


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_work)(Path(sys.argv[1]))  # so that the launcher's last words say which exception it was
