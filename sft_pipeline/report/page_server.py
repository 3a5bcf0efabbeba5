"""Serves the stored pages and those of the experiments, and nothing else, to browsers on this machine.

Other users of the machine reach a loopback port, too, while the store's folders may be closed to them; so every address
holds a token that only the store's owner can read. Dagster's UI, which shows the links, should be as closed as the pages
are. A page cannot act in the UI's name: it comes from a port of its own.
"""

import hmac
import os
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.store import Store

PORT = 3001

TOKEN = "pages.token"
"""File in the store with the token of its pages' addresses; to change it, remove the file."""

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}


def address(store: Path, port: int = PORT) -> str:
    """The address under which the pages of the local store lie, followed by `/<asset>/<address>/files/<page>`,
    or by `/experiments/<name>.html`.

    Raises:
        StoreError: the token can neither be read nor made.
    """
    return f"http://127.0.0.1:{port}/{_token(store)}"


def _token(store: Path) -> str:
    path = store / TOKEN
    try:
        store.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(handle, "w") as file:
            file.write(token := secrets.token_urlsafe(24))
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; it holds the token of the pages' addresses.") from error
    return token


def server(store: Path, port: int = PORT) -> ThreadingHTTPServer:
    """A server of the pages of the local store, bound to the loopback interface; `serve_forever` runs it.

    Raises:
        StoreError: the port is taken: links would lead to a stranger's server.
    """
    token = _token(store)

    class Pages(LocalHandler):
        def do_GET(self) -> None:
            """Send a page."""
            # The code location serves pages, too, and shall not load every specification's schema for it.
            from sft_pipeline.report.experiment import sheet

            if self.from_here():
                path = _path(store, token, self.path)
                page = path and sheet.served(Store(store), path)
                if page:
                    self.reply(page)
                else:
                    self.send_error(HTTPStatus.NOT_FOUND)

    return listen(Pages, port, "the stored pages", "sft-pipeline ui --pages-port 3002")


class LocalHandler(BaseHTTPRequestHandler):
    """Answers browsers on this machine, and logs nothing: an address is a secret."""

    def from_here(self) -> bool:
        """Whether the request names this machine; otherwise, as from a site that resolves to it, it is refused."""
        host = self.headers.get("Host") or ""
        if (host.rpartition(":")[0] or host) in ("127.0.0.1", "localhost", "[::1]"):
            return True
        self.send_error(HTTPStatus.FORBIDDEN)
        return False

    def reply(self, content: bytes) -> None:
        """Send a page."""
        self.send_response(HTTPStatus.OK)
        for header, value in {**HEADERS, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def listen(handler: type[LocalHandler], port: int, what: str, instead: str) -> ThreadingHTTPServer:
    """A server on the loopback interface.

    Args:
        handler: answers the requests.
        port: 0 for any that is free.
        what: is served, for the error.
        instead: a command with another port, for the error.

    Raises:
        StoreError: the port is taken.
    """
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise StoreError(
            f"port {port} of this machine, which serves {what}, cannot be opened: {error.strerror}. End what uses it, or choose "
            f"another one: {instead}"
        ) from error


def _path(store: Path, token: str, path: str) -> list[str] | None:
    """The page that a request names: `/<token>/experiments/<name>.html`, or `/<token>/<asset>/<address>/files/<page>.html`, a
    file of the store's own."""
    given, *parts = unquote(urlsplit(path).path).removeprefix("/").split("/")
    if not hmac.compare_digest(given.encode(), token.encode()):
        return None
    if len(parts) == 2 and parts[0] == "experiments" and parts[1].endswith(".html"):
        return parts
    if len(parts) < 4 or parts[2] != "files" or not parts[-1].endswith(".html") or {"", ".", ".."} & set(parts):
        return None
    page = store.resolve().joinpath("objects", *parts)
    try:
        return parts if page.is_file() and page.resolve() == page else None
    except (OSError, ValueError):  # a name that the system does not take
        return None
