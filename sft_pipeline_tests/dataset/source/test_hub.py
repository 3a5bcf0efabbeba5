"""A hub dataset, served by a hub on this machine; and what is said where there is none."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source.hub import HubRows
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import HubData

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CODE = f"""\
from pathlib import Path
from sft_pipeline.dataset import source
from sft_pipeline.experiment import HubData
Path("out").mkdir()
made = source.read(HubData(kind="hub", name="nobody/nothing", revision="{COMMIT}"), Path("."), Path("out"))
print(made.model_dump_json())
"""


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that loading one dataset at one commit asks for."""

    files: dict[str, bytes]

    def answer(self) -> None:
        path = self.path.partition("?")[0]
        api, resolve = "/api/datasets/nobody/nothing", f"/datasets/nobody/nothing/resolve/{COMMIT}/"
        name = path.removeprefix(resolve)
        if path == f"{api}/revision/{COMMIT}":
            siblings = [{"rfilename": file} for file in self.files]
            self.send(200, json.dumps({"id": "nobody/nothing", "sha": COMMIT, "siblings": siblings}).encode())
        elif path.startswith(f"{api}/tree/{COMMIT}"):
            folder = path.removeprefix(f"{api}/tree/{COMMIT}").strip("/")
            found = [(file, body) for file, body in self.files.items() if file.startswith(folder)]
            tree = [{"type": "file", "path": file, "size": len(body), "oid": COMMIT} for file, body in found]
            self.send(200, json.dumps(tree).encode())
        elif name in self.files:
            self.send(200, self.files[name], {"ETag": f'"{COMMIT}"', "X-Repo-Commit": COMMIT})
        else:
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound"})

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
def serve():
    servers = []

    def start(files: dict[str, bytes]) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"files": files})))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def load(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([sys.executable, "-c", CODE], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_hub_dataset_is_read_at_its_commit(serve, tmp_path):
    good = [{"prompt": f"p{n}", "completion": "c"} for n in range(2)]
    content = "".join(json.dumps(row) + "\n" for row in (*good, {"prompt": "p", "completion": None}))
    # A folder of the dataset's name, where the command runs, is not the dataset.
    (tmp_path / "nobody" / "nothing").mkdir(parents=True)
    (tmp_path / "nobody" / "nothing" / "data.jsonl").write_text('{"prompt": "not from", "completion": "the hub"}')
    result = load(tmp_path, HF_ENDPOINT=serve({"train.jsonl": content.encode()}))
    assert result.returncode == 0, result.stderr
    made = json.loads(result.stdout)
    rows = table.read_table(tmp_path / "out" / "rows.parquet")
    name = f"nobody/nothing@{COMMIT}:train"
    assert [(r["instruction"], r["source_file"], r["source_row"]) for r in rows] == [("p0", name, 1), ("p1", name, 2)]
    assert made["rejected"] == {"unreadable": 1}
    by_hand = "".join(json.dumps(json.loads(line), sort_keys=True) + "\n" for line in content.splitlines())
    assert made["source"].endswith(f"(sha256 of the rows as JSON lines {hashlib.sha256(by_hand.encode()).hexdigest()})")


@pytest.mark.slow
def test_code_in_a_dataset_repository_is_not_run(serve, tmp_path):
    script = b"from pathlib import Path\nPath('ran').touch()\n"
    result = load(tmp_path, HF_ENDPOINT=serve({"nothing.py": script, "train.jsonl": b'{"prompt": "a"}\n'}))
    assert "Dataset scripts are no longer supported" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_hub_dataset_offline_says_that_it_needs_the_network(tmp_path):
    result = load(tmp_path, HF_HUB_OFFLINE="1")
    assert "DataError: data.source: the hub dataset nobody/nothing@0123" in result.stderr
    assert "It needs the network" in result.stderr


def test_a_name_without_an_owner_is_no_hub_dataset():
    with pytest.raises(DataError, match="'json': a hub dataset is named owner/name"):
        HubRows(HubData(kind="hub", name="json", revision=COMMIT))
