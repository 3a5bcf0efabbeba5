"""A hub on this machine that speaks as much of the Hugging Face hub's protocol as a push needs: git files, LFS, one commit."""

import base64
import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_planted"


class Hub(ThreadingHTTPServer):
    """The server with its repositories: branch → name → content; a commit's id is the hash of what it holds."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.branches: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.private: bool | None = None  # None: there is no repository
        self.blobs: dict[str, bytes] = {}
        self.uploads = 0
        self.asked: list[str] = []
        self.fails: dict[str, int] = {}  # beginning of "METHOD /path" → status
        self.breaks_at = ""  # beginning of "METHOD /path" whose connection breaks in the middle
        self.damages = ""  # name of a file that is stored otherwise than it came
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def answer(self) -> None:
        hub, path = self.server, unquote(self.path.partition("?")[0])
        asked = f"{self.command} {path}"
        hub.asked.append(asked)
        length = int(self.headers.get("Content-Length") or 0)
        if hub.breaks_at and asked.startswith(hub.breaks_at):
            self.rfile.read(min(length, 10))
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = self.rfile.read(length) if length else self.chunked()
        for beginning, status in hub.fails.items():
            if asked.startswith(beginning):
                self.send(status, {"error": "no"}, {"Retry-After": "1"} if status == 429 else {})
                return
        if not path.startswith("/blobs/") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send(401, {"error": "Invalid credentials"})
            return
        self.route(path, body)

    def chunked(self) -> bytes:
        found = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return found

    def route(self, path: str, body: bytes) -> None:
        hub, api = self.server, "/api/models/me/model"
        if path == "/api/repos/create":
            if hub.private is not None:
                self.send(409, {"error": "You already created this model repo", "url": f"{hub.address}/me/model"})
                return
            hub.private = json.loads(body).get("visibility") == "private"
            hub.branches["main"] = {".gitattributes": b"* text\n", "old.txt": b"of before"}
            self.send(200, {"url": f"{hub.address}/me/model", "id": "me/model"})
        elif hub.private is None:
            self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": []})
        elif path == api:
            siblings = [{"rfilename": name} for name in hub.branches["main"]]
            self.send(200, {"id": "me/model", "private": hub.private, "sha": "0" * 40, "siblings": siblings})
        elif path.startswith(f"{api}/branch/"):
            hub.branches.setdefault(path.removeprefix(f"{api}/branch/"), dict(hub.branches["main"]))
            self.send(200, {})
        elif path.startswith(f"{api}/tree/"):
            revision = path.removeprefix(f"{api}/tree/")
            files = hub.commits.get(revision) or hub.branches.get(revision) or {}
            self.send(200, [entry(name, content) for name, content in files.items()])
        elif path.startswith(f"{api}/preupload/"):
            asked = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in asked]
            self.send(200, {"files": modes})
        elif path == "/me/model.git/info/lfs/objects/batch":
            objects = []
            for wanted in json.loads(body)["objects"]:
                found = {"oid": wanted["oid"], "size": wanted["size"]}
                if wanted["oid"] not in hub.blobs:
                    found["actions"] = {"upload": {"href": f"{hub.address}/blobs/{wanted['oid']}"}}
                objects.append(found)
            self.send(200, {"transfer": "basic", "objects": objects})
        elif path.startswith("/blobs/"):
            hub.uploads += 1
            hub.blobs[path.removeprefix("/blobs/")] = body
            self.send(200, {})
        elif path.startswith(f"{api}/commit/"):
            self.commit(path.removeprefix(f"{api}/commit/"), body)
        else:
            self.send(404, {"error": f"nothing at {path}"})

    def commit(self, revision: str, body: bytes) -> None:
        hub = self.server
        files = dict(hub.branches[revision])
        for line in body.splitlines():
            said = json.loads(line)
            value = said["value"]
            if said["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif said["key"] == "lfsFile":
                files[value["path"]] = hub.blobs[value["oid"]]
            elif said["key"] == "deletedFile":
                del files[value["path"]]
        if hub.damages:
            files[hub.damages] += b"!"
        oid = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        hub.branches[revision], hub.commits[oid] = files, files
        url = f"{hub.address}/me/model/commit/{oid}"
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for header, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_POST = do_PUT = answer


def mode(name: str) -> str:
    return "lfs" if name.endswith((".safetensors", ".png")) else "regular"


def entry(name: str, content: bytes) -> dict:
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found = {"type": "file", "path": name, "size": len(content), "oid": oid}
    if mode(name) == "lfs":
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return found
