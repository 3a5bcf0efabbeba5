"""Programs that loop, fork, eat, spy and cheat, in the real sandbox."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sft_pipeline.evaluation.scoring import sandbox
from sft_pipeline.evaluation.scoring.sandbox import FENCES, run

RIGHT = "def double(x):\n    return 2 * x\n"
TESTS = "assert double(2) == 4"


def outcome(code, tests=TESTS, seconds=30.0):
    return run(code, tests, seconds, memory_mb=256)


def replace_in_child(monkeypatch, folder, old, new):
    """Programs then run in a child without the part `old`."""
    text = sandbox._CHILD.read_text()
    assert old in text
    changed = folder / "child.py"
    changed.write_text(text.replace(old, new))
    monkeypatch.setattr(sandbox, "_CHILD", changed)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def fences():
    return set(outcome(RIGHT).fences)


def test_right_code_passes_and_wrong_code_fails_its_test():
    assert outcome(RIGHT).passed
    wrong = outcome("def double(x):\n    return x\n")
    assert (wrong.passed, wrong.error, wrong.phase) == (False, "AssertionError", "tests")


def test_code_has_the_standard_library_and_a_folder_to_write_in():
    use = "import dataclasses, decimal, hashlib, json, math, random, re, sqlite3, typing\nopen('a', 'w').write('x')\n"
    check = "import os\nassert os.listdir('.') == ['a']\n"
    assert outcome(use + check + RIGHT).passed
    assert outcome("import pytest").error == "ModuleNotFoundError"


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "def double(x):\n    import sys\n    sys.exit(0)",
        "def double(x):\n    import os\n    os._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
        "import ctypes\nctypes.string_at(0)",
        "print('passed', flush=True)\nimport os\nos._exit(0)",
        "import os\nfor fd in range(1, 30):\n    try:\n        os.write(fd, b'\\n' + b'0' * 32)\n    except OSError:\n"
        "        pass\nos._exit(0)",
        "import atexit, sys\natexit.register(print, 'passed')\nsys.exit(0)",
        "import os\nos.execv('/bin/true', ['true'])",
    ],
)
def test_leaving_before_the_tests_are_through_is_no_success(code):
    assert not outcome(code).passed


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["while True: pass", "import time\ntime.sleep(60)", "while True:\n    try: 1 / 0\n    except: 1"]
)
def test_what_does_not_end_is_ended_on_time(code):
    started = time.monotonic()
    assert outcome(code, seconds=1).timed_out
    assert time.monotonic() - started < 20


def test_not_one_process_or_thread_can_be_added():
    assert outcome("import os\nwhile True:\n    os.fork()").error == "BlockingIOError"
    assert outcome("import threading\nthreading.Thread(target=print).start()").error == "RuntimeError"
    assert outcome("import os\ntry:\n    os.setresuid(0, 0, 0)\nfinally:\n    os.fork()").error == "BlockingIOError"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_there_is_all_the_same_ends_with_the_run(monkeypatch, tmp_path):
    replace_in_child(monkeypatch, tmp_path, "(resource.RLIMIT_NPROC, (0, 0)),", "")
    fork = "import os, time\npid = os.fork()\nif not pid:\n    os.closerange(0, 32)\n    time.sleep(60)\n"
    done = outcome(fork + "print(pid, flush=True)\n" + RIGHT)
    assert done.passed
    until = time.monotonic() + 20
    while alive := is_alive(int(done.output)):
        if time.monotonic() > until:
            os.kill(int(done.output), signal.SIGKILL)
            break
        time.sleep(0.01)
    assert not alive


def test_32_files_can_be_open():
    assert outcome("import os\nfiles = [open(os.devnull) for _ in range(20)]\n" + RIGHT).passed
    many = outcome("import os\nfiles = [open(os.devnull) for _ in range(32)]\n" + RIGHT)
    assert (many.error, "Too many open files" in many.message) == ("OSError", True)


def test_the_processor_time_is_limited_in_case_nobody_is_left_to_watch_the_clock():
    limit = "import resource\nassert resource.getrlimit(resource.RLIMIT_CPU) == (30, 31)\n"
    assert outcome(limit + RIGHT, seconds=29.5).passed


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold a limit of address space")
@pytest.mark.parametrize("code", ["x = [0] * 10**10", "x = []\nwhile True:\n    x.append(bytes(10**6))"])
def test_a_memory_hog_gets_a_memory_error(code):
    assert outcome(code).error == "MemoryError"


def test_the_environment_is_empty_and_that_of_the_parent_out_of_reach(monkeypatch, fences):
    monkeypatch.setenv("PLANTED_SECRET", "hunter2")
    assert outcome("import os\nassert 'PLANTED_SECRET' not in os.environ, 'seen'\n" + RIGHT).passed
    if "files" in fences:
        for process in ("self", os.getpid()):
            assert outcome(f"open('/proc/{process}/environ').read()").error == "PermissionError"


def test_files_elsewhere_can_be_neither_written_nor_read(tmp_path, fences):
    if "files" not in fences:
        pytest.skip("no Landlock here")
    tmp_path.chmod(0o777)
    (tmp_path / "mine").write_text("mine")
    home = Path.home() if Path.home().is_dir() else Path("/")  # not every user of a machine has one
    for code in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(tmp_path / 'mine')!r})",
        f"import os\nos.remove({str(tmp_path / 'mine')!r})",
        f"import os\nos.truncate({str(tmp_path / 'mine')!r}, 0)",
        f"import os\nos.listdir({str(home)!r})",
    ):
        assert outcome(code).error == "PermissionError", code
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "mine"


def test_there_is_no_network_and_no_signal_to_others(fences):
    if "network" in fences:
        send = "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_{}).{}(('127.0.0.1', 9))"
        assert outcome(send.format("STREAM", "connect")).error in ("PermissionError", "OSError")
        assert outcome(send.format("DGRAM", "connect")).error == "OSError"
    if "signals" in fences:
        assert outcome(f"import os\nos.kill({os.getpid()}, 0)").error == "PermissionError"


def test_much_output_is_drained_and_cut():
    done = outcome("print('x' * 100_000_000)\n" + RIGHT)
    assert done.passed and len(done.output) <= 10_000
    assert outcome("open('a', 'wb').write(bytes(2 << 20))").error == "OSError"


def test_an_exception_with_a_message_from_hell_is_reported():
    assert outcome("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E").error == "E"
    assert outcome("raise ValueError('\\ud800')").message == "?"
    assert outcome("def double(:").error == "SyntaxError"


def test_a_machine_without_a_fence_is_named(caplog, monkeypatch, tmp_path):
    replace_in_child(monkeypatch, tmp_path, '_fences() if sys.platform == "linux" else []', "[]")
    assert outcome(RIGHT).passed
    assert [name for name in FENCES if f"fence around {name}" in caplog.text] == list(FENCES)


@pytest.mark.slow
def test_what_was_printed_before_an_exception_a_kill_or_the_end_of_time_is_kept():
    assert outcome("print('before')\nraise ValueError").output == "before\n"
    assert outcome(RIGHT, "print('tests')\nassert False").output == "tests\n"
    assert outcome("import os\nprint('before')\nos.kill(os.getpid(), 9)").output == "before\n"
    assert outcome("print('before')\nwhile True: pass", seconds=2.0).output == "before\n"
