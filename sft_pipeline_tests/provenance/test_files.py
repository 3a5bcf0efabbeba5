"""A folder is there whole or not at all, and what a killed process leaves holds nothing up."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.provenance import files
from sft_pipeline.provenance.files import new_folder
from sft_pipeline.provenance.locks import lock

WRITE = """
import sys, time
from pathlib import Path
from sft_pipeline.provenance.files import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "part").write_text("x")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_the_folder_gets_its_name_when_the_block_has_ended(tmp_path, there):
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    with new_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists() or names(out) == []
    assert names(out) == ["a"] and names(out.parent) == ["out"]
    with pytest.raises(DataError, match="is not an empty folder"), new_folder(out):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_nothing(tmp_path, error):
    def write():
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        write()
    assert names(tmp_path) == []


def test_what_a_failed_run_may_leave_is_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "why").write_text("before")
    with new_folder(tmp_path / "out", left=("why",)) as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "out") == ["a"]


def test_a_folder_that_was_taken_for_abandoned_before_its_lock_is_made_again(tmp_path, monkeypatch):
    locked = []

    def remove_first(handle):
        if not locked:  # another process that looks between mkdir and lock
            shutil.rmtree(next(tmp_path.glob(".out.*.partial")))
        locked.append(handle)
        lock(handle)

    monkeypatch.setattr(files, "lock", remove_first)
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "out") == ["a"] and len(locked) == 2


def test_a_killed_process_blocks_nobody_and_a_living_one_keeps_its_part(tmp_path):
    out = tmp_path / "out"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(out)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "writing\n"
    os.kill(processes[0].pid, signal.SIGKILL)
    processes[0].wait()
    try:
        assert not out.exists() and len(names(tmp_path)) == 2
        with new_folder(out) as folder:
            (folder / "a").write_text("1")
        assert names(out) == ["a"]
        assert [name for name in names(tmp_path) if name != "out"] == [f".out.{processes[1].pid}.partial"]
    finally:
        processes[1].kill()
        processes[1].wait()
