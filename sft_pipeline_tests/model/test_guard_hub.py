"""A base model from a hub, served by a hub on this machine: pinned by commit, and refused before its weights come."""

import json
import os
import signal
import socket
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

from sft_pipeline.experiment import FolderBase, HubBase
from sft_pipeline.model import snapshot

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = """\
import json, sys
from pathlib import Path
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import HubBase
from sft_pipeline.model import snapshot
for revision in sys.argv[1:]:
    out, work = Path(revision, "out"), Path(revision, "work")
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        source = snapshot.pinned(HubBase(kind="hub", name="nobody/base", revision=revision))
        made = snapshot.take(source, Path("."), Path("cache"), out, work)
        print(json.dumps({**made.model_dump(mode="json"), "pinned": source.revision}))
    except ModelError as error:
        print(json.dumps(str(error)))
"""

BASE = {
    "config.json": json.dumps({"architectures": ["Some"], "vocab_size": 3}).encode(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "model.safetensors": save({"weight": np.zeros((4, 4), np.float32)}),
}
"""What a hub has of a base; fetching looks no further than into the names and the small files."""


class Hub(BaseHTTPRequestHandler):
    """What a hub answers to whoever fetches one model; branches are names of commits."""

    files: dict[str, dict[str, bytes]]  # by commit
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
            siblings = [{"rfilename": name} for name in self.files[commit]]
            return self.send(200, json.dumps({"id": "nobody/base", "sha": commit, "siblings": siblings}).encode())
        if path.startswith("/api/models/nobody/base/tree/"):
            files = self.files[path.removeprefix("/api/models/nobody/base/tree/")]
            tree = [{"type": "file", "path": n, "size": len(b), "oid": COMMIT} for n, b in files.items()]
            return self.send(200, json.dumps(tree).encode())
        commit, _, name = path.removeprefix("/nobody/base/resolve/").partition("/")
        if name in self.files.get(commit, ()):
            headers = {"ETag": f'"{hash(name):x}"', "X-Repo-Commit": commit}
            return self.send(200, self.files[commit][name], headers, hangs=name == self.hangs_at)
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
def hub():
    """Serves revisions with their files; gives the kind of its answers and its address."""
    servers = []

    def start(**revisions: dict[str, bytes]):
        commits = {name: COMMIT[:-1] + str(number) for number, name in enumerate(revisions)}
        fields = {
            "branches": commits | {commit: commit for commit in commits.values()},
            "files": {commits[name]: files for name, files in revisions.items()},
            "asked": [],
            "hangs": threading.Event(),
        }
        kind = type("Served", (Hub,), fields)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), kind))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return kind, f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetching(folder: Path, address: str, *revisions: str) -> subprocess.Popen:
    """The process that fetches revisions from the hub at `address` into folder/REVISION/out.

    It prints a line for each: what was made, or why it is refused. One process, for each has to load the library.
    """
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": address, "OMP_NUM_THREADS": "1"}
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"  # the library would ask the hub about itself first
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment.pop(name, None)
    arguments = [sys.executable, "-c", CODE, *revisions]
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fetched(*arguments) -> list:
    """What `fetching` says of each revision."""
    process = fetching(*arguments)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.slow
def test_a_branch_is_resolved_to_its_commit_which_is_recorded(hub, tmp_path):
    unused = ("pytorch_model.bin", "modeling.py", "consolidated.safetensors", "fp16/model.safetensors")
    kind, address = hub(main=BASE | dict.fromkeys(unused, b"not to be taken"), later=BASE)
    first, later = kind.files
    (made,) = fetched(tmp_path / "before", address, "main")
    assert made["revision"] == made["pinned"] == first and made["source"] == "nobody/base"
    assert {p.name for p in Path(tmp_path, "before", "main", "out").iterdir()} == set(BASE)
    # The branch moves on: another commit is recorded, and the commit of before is still fetched by its own name.
    kind.branches["main"] = later
    kind.asked.clear()
    moved, pinned = fetched(tmp_path / "after", address, "main", first)
    assert moved["revision"] == moved["pinned"] == later and pinned["revision"] == first
    paths = [path for path in kind.asked if "/resolve/" in path]
    assert {path.split("/resolve/")[1].partition("/")[0] for path in paths} == {first, later}


