"""The transformers engine: one loaded base model that answers with or without an adapter."""

from collections.abc import Sequence
from pathlib import Path

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.experiment import BaseModelSpec, Generation
from sft_pipeline.model import loader
from sft_pipeline.model.greedy import Completion, complete
from sft_pipeline.provenance.environment import library_versions


class TransformersEngine:
    """Answers prompts greedily with the base model, or with the base model and one adapter at a time."""

    name = "transformers"

    def __init__(self, base: ModelSnapshot, spec: BaseModelSpec):
        self.tokenizer = loader.load_tokenizer(base.root)
        self._model = loader.load_model(base.root, spec)

    @staticmethod
    def versions() -> dict[str, str]:
        """Versions of the libraries that decide what comes out."""
        return library_versions("torch", "transformers", "peft", "bitsandbytes")

    def answer(
        self,
        prompts: Sequence[str],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`.

        Args:
            prompts: rendered prompts.
            decoding: limits and stop strings; `batch_size` replaces its batch size.
            adapter: folder of the adapter; None is the base model.
            batch_size: prompts per batch, where it should be another than the decoding's.
        """
        options = {
            "max_new_tokens": decoding.max_new_tokens,
            "batch_size": batch_size or decoding.batch_size,
            "stop": decoding.stop,
        }
        if adapter is None:
            return complete(self._model, self.tokenizer, prompts, **options)
        adapted = loader.attach_adapter(self._model, adapter)
        try:
            return complete(adapted, self.tokenizer, prompts, **options)
        finally:
            adapted.unload()  # gives the base model back: the next answer may be the base's
