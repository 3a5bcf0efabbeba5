"""`sft-pipeline ui`: web server, daemon, code server and page server, for this machine alone."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import psutil
import pytest

from sft_pipeline_tests.sockets import beyond_loopback


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def status(url):
    """HTTP status of an address; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture
def ui(place, command, tmp_path):
    """Starts the UI, with a store of its own, in a session of its own; ends what is left of it."""
    started = []

    def start(port, pages):
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(
                command("ui", "--port", str(port), "--pages-port", str(pages)),
                env=place | {"SFT_PIPELINE_STORE": str(tmp_path / "my own store")},
                cwd=tmp_path,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in a script's background
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def tree(ui):
    """The process and all that it has started."""
    return [psutil.Process(ui.pid), *psutil.Process(ui.pid).children(recursive=True)]


@pytest.mark.slow
def test_nothing_of_it_listens_beyond_this_machine_and_kill_ends_all_of_it(ui, tmp_path):
    port, pages = free_port(), free_port()
    page = tmp_path / "my own store" / "objects" / "gate_report" / "0a1b" / "files" / "gate.html"
    page.parent.mkdir(parents=True)
    page.write_text("verdict")
    running, until = ui(port, pages), time.monotonic() + 500
    while status(f"http://127.0.0.1:{port}/server_info") != 200:
        assert running.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.2)
    all_of_it = tree(running)
    assert len(all_of_it) >= 4 and beyond_loopback(all_of_it) == []
    token = (tmp_path / "my own store" / "pages.token").read_text()
    assert status(f"http://127.0.0.1:{pages}/{token}/gate_report/0a1b/files/gate.html") == 200
    assert status(f"http://127.0.0.1:{pages}/gate_report/0a1b/files/gate.html") == 404
    assert not (tmp_path / "my").exists()
    running.terminate()
    running.wait(300)
    assert psutil.wait_procs(all_of_it, timeout=100)[1] == []


@pytest.mark.slow
def test_ctrl_c_ends_all_of_it_also_while_it_starts(ui, tmp_path):
    """A terminal's Ctrl-C reaches every process; most of these have just begun to import Dagster."""
    running, until = ui(free_port(), free_port()), time.monotonic() + 500
    while len(all_of_it := tree(running)) < 4:
        assert running.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    running.wait(300)
    assert psutil.wait_procs(all_of_it, timeout=100)[1] == []
    left = [p for p in psutil.process_iter() if p.pid != running.pid and session(p.pid) == running.pid]
    assert psutil.wait_procs(left, timeout=100)[1] == []


def session(pid):
    """The session of a process; None where it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def test_a_port_that_a_stranger_holds_is_an_error(place, command):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = subprocess.run(
            command("ui", "--pages-port", str(port)), env=place, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 2 and f"port {port} of this machine" in done.stderr
