"""A training that is asked to stop, or whose disk is full, resumes later and ends with the same bytes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from fnmatch import fnmatch
from itertools import repeat
from pathlib import Path

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import callbacks, checkpoints, trainer

SCRIPT = """
import json, sys
from pathlib import Path
from sft_pipeline import artifacts
from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.training import trainer

given = json.loads(Path(sys.argv[1]).read_text())
kinds = {"base": "ModelSnapshot", "guard": "GuardReport", "plan": "TrainingPlan", "train": "InstructionDataset",
         "dev": "InstructionDataset"}
read = {name: getattr(artifacts, kind).model_validate(given[name]) for name, kind in kinds.items()}

def wait(row):
    if row["step"] == 10 and "loss" in row:
        print("now", flush=True)
        sys.stdin.readline()  # until the signal is there

try:
    trainer.train(Experiment.model_validate_json(given["experiment"]), *read.values(), Path(given["work"]),
                  Path(given["out"]), on_log=wait)
except TrainingError as error:
    print(error)
    raise SystemExit(3)
"""


@pytest.fixture
def arguments(toy, prepared):
    """A training of 20 steps, two passes, with checkpoints every 4 and log records every 5."""
    return prepared(toy(epochs=2.0, save_steps=4, logging_steps=5, gradient_accumulation=1, lora={"dropout": 0.1}))


def fingerprint(arguments):
    return checkpoints.fingerprint(*(arguments[name] for name in ("experiment", "base", "plan", "train", "dev")))


def stable(adapter):
    volatile = adapter.VOLATILE
    return {n: f.sha256 for n, f in adapter.files.items() if not any(fnmatch(n, p) for p in volatile)}


def uninterrupted(arguments, folder):
    (folder / "whole").mkdir()
    return trainer.train(*(arguments | {"work": folder / "whole work", "out": folder / "whole"}).values())


def test_a_pre_empted_run_saves_the_step_it_is_in_and_ends_with_the_same_bytes(arguments, tmp_path):
    names = ("base", "guard", "plan", "train", "dev")
    given = {name: {**arguments[name].model_dump(mode="json"), "root": str(arguments[name].root)} for name in names}
    (tmp_path / "first").mkdir()
    given |= {"experiment": arguments["experiment"].model_dump_json(), "work": str(arguments["work"])}
    (tmp_path / "given.json").write_text(json.dumps(given | {"out": str(tmp_path / "first")}))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "given.json")]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True) as process:
        assert process.stdout.readline() == "now\n", process.stderr.read()[-2000:]
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate("go on\n", timeout=300)
    assert process.returncode == 3, errors[-2000:]
    assert re.search(r"interrupted by SIGTERM at step 11 of 20, checkpoint saved; materialize again", said)

    # in the middle of a log record's steps, and between two planned checkpoints
    assert checkpoints.newest(arguments["work"], fingerprint(arguments)).step == 11
    resumed = trainer.train(*arguments.values())
    assert resumed.measurements["resumed_at_step"] == 11 and 11 not in resumed.checkpoints
    whole = uninterrupted(arguments, tmp_path)
    assert stable(resumed) == stable(whole) and resumed.digest == whole.digest
    assert resumed.checkpoints == whole.checkpoints == (4, 8, 12, 16)


def test_the_way_in_which_dagster_ends_a_step_is_a_notice_too(arguments):
    import dagster as dg

    def interrupt(row):
        if row["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)  # as the step process's termination thread does

    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with dg.raise_execution_interrupts():
        inside = signal.getsignal(signal.SIGTERM)
        with pytest.raises(TrainingError, match="interrupted by SIGINT at step 6 of 20"):
            trainer.train(*arguments.values(), on_log=interrupt)
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT) is inside
    signal.signal(signal.SIGTERM, handlers[0])  # Dagster leaves its own there
    assert checkpoints.newest(arguments["work"], fingerprint(arguments)).step == 6


def test_an_interruption_during_an_evaluation_or_a_planned_checkpoint_loses_nothing(arguments, tmp_path):
    def interrupt(row):
        if row["step"] == 8 and "eval_loss" in row:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingError, match="interrupted by SIGTERM at step 8"):
        trainer.train(*arguments.values(), on_log=interrupt)
    resumed, whole = trainer.train(*arguments.values()), uninterrupted(arguments, tmp_path)
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


def test_a_full_disk_leaves_the_last_complete_checkpoint_and_says_what_to_do(arguments, small_disk, tmp_path):
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
    assert resumed.digest == uninterrupted(arguments, tmp_path).digest


def test_limits_on_files_count_as_a_full_disk_too(toy, tmp_path):
    import errno

    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with pytest.raises(TrainingError, match="starts again"), callbacks.resource_errors(toy(), tmp_path):
            raise OSError(number, os.strerror(number))
