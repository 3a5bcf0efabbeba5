"""Serves the pages of a review on this machine, one link per rater, and stores answers in SQLite as they come."""

import hmac
import json
import secrets
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from sft_pipeline.artifacts import ReviewKey
from sft_pipeline.report.page_server import LocalHandler, listen
from sft_pipeline.report.review import html
from sft_pipeline.review.make import texts_of
from sft_pipeline.review.returned import DATABASE, TaskAnswer, served

LARGEST = 64 << 10
"""Bytes of one answer: a note of 4,000 characters, however they are encoded."""

_TABLES = """
CREATE TABLE IF NOT EXISTS links (rater TEXT PRIMARY KEY, token TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
  request TEXT, rater TEXT, task TEXT, answer TEXT, at TEXT, PRIMARY KEY (request, rater, task));
"""


def links(key: ReviewKey, folder: Path) -> dict[str, str]:
    """The secret part of each rater's address, made once for a folder of returned answers."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.executescript(_TABLES)
        (folder / DATABASE).chmod(0o600)
        for rater in key.tasks:
            database.execute("INSERT OR IGNORE INTO links VALUES (?, ?)", (rater, secrets.token_urlsafe(18)))
        stored = dict(database.execute("SELECT rater, token FROM links"))
    return {rater: stored[rater] for rater in key.tasks}


def server(key: ReviewKey, folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of the pages, bound to the loopback interface; `serve_forever` runs it.

    Args:
        key: the request.
        folder: of the returned answers; the database lies there.
        port: 0 for any that is free.

    Raises:
        StoreError: the port is taken.
    """
    tokens = links(key, folder)
    path = folder / DATABASE

    class Pages(LocalHandler):
        def do_GET(self) -> None:
            """Send a rater's page with what is stored of it."""
            if not self.from_here():
                return
            if (rater := _rater(tokens, self.path)) is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            stored = served(key, path).get(rater)
            saved = {t: a.model_dump(exclude_defaults=True) for t, a in stored.answers.items()} if stored else {}
            self.reply(html.page(key, rater, texts_of(key, rater), saved).encode())

        def do_POST(self) -> None:
            """Store an answer; null takes it back."""
            if not self.from_here():
                return
            rater = _rater(tokens, self.path.removesuffix("/answers")) if self.path.endswith("/answers") else None
            origin = self.headers.get("Origin")
            if rater is None or (origin and urlsplit(origin).netloc != self.headers.get("Host")):
                self.send_error(HTTPStatus.NOT_FOUND if rater is None else HTTPStatus.FORBIDDEN)
                return
            try:
                size = int(self.headers.get("Content-Length") or "")
                if not 0 < size <= LARGEST:
                    raise ValueError
                given = json.loads(self.rfile.read(size))
                task, answer = given["task"], given["answer"]
                if task not in {t.task for t in key.tasks[rater]}:
                    raise ValueError
                text = None if answer is None else TaskAnswer.model_validate(answer).model_dump_json()
            except (ValueError, KeyError, TypeError, ValidationError, RecursionError):
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            _store(path, key.request, rater, task, text)
            self.reply(b"stored")

    return listen(Pages, port, "the review", "sft-pipeline review serve DIR --port 3003")


def _rater(tokens: dict[str, str], path: str) -> str | None:
    """Whose page an address names: `/<token>`."""
    given = urlsplit(path).path.removeprefix("/")
    return next((rater for rater, token in tokens.items() if hmac.compare_digest(given.encode(), token.encode())), None)


def _store(path: Path, request: str, rater: str, task: str, answer: str | None) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        if answer is None:
            database.execute("DELETE FROM answers WHERE (request, rater, task) = (?, ?, ?)", (request, rater, task))
        else:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            database.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (request, rater, task, answer, now)
            )
