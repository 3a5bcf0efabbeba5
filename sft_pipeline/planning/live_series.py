"""The live series in a plan: what is evaluated where, and what of it cannot work."""

from sft_pipeline.artifacts import Finding
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines import chosen

WHERE = {
    "own": "while the training runs, on a device of its own",
    "same": "on the training's device, while the training waits",
    "after": "on the training's device, once the training has ended",
    "auto": "while the training runs where the machine has a device more than the training's, otherwise once it has ended",
}


def planned(experiment: Experiment, steps: int, dev_rows: int | None) -> list[Finding]:
    """What the live series will do; nothing where none is declared.

    Args:
        experiment: the specification.
        steps: planned steps.
        dev_rows: rows of the dev split; None where they are not known.
    """
    live, training, model = experiment.evaluation.series.live, experiment.training, experiment.model
    if live is None:
        return []
    cpu = model.device == "cpu"
    checkpoints = -(-steps // training.save_steps)
    items = "the dev items" if dev_rows is None else f"{dev_rows:,} dev items"
    where = WHERE[live.device]
    if cpu and live.device in ("own", "auto"):
        where = "while the training runs, by a process of the lowest priority on the cores that the training leaves"
    devices = training.processes + 1
    evidence = f"the base and {checkpoints:,} checkpoints answer {items} {where}"
    evidence += f": {devices} CUDA devices in all" if live.device == "own" and not cpu else ""
    left = "are evaluated before the step ends" if live.at_end == "drain" else "are left to checkpoint_series"
    found = [Finding(rule="live_series", severity="info", evidence=f"{evidence}; those left at the end {left}")]
    if dev_rows == 0:
        found.append(
            Finding(
                rule="live_without_items",
                severity="blocking",
                evidence="the live series asks the dev split, which has no row",
                remedy="give it rows (data.split.dev_size), or leave evaluation.series.live out",
            )
        )
    engine = experiment.generation.engine
    if live.device == "same" and not cpu and "vllm" in (engine, engine == "auto" and chosen(experiment)):
        found.append(
            Finding(
                rule="live_same_device",
                severity="blocking",
                evidence="vLLM takes nearly all free memory of its device for its cache, beside a training that needs it",
                remedy="set evaluation.series.live.device to own or after, or generation.engine to transformers",
            )
        )
    return found
