"""The transformers engine: `generate` in this process, batched by length."""

from collections.abc import Sequence
from pathlib import Path

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.experiment import BaseModelSpec, Generation
from sft_pipeline.generation.engines.engine import Engine, adapter_content
from sft_pipeline.model import loader
from sft_pipeline.model.completion import Completion
from sft_pipeline.model.generate import complete
from sft_pipeline.provenance.environment import library_versions


class TransformersEngine(Engine):
    """The base model in this process, at times with an adapter on it."""

    name = "transformers"
    by_length = True

    def __init__(self, base: ModelSnapshot, spec: BaseModelSpec):
        self.tokenizer = loader.load_tokenizer(base.root, spec)
        self._model = loader.load_model(base.root, spec)
        self._content: str | None = None

    @staticmethod
    def versions() -> dict[str, str]:
        """Versions of the libraries that decide what comes out."""
        return loader.versions() | library_versions("peft")

    def chunk(self, decoding: Generation) -> int:
        """A batch: prompts that come ordered by length fall into the same batches either way."""
        return decoding.batch_size

    def answer(
        self,
        prompts: Sequence[str],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`; see `Engine.answer`."""
        self._put_on(adapter)
        return complete(
            self._model,
            self.tokenizer,
            prompts,
            max_new_tokens=decoding.max_new_tokens,
            batch_size=batch_size or decoding.batch_size,
            stop=decoding.stop,
            sampling=decoding.sampling,
            logprobs=True,
        )

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
