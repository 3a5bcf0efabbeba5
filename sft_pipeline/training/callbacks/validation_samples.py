"""A few prompts of the dev split, answered at each evaluation: what the loss looks like in words."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Experiment
from sft_pipeline.model.loader import CleanTokenizer
from sft_pipeline.training.callbacks.logging import Lines

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")

SAMPLES = "validation_samples.jsonl"
"""Answers to the validation prompts: step, id, prompt, expected response, output; one JSON object per line."""


def chosen(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """`count` rows that depend on the seed and on the rows' ids alone, not on their order."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{row['id']}".encode()).digest())[:count]


def sampling(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]], lines: Lines
) -> "TrainerCallback":
    """A callback that has the model in training answer `rows` greedily at each evaluation, without a trace on it.

    Args:
        experiment: prompt, longest answer and stop strings.
        tokenizer: the clean tokenizer.
        rows: the chosen rows of the dev split.
        lines: where the answers are kept.
    """
    import torch
    from transformers import TrainerCallback

    from sft_pipeline.model.generate import complete

    prompts = [experiment.prompt.render(row["instruction"]) for row in rows]

    class Sampling(TrainerCallback):
        def on_evaluate(self, args, state, control, model=None, **kwargs):
            training = model.training
            model.eval()
            devices = [args.device] if args.device.type == "cuda" else []
            try:
                with torch.random.fork_rng(devices):
                    answers = complete(
                        model,
                        tokenizer,
                        prompts,
                        max_new_tokens=experiment.generation.max_new_tokens,
                        batch_size=experiment.generation.batch_size,
                        stop=experiment.generation.stop,
                    )
            finally:
                model.train(training)
            for row, prompt, answer in zip(rows, prompts, answers, strict=True):
                lines.add(
                    {
                        "step": state.global_step,
                        "id": row["id"],
                        "prompt": prompt,
                        "expected": row["response"],
                        "output": answer.text,
                        "tokens": answer.tokens,
                        "finish_reason": answer.finish_reason,
                    }
                )

    return Sampling()
