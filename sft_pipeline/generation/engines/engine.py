"""What an engine is."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Generation
from sft_pipeline.model.completion import Completion
from sft_pipeline.model.score import Scored
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance.hashing import hash_file, hash_value


class Engine(ABC):
    """One loaded base model that answers with or without an adapter.

    The same decoding gives the same answers by every engine, up to the last bits of the arithmetic: stop strings, limits,
    the end of sequence and what is counted are decided by `model.completion`.
    """

    name: ClassVar[str]
    by_length: ClassVar[bool]
    """Whether chunks should hold prompts of similar length."""
    tokenizer: CleanTokenizer

    @staticmethod
    @abstractmethod
    def versions() -> dict[str, str]:
        """Versions of the libraries that decide what comes out."""

    @abstractmethod
    def chunk(self, decoding: Generation) -> int:
        """Prompts to hand over at once, so that nothing is lost against handing over all of them."""

    def answer(
        self,
        prompts: Sequence[str],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`, which are rendered; otherwise as `complete`."""
        encoded = self.tokenizer.encode_all(prompts)
        return self.complete(encoded, decoding, adapter=adapter, batch_size=batch_size)

    @abstractmethod
    def complete(
        self,
        prompts: Sequence[list[int]],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`.

        Args:
            prompts: token ids.
            decoding: limits, stop strings and sampling.
            adapter: folder of the adapter; None is the base model.
            batch_size: prompts that are computed together, where it should be another number than usual.

        Raises:
            ModelError: a prompt or the adapter cannot be used.
        """

    @abstractmethod
    def score(
        self, rows: Sequence[tuple[list[int], list[int]]], batch_size: int, *, adapter: Path | None = None
    ) -> list[Scored]:
        """How likely the model finds given continuations.

        Args:
            rows: token ids of context and continuation, neither empty, together at most `longest_scored`.
            batch_size: sequences that are computed together.
            adapter: folder of the adapter; None is the base model.

        Raises:
            ModelError: the adapter cannot be used, or a log-probability is not finite.
        """

    @property
    @abstractmethod
    def context(self) -> int | None:
        """Longest sequence of the model in tokens; None where the architecture has no such limit."""

    @property
    @abstractmethod
    def longest_scored(self) -> int | None:
        """Most tokens of a context with its continuation that `score` takes; None without a limit."""

    @abstractmethod
    def close(self) -> None:
        """Free the device; the engine answers no more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def adapter_content(folder: Path) -> str:
    """Hash of what an adapter's folder holds: the same path may hold another adapter later.

    Raises:
        ModelError: there is no adapter in the folder.
    """
    files = [folder / "adapter_config.json", folder / "adapter_model.safetensors"]
    if missing := [path.name for path in files if not path.is_file()]:
        raise ModelError(f"{folder} is not an adapter: {' and '.join(missing)} missing.")
    return _content(tuple((path, (s := path.stat()).st_ino, s.st_mtime_ns, s.st_size) for path in files))


@lru_cache(maxsize=64)
def _content(files: tuple[tuple[Path, int, int, int], ...]) -> str:
    """Hash of files that are read again only once they have changed: it is asked for with every batch of prompts."""
    return hash_value([hash_file(path) for path, *_ in files])


def adapter_config(folder: Path) -> dict:
    """The adapter's own configuration."""
    return json.loads((folder / "adapter_config.json").read_text())
