"""`sft-pipeline ui`: web server, daemon, code server and page server, for this machine alone."""

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


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["Ctrl-C", "kill"])
def test_nothing_of_it_listens_beyond_this_machine_and_ctrl_c_or_kill_ends_all_of_it(place, command, tmp_path, ending):
    port, pages = free_port(), free_port()
    place = place | {"SFT_PIPELINE_STORE": str(tmp_path / "my own store")}
    page = tmp_path / "my own store" / "objects" / "gate_report" / "0a1b" / "files" / "gate.html"
    page.parent.mkdir(parents=True)
    page.write_text("verdict")
    with open(tmp_path / "log", "w") as log:
        ui = subprocess.Popen(
            command("ui", "--port", str(port), "--pages-port", str(pages)),
            env=place,
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in a script's background
        )
    try:
        until = time.monotonic() + 500
        while status(f"http://127.0.0.1:{port}/server_info") != 200:
            assert ui.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
            time.sleep(1)
        tree = [psutil.Process(ui.pid), *psutil.Process(ui.pid).children(recursive=True)]
        assert len(tree) >= 4 and beyond_loopback(tree) == []
        token = (tmp_path / "my own store" / "pages.token").read_text()
        assert status(f"http://127.0.0.1:{pages}/{token}/gate_report/0a1b/files/gate.html") == 200
        assert status(f"http://127.0.0.1:{pages}/gate_report/0a1b/files/gate.html") == 404
        assert not (tmp_path / "my").exists()
        if ending == "kill":
            ui.terminate()
        else:
            for process in tree:
                process.send_signal(signal.SIGINT)  # as a terminal does at Ctrl-C
        ui.wait(300)
        assert psutil.wait_procs(tree, timeout=100)[1] == []
    finally:
        if ui.poll() is None:
            for process in psutil.Process(ui.pid).children(recursive=True):
                process.kill()
            ui.kill()


def test_a_port_that_a_stranger_holds_is_an_error(place, command):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        done = subprocess.run(
            command("ui", "--pages-port", str(port)), env=place, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 2 and f"port {port} of this machine" in done.stderr
