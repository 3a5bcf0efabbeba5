"""Replies that an endpoint has given to a step that is under way, so that a killed one asks, and pays, only for the rest."""

import logging
import threading
from pathlib import Path

from sft_pipeline.provenance.journal import Journal

log = logging.getLogger(__name__)

FILE = "replies.jsonl"


class Replies:
    """Replies by address and hash of the request; a context manager, from any number of threads.

    They stand in the step's own folder, which goes when its result is stored: a later step asks again. Only replies are
    kept, no failures.
    """

    def __init__(self, folder: Path | None):
        """Read what a killed step has left in `folder`; with None nothing is read and nothing kept."""
        self._lock = threading.Lock()
        self._file = Journal(folder / FILE) if folder else None
        records = self._file.records if self._file else []
        self._replies = {(url, request): text for url, request, text in records}
        if self._replies:
            log.info("%d replies of the endpoint to an interrupted step are reused", len(self._replies))

    def get(self, url: str, request: str) -> str | None:
        """What `url` said to the killed step when asked this, by the hash of the request; None where it did not."""
        return self._replies.get((url, request))

    def add(self, url: str, request: str, text: str) -> None:
        """Keep a reply; it is on the disk when this returns."""
        if self._file:
            with self._lock:
                self._file.add([url, request, text])

    def __enter__(self) -> "Replies":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open: each reply is on the disk already."""
