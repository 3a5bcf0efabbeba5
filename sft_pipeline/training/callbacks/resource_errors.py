"""Errors of a full disk or full memory, with what to change."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sft_pipeline.errors import PipelineError, TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.training.checkpoints import MARKER

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# torch and safetensors write from native code: what reaches Python is a text, torch's without the system's reason.
_DISK_TEXTS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "basic_ios::clear: iostream error",
    "PytorchStreamWriter failed writing",
)
_MEMORY_TEXTS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


@contextmanager
def resource_errors(experiment: Experiment, work: Path) -> Iterator[None]:
    """Turn a full disk and full memory into errors that say what to do; everything else passes.

    Raises:
        TrainingError: no memory or no disk space is left.
    """
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        chain = list(_chain(error))
        if any(_is_disk(e) for e in chain):
            raise TrainingError(_disk(work, error)) from error
        if any(is_memory(e) for e in chain):
            raise TrainingError(_memory(experiment, error)) from error
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    # What fails while a file is being closed hides what had failed before.
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _DISK:
        return True
    return any(text in str(error) for text in _DISK_TEXTS)


def is_memory(error: BaseException) -> bool:
    """Whether no memory was left."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_TEXTS)


def _disk(work: Path, error: Exception) -> str:
    """The message of a full disk, after incomplete checkpoints have been removed."""
    complete = {}
    for folder in work.glob("checkpoint-*"):
        if (folder / MARKER).exists():
            complete[int(folder.name.rpartition("-")[2])] = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)
    step = max(complete, default=None)
    free = shutil.disk_usage(work).free
    needs = ""
    if step is not None:
        size = sum(path.stat().st_size for path in complete[step].rglob("*") if path.is_file())
        needs = f", a checkpoint takes {size / 1e6:,.1f} MB"
    resumes = "starts again" if step is None else f"resumes at step {step}, its newest complete checkpoint"
    return (
        f"the training's files cannot be written in {work}: {free / 1e6:,.1f} MB are free there{needs}. Make room on that "
        f"disk, or put the store on another one (SFT_PIPELINE_STORE); materialized again, the training {resumes}. ({error})"
    )


def _memory(experiment: Experiment, error: Exception) -> str:
    training, model = experiment.training, experiment.model
    advice = []
    if training.batch_size > 1:
        advice.append(
            f"halve training.batch_size ({training.batch_size}) and double gradient_accumulation "
            f"({training.passes}), which trains the same"
        )
    if training.gradient_checkpointing is not True:
        advice.append("set training.gradient_checkpointing")
    if model.quantization == "none":
        advice.append("quantise the base (model.quantization: nf4)")
    advice.append(f"lower training.max_length ({training.max_length})")
    return (
        f"out of memory on {model.device}: {'; '.join(advice)}. Materialized again with the same specification, the training "
        f"resumes at its newest complete checkpoint. ({str(error).strip() or type(error).__name__})"
    )
