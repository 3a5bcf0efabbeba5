"""Pages of the store reach the browser of whoever has the link, and nothing else does."""

import http.client
import socket
import stat
import threading

import pytest

from sft_pipeline.errors import StoreError
from sft_pipeline.report.page_server import TOKEN, address, server


@pytest.fixture
def store(tmp_path):
    """A folder with spaces in its name and a page, weights and a link in it."""
    root = tmp_path / "my own store"
    files = root / "objects" / "gate_report" / "0a1b" / "files"
    files.mkdir(parents=True)
    (files / "gate.html").write_text("<p>verdict</p>")
    (files / "a ü.html").write_text("<p>other</p>")
    (files / "rows.parquet").write_bytes(b"secret")
    (root / "secret.html").write_text("secret")
    (files / "link.html").symlink_to(root / "secret.html")
    return root


@pytest.fixture
def served(store):
    """Asks the running server: path and headers in, status and body out."""
    pages = server(store, 0)
    threading.Thread(target=pages.serve_forever, args=[0.01], daemon=True).start()

    def ask(path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", pages.server_port, timeout=10)
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    yield ask
    pages.shutdown()
    pages.server_close()


def test_a_page_opens_by_its_link(store, served):
    base = address(store).removeprefix("http://127.0.0.1:3001")
    status, body, headers = served(f"{base}/gate_report/0a1b/files/gate.html?x=1#y")
    assert (status, body, headers["Referrer-Policy"]) == (200, b"<p>verdict</p>", "no-referrer")
    assert served(f"{base}/gate_report/0a1b/files/a%20%C3%BC.html")[:2] == (200, b"<p>other</p>")
    for host in ("localhost", "localhost:3001", "[::1]:3001"):
        assert served(f"{base}/gate_report/0a1b/files/gate.html", Host=host)[0] == 200


def test_nothing_but_pages_is_served_and_nothing_without_the_token(store, served):
    base = address(store).removeprefix("http://127.0.0.1:3001")
    page = "/gate_report/0a1b/files/gate.html"
    for path in (
        *("", "/", page, f"/x{page}", f"{base[:-1]}{page}", "/../" + TOKEN, f"/%00{page}"),
        *(f"{base}{rest}" for rest in ("", "/", "/gate_report", "/gate_report/0a1b/files/", "/gate_report/0a1b/files")),
        f"{base}/gate_report/0a1b/files/rows.parquet",
        f"{base}/gate_report/0a1b/files/link.html",
        f"{base}/gate_report/0a1b/files/missing.html",
        f"{base}/gate_report/0a1b/files/../../../../secret.html",
        f"{base}/gate_report/0a1b/files/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret.html",
        f"{base}/gate_report/0a1b/files//etc/passwd.html",
        f"{base}/gate_report/0a1b/files/{'x' * 300}.html",
        f"{base}/gate_report/0a1b/files/a%00.html",
    ):
        status, body, _ = served(path)
        assert status == 404 and b"secret" not in body, path
    for host in ("evil.example", "evil.example:3001", "127.0.0.1.evil.example", ""):
        assert served(f"{base}{page}", Host=host)[0] == 403, host


def test_the_token_stays_and_is_the_owners_alone(store):
    assert address(store) == address(store, 3001) and len(address(store).rpartition("/")[2]) >= 32
    assert stat.S_IMODE((store / TOKEN).stat().st_mode) == 0o600


def test_a_port_that_is_taken_is_an_error_and_so_is_a_store_that_cannot_be_written(store, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StoreError, match=rf"port {port} .*cannot be opened.*--pages-port"):
            server(store, port)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="holds the token"):
        address(tmp_path / "file")
