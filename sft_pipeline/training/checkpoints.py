"""Checkpoints that can be trusted after a kill at any moment.

The trainer writes `checkpoint-<step>/`; only when everything in it is on the disk does `COMPLETE.json` appear there, with
the hash of every file and the fingerprint of what is being trained. A folder without it, or whose files differ from it,
is ignored by a resumed run. Beside the full checkpoints, of which the newest two are kept, `kept/<step>/` holds
every saved adapter.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot, TrainingPlan
from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance import files
from sft_pipeline.provenance.hashing import files_below, hash_file, hash_value

MARKER = "COMPLETE.json"

FULL = 2
"""Full checkpoints (optimiser and random states) that are kept: the newest, and one in case it turns out damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, its step, the seconds of training that led to it, and whether it is the end."""

    folder: Path
    step: int
    seconds: float
    final: bool


def fingerprint(
    experiment: Experiment,
    base: ModelSnapshot,
    plan: TrainingPlan,
    train: InstructionDataset,
    dev: InstructionDataset,
) -> str:
    """Hash of everything that weights, log and files of the training depend on.

    What is only kept of it counts too, for a resumed run has to leave what an uninterrupted one leaves. In the lineage
    nothing is lost by that: the same fields are in the key, and another key is another work folder.
    """
    experiment = plan.applied(experiment)
    undecided = {"eval_batch_size": None} if "eval_batch_size" in plan.settings else {}  # as in the plan's identity
    return hash_value(
        {
            "training": experiment.training.cache_key | undecided,
            "prompt": experiment.prompt.model_dump(mode="json"),
            "model": experiment.model.loading,
            "steps": [plan.steps, plan.warmup_steps],
            "base": base.digest,
            "train": train.digest,
            "dev": dev.digest,
        }
    )


def finalize(folder: Path, step: int, run: str, seconds: float, *, final: bool, keep: bool = True) -> None:
    """Declare the checkpoint in `folder` complete: flush its files, keep its adapter, write the marker last.

    Args:
        folder: `checkpoint-<step>` as the trainer wrote it.
        step: its step.
        run: fingerprint of the training.
        seconds: training time up to this step, earlier processes included.
        final: whether the training ends here, at its last step or by early stopping.
        keep: whether its adapter is one of those that are kept; that of an interruption is not.
    """
    kept = folder.parent / "kept" / str(step)
    shutil.rmtree(kept, ignore_errors=True)
    hashes = {}
    if keep:
        save_adapter(folder, kept)
        hashes = {f"../kept/{step}/{path.name}": hash_file(path) for path in files_below(kept)}
    for place in (folder, kept) if keep else (folder,):
        for path in [*files_below(place), place, place.parent]:
            files.flush(path)
    hashes |= {path.relative_to(folder).as_posix(): hash_file(path) for path in files_below(folder)}
    marker = {"fingerprint": run, "step": step, "seconds": seconds, "final": final, "files": hashes}
    files.write(folder / MARKER, json.dumps(marker, indent=1))
    files.flush(folder)
    files.flush(folder.parent)
    for old in _folders(folder.parent)[:-FULL]:
        _remove(old)


def newest(work: Path, run: str) -> Checkpoint | None:
    """The newest complete checkpoint of this training; incomplete and damaged ones are removed.

    Raises:
        TrainingError: a complete checkpoint in `work` belongs to another specification, dataset or base.
    """
    found = None
    for folder in reversed(_folders(work)):
        marker = _read_marker(folder)
        if marker is not None and marker["fingerprint"] != run:
            raise TrainingError(
                f"{folder} is a checkpoint of another training: specification, data or base differ from the present ones. "
                "Delete the folder above it to start again, or go back to the specification that it was made with."
            )
        if found is None and marker is not None and _intact(folder, marker["files"]):
            found = Checkpoint(folder, marker["step"], marker["seconds"], marker["final"])
        elif found is None:
            _remove(folder)
    for kept in (work / "kept").glob("*"):
        if found is None or int(kept.name) > found.step:
            shutil.rmtree(kept)
    return found


def complete(work: Path) -> list[int]:
    """Steps whose adapters are kept and belong to complete checkpoints, also those whose full checkpoint is gone."""
    newest = max((_step(folder) for folder in _folders(work) if (folder / MARKER).exists()), default=0)
    return sorted(step for step in (int(kept.name) for kept in (work / "kept").glob("*")) if step <= newest)


def save_adapter(folder: Path, target: Path, base_name: str | None = None) -> None:
    """Copy the adapter in `folder` without anything that belongs to this machine or to the order of a hash table.

    PEFT records the folder that the base was loaded from. `base_name` stands there instead: the base's name on a hub, or
    nothing for a local one, whose digest is in the manifest.
    """
    target.mkdir(parents=True)
    shutil.copyfile(folder / "adapter_model.safetensors", target / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base_name
    for name in ("target_modules", "target_parameters"):
        if isinstance(config.get(name), list):
            config[name].sort()
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _folders(work: Path) -> list[Path]:
    return sorted(work.glob("checkpoint-*"), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return None


def _intact(folder: Path, hashes: Mapping[str, str]) -> bool:
    return all((folder / name).is_file() and hash_file(folder / name) == digest for name, digest in hashes.items())


def _remove(folder: Path) -> None:
    # The marker goes first: a removal that is interrupted must not leave a complete-looking checkpoint.
    (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder)
