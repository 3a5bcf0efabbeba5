"""Small files that are read by the next process: whole, whenever this one is killed."""

import os
from pathlib import Path

from sft_pipeline.provenance.durable import flush


def write(path: Path, text: str) -> None:
    """Put `text` in the place of what `path` holds: whoever reads finds the one or the other, never a part of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    flush(temporary)
    os.replace(temporary, path)
