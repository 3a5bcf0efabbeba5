"""JSON Lines: one object per line."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source.items import MAX_ROW_CHARACTERS, Item, JsonReader, too_long
from sft_pipeline.dataset.source.unreadable import Unreadable

_BLOCK = 1 << 20


def read_lines(path: Path) -> Iterator[Item]:
    """The rows of the file, numbered by their lines; lines of white space only are no rows.

    No more than one line of the greatest accepted length is held at a time, however long a line is.
    """
    json = JsonReader()
    with open(path, "rb") as stream:
        for number, line in enumerate(iter(partial(stream.readline, MAX_ROW_CHARACTERS + 1), b""), 1):
            if len(line) > MAX_ROW_CHARACTERS:
                length, last = len(line), line
                while not last.endswith(b"\n") and (last := stream.readline(_BLOCK)):
                    length += len(last)
                yield number, too_long(length, "bytes"), line[: table.MATCHED].decode(errors="replace")
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.isspace() or not line:
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                reason = Unreadable(f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start} of the line")
                yield number, reason, line[max(0, error.start - 100) :].decode(errors="backslashreplace")
                continue
            yield number, json.value(text), text
