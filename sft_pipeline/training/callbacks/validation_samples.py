"""A few prompts of the dev split, answered at each evaluation: what the loss looks like in words."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Experiment
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance.journal import Journal

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

SAMPLES = "validation_samples.jsonl"
"""Answers to the validation prompts: step, id, prompt, expected response, output; one JSON object per line."""


def chosen(rows: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Mapping[str, Any]]:
    """`count` rows that depend on the seed and on the rows' ids alone, not on their order."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}/{row['id']}".encode()).digest())[:count]


def validation_samples(
    experiment: Experiment, tokenizer: CleanTokenizer, rows: Sequence[Mapping[str, Any]], journal: Journal
) -> "TrainerCallback":
    """A callback that has the model in training answer `rows` greedily at each evaluation, without a trace on it.

    Args:
        experiment: prompt, longest answer and stop strings.
        tokenizer: the clean tokenizer.
        rows: the chosen rows of the dev split.
        journal: where the answers are kept.
    """
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from sft_pipeline.model.generate import complete

    prompts = prompts_of(experiment, tokenizer, rows, None)

    class Samples(TrainerCallback):
        def on_evaluate(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            *,
            model: "PreTrainedModel",
            **kwargs: Any,
        ) -> None:
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
            journal.add(
                *(
                    {
                        "step": state.global_step,
                        "id": row["id"],
                        "prompt": prompt,
                        "expected": row["response"],
                        "output": answer.text,
                        "tokens": answer.tokens,
                        "finish_reason": answer.finish_reason,
                    }
                    for row, prompt, answer in zip(rows, prompts, answers, strict=True)
                )
            )

    return Samples()
