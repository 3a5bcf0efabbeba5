"""A base model from a hub, served by a hub on this machine: pinned by commit, and refused before its weights come."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MOVED = "89abcdef0123456789abcdef0123456789abcdef"
CODE = """\
import sys
from pathlib import Path
from sft_pipeline.experiment import HubBase
from sft_pipeline.model import snapshot
out = Path("out"); out.mkdir()
print(snapshot.take(HubBase(kind="hub", name="nobody/base", revision=sys.argv[1]), Path("."), Path("cache"), out).model_dump_json())
"""


class Hub(BaseHTTPRequestHandler):
    """What a hub answers to whoever fetches one model; branches are names of commits."""

    files: dict[str, bytes]
    branches: dict[str, str]
    asked: list[str]

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
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
            return self.send(200, self.files[name], {"ETag": f'"{hash(name):x}"', "X-Repo-Commit": commit})
        return self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_HEAD = answer


@pytest.fixture
def take(toy_base, tmp_path):
    """Fetches the toy base from a hub of its own: revision, further files, files that are missing."""
    servers = []

    def start(revision: str, more: dict[str, bytes] | None = None, without: tuple[str, ...] = (), commit: str = COMMIT):
        files = {p.name: p.read_bytes() for p in toy_base.root.iterdir()} | (more or {})
        files = {name: body for name, body in files.items() if name not in without}
        fields = {"files": files, "branches": {"main": commit, commit: commit}, "asked": []}
        kind = type("Served", (Hub,), fields)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), kind))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        folder = tmp_path / str(len(servers))
        folder.mkdir()
        address = f"http://127.0.0.1:{servers[-1].server_port}"
        environment = os.environ | {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": address, "OMP_NUM_THREADS": "1"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            environment.pop(name, None)
        result = subprocess.run(
            [sys.executable, "-c", CODE, revision], cwd=folder, env=environment, capture_output=True, text=True
        )
        return result, folder, kind.asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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
