"""What the tests of reading share: a folder with files, and what was read from it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import source, table
from sft_pipeline.experiment import FileData


class Reader:
    """Writes files into a folder, reads them, and gives their rows back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = 0

    def __call__(self, content: bytes | str, name: str = "data.jsonl", **spec) -> InstructionDataset:
        self.put(name, content)
        return self.file(name, **spec)

    def put(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def out(self) -> Path:
        self.runs += 1
        out = self.folder / f"out{self.runs}"
        out.mkdir()
        return out

    def file(self, path: str, *, test=None, benchmarks=None, max_unreadable_share=None, **spec) -> InstructionDataset:
        return source.read(
            FileData(kind="file", path=path, **spec),
            self.folder,
            self.out(),
            test=test,
            benchmarks=benchmarks,
            max_unreadable_share=max_unreadable_share,
        )


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


@pytest.fixture
def rows() -> Callable[[InstructionDataset], list[dict]]:
    return lambda dataset: table.read_table(dataset.path(dataset.ROWS))


@pytest.fixture
def rejected() -> Callable[[InstructionDataset], list[dict]]:
    return lambda dataset: table.read_table(dataset.path(dataset.REJECTED))


@pytest.fixture
def lines() -> Callable[..., str]:
    """The values as JSON Lines."""
    return lambda *values: "".join(json.dumps(value) + "\n" for value in values)
