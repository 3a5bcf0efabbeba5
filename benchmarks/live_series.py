"""What does an evaluator beside a training cost it? Two pretended devices: a processor for each.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/live_series.py [--turns 3] [--rows 600]

The training is pinned to the first processor that this process may use and the evaluator to the second one. The same training runs
alone and with an evaluator that has work for all of its time (a checkpoint every ten steps, 8 dev rows of 100 new tokens each), in
turns, each in a process of its own. Tokens per second are those of the log records, evaluations and checkpoints not counted; beside
them stands the processor time of the training's process, start and end of the evaluator included. With `RECORD=1` the figures go
to benchmarks/results.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

from results import figure, record

SIZES = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}


def train(folder: Path, rows: int, beside: bool, processors: list[int]) -> dict[str, float]:
    """Train in this process; returns tokens per second, processor seconds, and how many checkpoints were evaluated meanwhile."""
    from sft_pipeline.evaluation.live_series import evaluator
    from sft_pipeline.experiment import Experiment
    from sft_pipeline.training import live, trainer
    from sft_pipeline_tests.training import conftest as toy

    sections = json.loads(
        toy.toy_experiment(epochs=2.0, save_steps=10, logging_steps=5).model_dump_json(exclude_unset=True)
    )
    sections["generation"]["max_new_tokens"] = 100
    sections["evaluation"]["series"] = {"live": {"at_end": "drop"}}
    experiment = Experiment.model_validate_json(json.dumps(sections))
    folder.mkdir()
    base = toy.make_toy_base(folder / "base", **SIZES)
    given = toy.prepare(folder, base, experiment, rows)
    os.sched_setaffinity(0, {processors[1]})  # a process that is started inherits it, as its server does
    if beside:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["peft", "scipy.stats"])
        idle = context.Process(target=int)  # the server has imported everything before the training begins
        idle.start()
        idle.join()
    os.sched_setaffinity(0, {processors[0]})
    before, records = resource.getrusage(resource.RUSAGE_SELF), []
    watching = evaluator(experiment, base, given["dev"], folder, "own") if beside else None
    trainer.train(**given, on_log=records.append, evaluator=watching)
    after = resource.getrusage(resource.RUSAGE_SELF)
    timed = [r for r in records if "tokens_per_second" in r]
    return {
        "tokens_per_second": sum(r["tokens_per_second"] * r["seconds"] for r in timed)
        / sum(r["seconds"] for r in timed),
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "evaluated": len(live.results(given["work"])),
    }


def _run(target: Path, *arguments: Any) -> None:
    target.write_text(json.dumps(train(*arguments)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", type=int, default=600)
    arguments = parser.parse_args()
    processors = sorted(os.sched_getaffinity(0))[:2]
    if len(processors) < 2:
        parser.error("two processors are needed")
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(arguments.turns):
            for beside in (False, True) if turn % 2 else (True, False):
                folder, result = Path(name) / f"{turn}-{beside}", Path(name) / f"{turn}-{beside}.json"
                process = multiprocessing.get_context("spawn").Process(
                    target=_run, args=(result, folder, arguments.rows, beside, processors)
                )
                process.start()
                process.join()
                found[beside].append(json.loads(result.read_text()))
                print("beside" if beside else "alone ", found[beside][-1], flush=True)

    def ratio(key: str) -> float:
        return statistics.median(r[key] for r in found[True]) / statistics.median(r[key] for r in found[False])

    speed, processor = ratio("tokens_per_second"), ratio("processor_seconds")
    evaluated = statistics.median(r["evaluated"] for r in found[True])
    print(
        f"tokens/s {speed:.3f}, processor time {processor:.3f} of the training alone; {evaluated:g} checkpoints evaluated"
    )
    record(
        "live_series",
        "Training with a live evaluator on a device of its own",
        [
            figure("tokens per second", "", "the training alone", speed, "≥ 0.98"),
            figure("processor time of the training's process", "", "the training alone", processor),
            figure("evaluated while it trained", f"{evaluated:g} checkpoints, 8 answers of 100 tokens each"),
        ],
        f"Two processors as pretended devices; medians of {arguments.turns} turns; a model of 0.6 M parameters.",
    )


if __name__ == "__main__":
    main()
