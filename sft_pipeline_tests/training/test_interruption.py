"""A training that is asked to stop, or whose disk is full, resumes later and ends with the same bytes."""

import json
import os
import re
import shutil
import signal
import subprocess
from fnmatch import fnmatch
from itertools import repeat
from pathlib import Path

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import callbacks, checkpoints, trainer
from sft_pipeline_tests.training.conftest import fingerprint, prepare


@pytest.fixture(scope="module")
def experiment(toy):
    """A training of 20 steps, two passes, with checkpoints every 4 and log records every 5."""
    varied = {"max_grad_norm": 0.25, "lora": {"dropout": 0.1}}  # of steps 11 and 12, the first one is clipped
    return toy(epochs=2.0, save_steps=4, logging_steps=5, gradient_accumulation=1, **varied)


@pytest.fixture
def arguments(experiment, prepared):
    return prepared(experiment)


@pytest.fixture(scope="module")
def whole(experiment, toy_base, tmp_path_factory):
    """The adapter of the same training without an interruption."""
    return trainer.train(*prepare(tmp_path_factory.mktemp("whole"), toy_base, experiment).values())


def stable(adapter):
    volatile = adapter.VOLATILE
    return {n: f.sha256 for n, f in adapter.files.items() if not any(fnmatch(n, p) for p in volatile)}


def sending(number, step, key="loss"):
    """A listener that sends this process a signal at the log record of `step` that has `key`."""

    def listen(row):
        if row["step"] == step and key in row:
            os.kill(os.getpid(), number)

    return listen


@pytest.mark.slow
def test_a_pre_empted_run_saves_the_step_it_is_in_and_ends_with_the_same_bytes(arguments, whole):
    with pytest.raises(
        TrainingError, match="interrupted by SIGTERM at step 11 of 20, checkpoint saved; materialize again"
    ):
        trainer.train(*arguments.values(), on_log=sending(signal.SIGTERM, 10))
    # in the middle of a log record's steps, and between two planned checkpoints
    assert checkpoints.newest(arguments["work"], fingerprint(arguments)).step == 11
    resumed = trainer.train(*arguments.values())
    assert resumed.measurements["resumed_at_step"] == 11 and 11 not in resumed.checkpoints
    log = json.loads(whole.path("log_history.json").read_text())
    assert [row["clipped_share"] for row in log if row["step"] == 12 and "loss" in row] == [0.5]
    assert stable(resumed) == stable(whole) and resumed.digest == whole.digest
    assert resumed.checkpoints == whole.checkpoints == (4, 8, 12, 16)


@pytest.mark.slow
def test_the_way_in_which_dagster_ends_a_step_is_a_notice_too(arguments):
    import dagster as dg

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with dg.raise_execution_interrupts():
        inside = signal.getsignal(signal.SIGTERM)
        with pytest.raises(TrainingError, match="interrupted by SIGINT at step 6 of 20"):
            # as the step process's termination thread does
            trainer.train(*arguments.values(), on_log=sending(signal.SIGINT, 5))
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is inside
    signal.signal(signal.SIGTERM, handlers[0])  # Dagster leaves its own there
    assert checkpoints.newest(arguments["work"], fingerprint(arguments)).step == 6


@pytest.mark.slow
def test_an_interruption_during_an_evaluation_or_a_planned_checkpoint_loses_nothing(arguments, whole):
    with pytest.raises(TrainingError, match="interrupted by SIGTERM at step 8"):
        trainer.train(*arguments.values(), on_log=sending(signal.SIGTERM, 8, "eval_loss"))
    resumed = trainer.train(*arguments.values())
    assert resumed.measurements["resumed_at_step"] == 8 and resumed.digest == whole.digest


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of a given size in bytes; skips where that is not allowed."""
    places = []

    def make(size: int) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_complete_checkpoint_and_says_what_to_do(arguments, small_disk, whole):
    disk = small_disk(4 << 20)
    work, ballast = disk / "work", disk / "ballast"

    def fill(row):
        if row["step"] == 10:
            with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                file.writelines(repeat(bytes(4096)))
            os.truncate(ballast, ballast.stat().st_size - (64 << 10))  # room for the log, not for a checkpoint

    with pytest.raises(TrainingError) as said:
        trainer.train(*(arguments | {"work": work}).values(), on_log=fill)
    assert re.search(
        rf"cannot be written in {work}: 0\.\d MB are free there, a checkpoint takes 0\.\d MB", str(said.value)
    )
    assert "resumes at step 8" in str(said.value)
    ballast.unlink()
    assert checkpoints.newest(work, fingerprint(arguments)).step == 8
    resumed = trainer.train(*(arguments | {"work": work}).values())
    assert resumed.measurements["resumed_at_step"] == 8
    assert resumed.digest == whole.digest


def test_limits_on_files_count_as_a_full_disk_too(toy, tmp_path):
    import errno

    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(TrainingError, match="starts again"), callbacks.resource_errors(toy(), tmp_path):
            raise OSError(number, os.strerror(number))
