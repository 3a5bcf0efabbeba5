"""A base model from a hub, served by a hub on this machine: pinned by commit, and refused before its weights come."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOVED = "89abcdef0123456789abcdef0123456789abcdef"
CODE = """\
import sys
from pathlib import Path
from sft_pipeline.experiment import HubBase
from sft_pipeline.model import snapshot
source = snapshot.pinned(HubBase(kind="hub", name="nobody/base", revision=sys.argv[1]))
out, work = Path("out"), Path("work"); out.mkdir(exist_ok=True); work.mkdir(exist_ok=True)
print(snapshot.take(source, Path("."), Path("cache"), out, work).model_dump_json())
"""


class Hub(BaseHTTPRequestHandler):
    """What a hub answers to whoever fetches one model; branches are names of commits."""

    files: dict[str, bytes]
    branches: dict[str, str]
    asked: list[str]
    hangs_at: str | None = None  # name of a file whose answer never comes to its end
    hangs: threading.Event

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        api = "/api/models/nobody/base/revision/"
        if path.startswith(api):
            commit = self.branches.get(path.removeprefix(api))
            if commit is None:
                return self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": name} for name in self.files]
            return self.send(200, json.dumps({"id": "nobody/base", "sha": commit, "siblings": siblings}).encode())
        if path.startswith("/api/models/nobody/base/tree/"):
            tree = [{"type": "file", "path": n, "size": len(b), "oid": COMMIT} for n, b in self.files.items()]
            return self.send(200, json.dumps(tree).encode())
        commit, _, name = path.removeprefix("/nobody/base/resolve/").partition("/")
        if commit in self.branches.values() and name in self.files:
            headers = {"ETag": f'"{hash(name):x}"', "X-Repo-Commit": commit}
            return self.send(200, self.files[name], headers, hangs=name == self.hangs_at)
        return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, hangs: bool = False) -> None:
        self.send_response(status)
        for header, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if hangs:
            self.hangs.set()
            with suppress(ConnectionError):
                self.rfile.read()  # until the other side has gone
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_HEAD = answer


@pytest.fixture
def hub(toy_base):
    """Serves the toy base: further files, files that are missing, the commit of `main`; gives the kind of its answers."""
    servers = []

    def start(more: dict[str, bytes] | None = None, without: tuple[str, ...] = (), commit: str = COMMIT):
        files = {p.name: p.read_bytes() for p in toy_base.root.iterdir()} | (more or {})
        files = {name: body for name, body in files.items() if name not in without}
        branches = {"main": commit, commit: commit}
        fields = {"files": files, "branches": branches, "asked": [], "hangs": threading.Event()}
        kind = type("Served", (Hub,), fields)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), kind))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return kind, f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetching(folder: Path, address: str, revision: str) -> subprocess.Popen:
    """The process that fetches the base from the hub at `address` into folder/out."""
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": address, "OMP_NUM_THREADS": "1"}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    arguments = [sys.executable, "-c", CODE, revision]
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def take(hub, tmp_path):
    """Fetches the toy base from a hub of its own: exit code, what it printed, the folder, and what it asked for."""
    folders = iter(range(9))

    def start(revision: str, more: dict[str, bytes] | None = None, without: tuple[str, ...] = (), commit: str = COMMIT):
        kind, address = hub(more, without, commit)
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        process = fetching(folder, address, revision)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr), folder, kind.asked

    return start


def test_a_branch_is_resolved_to_its_commit_which_is_recorded(take, toy_base):
    unused = ("pytorch_model.bin", "modeling.py", "consolidated.safetensors", "fp16/model.safetensors")
    result, folder, _ = take("main", more={name: b"not to be taken" for name in unused})
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    assert made["revision"] == COMMIT and made["source"] == "nobody/base"
    assert {p.name for p in Path(folder, "out").iterdir()} == set(toy_base.files)
    # The branch has moved on: another commit is recorded, and the commit of before is still fetched by its own name.
    again, _, asked = take("main", commit=MOVED)
    assert json.loads(again.stdout)["revision"] == MOVED
    assert all(MOVED in path for path in asked if "/resolve/" in path)
    pinned, _, _ = take(COMMIT)
    assert json.loads(pinned.stdout)["revision"] == COMMIT


def test_a_killed_fetch_fetches_no_complete_file_again(hub, tmp_path):
    shards = {f"{name}.safetensors": save({name: np.zeros((4, 4), np.float32)}) for name in ("first", "second")}
    index = json.dumps({"weight_map": {"first": "first.safetensors", "second": "second.safetensors"}}).encode()
    kind, address = hub({**shards, "model.safetensors.index.json": index}, without=("model.safetensors",))
    kind.hangs_at = "second.safetensors"
    process = fetching(tmp_path, address, "main")
    assert kind.hangs.wait(60)
    for _ in range(600):
        if (tmp_path / "work" / "first.safetensors").is_file():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not any((tmp_path / "out").iterdir())
    kind.hangs_at = None
    kind.asked.clear()
    process = fetching(tmp_path, address, "main")
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    fetched = [path for path in kind.asked if path.startswith("GET") and "/resolve/" in path]
    assert [path.rpartition("/")[2] for path in fetched] == ["second.safetensors"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == kind.files


@pytest.mark.parametrize(
    ("revision", "more", "without", "message"),
    [
        ("main", {"pytorch_model.bin": b"x"}, ("model.safetensors",), "only pickled weights (pytorch_model.bin)"),
        ("main", {}, ("model.safetensors",), "no weights"),
        ("main", {"config.json": b'{"auto_map": {"AutoModel": "evil.Model"}}'}, (), "remote code (auto_map)"),
        ("main", {"tokenizer_config.json": b'{"auto_map": {}}'}, (), "tokenizer_config.json asks for remote code"),
        (
            "main",
            {"config.json": b'{"vocab_size": 3, "quantization_config": {"quant_method": "gptq"}}'},
            (),
            "quantization_config (method gptq)",
        ),
        (
            "main",
            {"model.safetensors.index.json": b'{"weight_map": {"a": "s.safetensors"}}'},
            (),
            "first s.safetensors",
        ),
        ("nowhere", {}, (), "its name and revision must exist"),
    ],
)
def test_what_is_refused_is_refused_before_any_weights_come(take, revision, more, without, message):
    result, _, asked = take(revision, more, without)
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1 and "ModelError" in result.stderr and message in result.stderr, last
    assert not [path for path in asked if path.endswith((".safetensors", ".bin"))]
