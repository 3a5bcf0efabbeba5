"""The transformers engine: `generate` in this process, batched by length."""

from collections.abc import Sequence
from pathlib import Path

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.experiment import BaseModelSpec, Generation, Prompt
from sft_pipeline.generation.engines.engine import Engine, adapter_content
from sft_pipeline.model import generate, loader, score
from sft_pipeline.model.completion import Completion, context_length
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.provenance.environment import library_versions


class TransformersEngine(Engine):
    """The base model in this process, at times with an adapter on it."""

    name = "transformers"
    by_length = True

    def __init__(self, base: ModelSnapshot, spec: BaseModelSpec, prompt: Prompt | None = None):
        self.tokenizer = load_tokenizer(base.root, spec, prompt)
        self._model = loader.load_model(base.root, spec)
        self._content: str | None = None

    @staticmethod
    def versions() -> dict[str, str]:
        """Versions of the libraries that decide what comes out."""
        return loader.versions() | library_versions("peft")

    def chunk(self, decoding: Generation) -> int:
        """A batch: prompts that come ordered by length fall into the same batches either way."""
        return decoding.batch_size

    def complete(
        self,
        prompts: Sequence[list[int]],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`; see `Engine.complete`."""
        self._put_on(adapter)
        return generate.complete_ids(
            self._model,
            self.tokenizer,
            prompts,
            max_new_tokens=decoding.max_new_tokens,
            batch_size=batch_size or decoding.batch_size,
            stop=decoding.stop,
            sampling=decoding.sampling,
            logprobs=True,
        )

    def score(
        self, rows: Sequence[tuple[list[int], list[int]]], batch_size: int, *, adapter: Path | None = None
    ) -> list[score.Scored]:
        """How likely the model finds given continuations; see `Engine.score`."""
        self._put_on(adapter)
        return score.score(self._model, rows, self.tokenizer.inner.pad_token_id, batch_size)

    @property
    def context(self) -> int | None:
        """By the model's configuration."""
        return context_length(self._model.config)

    @property
    def longest_scored(self) -> int | None:
        """The last token is scored and not read."""
        return None if self.context is None else self.context + 1

    def close(self) -> None:
        """Let the model go."""
        self._model = None

    def _put_on(self, adapter: Path | None) -> None:
        """Have the model carry this adapter and no other."""
        content = adapter_content(adapter) if adapter else None
        if content == self._content:
            return
        if self._content is not None:
            self._model, self._content = self._model.unload(), None
        if adapter is not None:
            self._model = loader.attach_adapter(self._model, adapter)
        self._content = content