def test_for_a_source_that_cannot_move_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(snapshot, "_info", pytest.fail)
    for source in (HubBase(kind="hub", name="nobody/base", revision=COMMIT), FolderBase(kind="folder", path=".")):
        assert snapshot.pinned(source) == source


@pytest.mark.slow
def test_a_killed_fetch_fetches_no_complete_file_again(hub, tmp_path):
    shards = {f"{name}.safetensors": save({name: np.zeros((4, 4), np.float32)}) for name in ("first", "second")}
    index = json.dumps({"weight_map": {"first": "first.safetensors", "second": "second.safetensors"}}).encode()
    small = {name: body for name, body in BASE.items() if name != "model.safetensors"}
    kind, address = hub(main={**small, **shards, "model.safetensors.index.json": index})
    kind.hangs_at = "second.safetensors"
    process = fetching(tmp_path, address, "main")
    assert kind.hangs.wait(300)
    out, work = tmp_path / "main" / "out", tmp_path / "main" / "work"
    for _ in range(600):
        if any(path.stat().st_size for path in work.rglob("first.safetensors.metadata")):
            break  # written behind the file: only now the library knows that it is whole
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not any(out.iterdir())
    kind.hangs_at = None
    kind.asked.clear()
    (made,) = fetched(tmp_path, address, "main")
    assert made["parameters"] == 32
    paths = [path for path in kind.asked if path.startswith("GET") and "/resolve/" in path]
    assert [path.rpartition("/")[2] for path in paths] == ["second.safetensors"]
    assert {p.name: p.read_bytes() for p in out.iterdir()} == next(iter(kind.files.values()))


@pytest.mark.slow
def test_a_hub_that_is_not_reached_or_says_nothing_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    with socket.socket() as silent, socket.socket() as closed:
        for server in (silent, closed):
            server.bind(("127.0.0.1", 0))
        silent.listen()
        for server, revisions in [(silent, ["main"]), (closed, ["main", COMMIT])]:
            said = fetched(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}", *revisions)
            for revision, text in zip(revisions, said, strict=True):
                assert text.startswith(f"nobody/base@{revision} cannot be fetched") and "needs the network" in text


@pytest.mark.slow
def test_what_is_refused_is_refused_before_any_weights_come(hub, tmp_path):
    weightless = {name: body for name, body in BASE.items() if name != "model.safetensors"}
    quantized = b'{"vocab_size": 3, "quantization_config": {"quant_method": "gptq"}}'
    cases = {
        "pickled": (weightless | {"pytorch_model.bin": b"x"}, "only pickled weights (pytorch_model.bin)"),
        "empty": (weightless, "no weights"),
        "code": (BASE | {"config.json": b'{"auto_map": {"AutoModel": "evil.Model"}}'}, "remote code (auto_map)"),
        "reader": (BASE | {"tokenizer_config.json": b'{"auto_map": {}}'}, "tokenizer_config.json asks for remote code"),
        "stored": (BASE | {"config.json": quantized}, "quantization_config (method gptq)"),
        "cut": (
            BASE | {"model.safetensors.index.json": b'{"weight_map": {"a": "s.safetensors"}}'},
            "first s.safetensors",
        ),
    }
    kind, address = hub(**{revision: files for revision, (files, _) in cases.items()})
    said = fetched(tmp_path, address, *cases, "nowhere")
    messages = [message for _, message in cases.values()] + ["its name and revision must exist"]
    for text, message in zip(said, messages, strict=True):
        assert isinstance(text, str) and message in text
    assert kind.asked and not [path for path in kind.asked if path.endswith((".safetensors", ".bin"))]
