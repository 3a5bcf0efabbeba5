"""How fast does the pipeline train? Against a bare TRL script, and against the record's way of making batches.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/training_speed.py overhead
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/training_speed.py throughput
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/training_speed.py throughput --quantization nf4 --hidden 512 --rows 240
    ... throughput --hidden 32 --layers 4 --vocabulary 320 --rows 200 --curves 1

Both train a Qwen2 with random weights on text of the embedded world, cut to lengths from a log-normal distribution
between 15 and 400 tokens with a mean of 71, as in the record. Tokens are real ones, without padding. A run is timed from
the beginning of `SFTTrainer.train` to its end, steps, evaluations and checkpoints: starting Python, loading the model and
encoding the rows are left out on both sides. The variants take turns, so that a busy machine slows all of them; the ratio
is that of the medians. One JSON line per run, then a table.

`overhead`: tokens per second of `sft_pipeline.training.trainer.train` with everything it does while training (log, live
series, TensorBoard, watchdog, complete checkpoints) against TRL's SFTTrainer with the same settings, model, rows, order of
rows, evaluations and checkpoints. Both end with the same loss (where `--save-steps` is a multiple of 10 or of the last log record; a checkpoint adds a row).

`throughput`: batch 2 × 4 as the rows are drawn (the record's) against the pipeline's default, 8 rows of similar length,
and packed; two more variants show what padding and what fewer forward passes contribute. `--curves` trains the first
three once more with dev evaluations and puts their losses side by side at equal tokens seen. With `--quantization nf4`
bitsandbytes dequantises every matrix in each forward and backward pass, however few its tokens.
"""

import argparse
import json
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import figure, record

from sft_pipeline.artifacts import GuardReport, InstructionDataset, LeakageProof, ModelSnapshot
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.embedded import base_model
from sft_pipeline.embedded.corpus import documents
from sft_pipeline.experiment import EmbeddedBase, Experiment
from sft_pipeline.model.loader import load_model
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import plan
from sft_pipeline.training import schedule, tokenization, trainer
from sft_pipeline.training.adapter import lora_config
from sft_pipeline.training.trl_config import options

MEAN, SHORTEST, LONGEST, SIGMA = 71, 15, 400, 0.8
"""Tokens of a row; sigma is the standard deviation of the logarithm before clipping."""


class Bench:
    """A base, rows of skewed lengths, and a folder for the runs."""

    DOCUMENTS = 6000

    def __init__(self, folder: Path, arguments: argparse.Namespace):
        self.folder, self.runs, self.quantization = folder, 0, arguments.quantization
        recipe = EmbeddedBase(
            kind="embedded", hidden_size=arguments.hidden, layers=arguments.layers, vocabulary=arguments.vocabulary
        )
        texts = list(documents(7, 1, self.DOCUMENTS))
        tokenizer = base_model.train_tokenizer(texts, recipe.vocabulary)
        self.base = self.make_base(recipe, tokenizer)
        self.tokenizer = load_tokenizer(self.base.root)
        self.stream = [i for text in texts for i in self.tokenizer.inner(text + "\n")["input_ids"]]
        rows = self.rows(self.drawn(arguments.rows + 64))
        self.train, self.train_rows = self.dataset("train", rows[64:]), rows[64:]
        self.dev, self.no_dev = self.dataset("dev", rows[:64]), self.dataset("dev", [])
        self.guard = GuardReport(root=folder, checks={"template": ""}, sentinels=(), loader={})

    def make_base(self, recipe: EmbeddedBase, tokenizer: Any) -> ModelSnapshot:
        import torch
        from transformers import Qwen2ForCausalLM

        torch.manual_seed(0)
        model = Qwen2ForCausalLM(base_model.architecture(recipe, tokenizer))
        base = self.new("base")
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        return ModelSnapshot.finalize(
            base,
            source="random weights",
            revision="seed 0",
            architecture="Qwen2ForCausalLM",
            parameters=model.num_parameters(),
            vocabulary=recipe.vocabulary,
        )

    def new(self, name: str) -> Path:
        self.runs += 1
        path = self.folder / f"{self.runs} {name}"
        path.mkdir()
        return path

    @staticmethod
    def drawn(count: int) -> list[int]:
        """Lengths whose mean is the record's."""
        generator = random.Random(0)
        drawn = [generator.lognormvariate(0, SIGMA) for _ in range(count)]
        scale = MEAN
        for _ in range(20):  # clipping moves the mean
            lengths = [min(max(round(scale * x), SHORTEST), LONGEST) for x in drawn]
            scale *= MEAN / statistics.mean(lengths)
        return lengths

    def rows(self, lengths: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of these lengths in tokens, prompt and end included."""
        around = len(self.tokenizer.encode("Instruction: \nResponse: ")) + 1
        rows, at = [], 0
        for number, length in enumerate(lengths):
            inside = max(length - around, 2)
            asked = max(inside // 3, 1)
            parts = self.stream[at : at + asked], self.stream[at + asked : at + inside]
            at = (at + inside) % (len(self.stream) - max(LONGEST, length))
            instruction, response = (self.tokenizer.decode(part) for part in parts)
            row = {"instruction": instruction, "response": response, "type": "text", "group": None, "reference": None}
            key = row_id(f"{number} {instruction}", response, "text", None)
            rows.append({"id": key, **row, "source_file": "benchmark", "source_row": number + 1})
        return rows

    def dataset(self, stage: str, rows: list[dict[str, Any]]) -> InstructionDataset:
        folder = self.new(stage)
        write_table(rows, ROW, folder / InstructionDataset.ROWS)
        clean = dict.fromkeys(("exact", "near", "groups", "contained", "contained_over_limit", "train_rows"), 0)
        limits = {"ngram": 3, "threshold": 0.7, "containment_ngram": 8, "max_contained_share": 1.0}
        proof = LeakageProof(against="train → dev", test_rows=len(rows), nearest=(), **clean, **limits)
        types = {"text": len(rows)} if rows else {}
        return InstructionDataset.finalize(folder, stage=stage, rows=len(rows), types=types, proof=proof)

    def experiment(self, **training: Any) -> Experiment:
        defaults = {"epochs": 1.0, "learning_rate": 2e-3, "save_steps": 50}
        return Experiment.model_validate(
            {
                "description": "benchmark",
                "data": {"source": {"kind": "file", "path": "none"}},
                "model": {"source": {"kind": "folder", "path": "none"}, "quantization": self.quantization},
                "training": defaults | training,
                "evaluation": {"scorers": {"default": {"kind": "exact"}}},
            }
        )

    def lengths(self) -> list[int]:
        return tokenization.encode(self.experiment(), self.tokenizer, self.train_rows).lengths

    def plan(self, experiment: Experiment):
        lengths = tokenization.lengths(experiment, self.tokenizer, self.train_rows)
        architecture = json.loads(self.base.path("config.json").read_text())
        return plan.compute(experiment, lengths, {"text": 400}, architecture, (0, 64))

    def asset(self, dev: InstructionDataset, **training: Any) -> list[dict[str, Any]]:
        """Train as the asset does; the log records."""
        experiment = self.experiment(**training)
        made = (experiment, self.base, self.guard, self.plan(experiment), self.train, dev)
        adapter = trainer.train(*made, self.new("work"), self.new("out"))
        return json.loads(adapter.path("log_history.json").read_text())

    def bare(self, dev: InstructionDataset, **training: Any) -> list[dict[str, Any]]:
        """Train as a script of a few lines would, with the rows in the same order; the log records."""
        from datasets import Dataset
        from transformers import set_seed
        from transformers.trainer_callback import PrinterCallback
        from trl import SFTConfig, SFTTrainer

        experiment = self.experiment(**training)
        encoded = tokenization.encode(experiment, self.tokenizer, self.train_rows)
        order = schedule.row_order(encoded.lengths, experiment.training, 0)
        settings = options(
            experiment, self.plan(experiment), evaluate=True, packed=experiment.training.batching == "packed"
        ) | {"train_sampling_strategy": "sequential"}
        dev_rows = tokenization.encode(
            experiment, self.tokenizer, self.rows(self.drawn(dev.rows + len(self.train_rows)))[: dev.rows]
        )
        set_seed(experiment.training.seed)
        bare = SFTTrainer(
            model=load_model(self.base.root, experiment.model),
            args=SFTConfig(output_dir=str(self.new("bare")), **settings),
            train_dataset=Dataset.from_list([encoded.examples[i] for i in order]),
            eval_dataset=Dataset.from_list(dev_rows.examples),
            processing_class=self.tokenizer.inner,
            peft_config=lora_config(experiment.training.lora),
        )
        bare.remove_callback(PrinterCallback)
        bare.train()
        return bare.state.log_history


class Clock:
    """Measures `SFTTrainer.train`, whoever calls it, and the time that its callbacks and dequantising take."""

    def __init__(self) -> None:
        from bitsandbytes import functional
        from transformers.trainer_callback import CallbackHandler
        from trl import SFTTrainer

        inner, clock = SFTTrainer.train, self

        def train(self, *args, **kwargs):
            clock.callbacks = clock.dequantising = 0.0
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return inner(self, *args, **kwargs)
            finally:
                clock.wall, clock.cpu = time.perf_counter() - wall, time.process_time() - cpu

        def timed(function, name):
            def call(*args, **kwargs):
                started = time.perf_counter()
                try:
                    return function(*args, **kwargs)
                finally:
                    setattr(clock, name, getattr(clock, name) + time.perf_counter() - started)

            return call

        self.callbacks = self.dequantising = 0.0
        SFTTrainer.train = train
        CallbackHandler.call_event = timed(CallbackHandler.call_event, "callbacks")
        functional.dequantize_4bit = timed(functional.dequantize_4bit, "dequantising")


def take_turns(variants: dict[str, Any], repeats: int, tokens: int) -> dict[str, list[dict[str, Any]]]:
    """Run every variant `repeats` times, one after the other; a line per run. Each reads `tokens` tokens in one pass."""
    clock, figures = Clock(), {name: [] for name in variants}
    next(iter(variants.values()))()  # warms up what all of them use
    for turn in range(repeats):
        for name, run in variants.items():
            log = run()
            loss = [row["loss"] for row in log if "loss" in row][-1]
            rates = {"tokens_per_second": tokens / clock.wall, "tokens_per_cpu_second": tokens / clock.cpu}
            rates |= {"callbacks_share": clock.callbacks / clock.wall, "dequantising": clock.dequantising / clock.wall}
            figure = {"variant": name, "turn": turn, "tokens": tokens, "seconds": clock.wall, "loss": loss, **rates}
            print(json.dumps(figure), flush=True)
            figures[name].append(figure)
    return figures


def table(
    figures: dict[str, list[dict[str, Any]]],
    against: str,
    notes: dict[str, str],
    name: str,
    title: str,
    aims: dict[str, str],
    remark: str = "",
) -> None:
    def median(name: str, key: str) -> float:
        return statistics.median(figure[key] for figure in figures[name])

    print(f"\n{'variant':<26}{'tokens/s':>10}{'ratio':>8}{'lowest':>8}{'highest':>8}{'by CPU':>8}{'last loss':>11}")
    rows = []
    for way, runs in figures.items():
        ratio = {k: median(way, k) / median(against, k) for k in ("tokens_per_second", "tokens_per_cpu_second")}
        turns = {k: [a[k] / b[k] for a, b in zip(runs, figures[against], strict=True)] for k in ratio}
        low, high = min(turns["tokens_per_second"]), max(turns["tokens_per_second"])
        print(
            f"{way:<26}{median(way, 'tokens_per_second'):>10,.0f}{ratio['tokens_per_second']:>8.3f}{low:>8.3f}"
            f"{high:>8.3f}{ratio['tokens_per_cpu_second']:>8.3f}{runs[-1]['loss']:>11.6f}  {notes.get(way, '')}"
        )
        if share := median(way, "dequantising"):
            print(f"{'':<26}dequantising takes {share:.1%} of the time")
            rows.append(figure(f"{way}, time that dequantising takes", f"{share:.1%}"))
        for by, key in (("by the clock", "tokens_per_second"), ("by processor time", "tokens_per_cpu_second")):
            if way != against:
                shown = f"{ratio[key]:.2f} ({min(turns[key]):.2f} to {max(turns[key]):.2f})"
                what = f"{way}, tokens per second {by}"
                rows.append(figure(what, median(way, key), against, shown, aims.get(way, "")))
    record(
        name,
        title,
        rows,
        "A toy model on the CPU with random weights, rows of 71 tokens on average, medians of the turns "
        f"and the range of their ratios.{remark}",
    )


def overhead(bench: Bench, arguments: argparse.Namespace) -> None:
    """The asset against a bare TRL script."""
    common = {"batch_size": arguments.batch, "batching": "plain", "save_steps": arguments.save_steps}
    variants = {
        "bare TRL": lambda: bench.bare(bench.dev, **common),
        "asset, no prompts": lambda: bench.asset(bench.dev, validation_prompts=0, **common),
        "asset, 3 prompts": lambda: bench.asset(bench.dev, **common),
    }
    table(
        take_turns(variants, arguments.repeats, sum(bench.lengths())),
        "bare TRL",
        {},
        "training_overhead",
        "Training, what happens around a step",
        {"asset, no prompts": "≥ 0.97"},
    )


def throughput(bench: Bench, arguments: argparse.Namespace) -> None:
    """The record's batching against the default."""
    ways = {
        "2 x 4 plain (record)": {"batch_size": 2, "gradient_accumulation": 4, "batching": "plain"},
        "8 grouped (default)": {},
        "8 packed": {"batching": "packed"},
        "2 x 4 grouped": {"batch_size": 2, "gradient_accumulation": 4},
        "8 plain": {"batching": "plain"},
    }
    drawn, default, packed = list(ways)[:3]
    lengths = bench.lengths()
    print(f"{len(lengths)} rows, {min(lengths)} to {max(lengths)} tokens, mean {statistics.mean(lengths):.1f}")
    shares = {n: schedule.padding_share(lengths, bench.experiment(**way).training) for n, way in ways.items()}
    notes = {name: f"padding {share:.1%}" for name, share in shares.items()}
    variants = {name: lambda way=way: bench.asset(bench.no_dev, **way) for name, way in ways.items()}
    nf4 = arguments.quantization == "nf4"
    name, title = ("training_nf4", "Training, batches in nf4") if nf4 else ("training", "Training, batches")
    remark = (
        " A CPU is bound by the arithmetic: launches and dequantising, which batches save, weigh less than on a card."
    )
    table(take_turns(variants, arguments.repeats, sum(lengths)), drawn, notes, name, title, {default: "≥ 3"}, remark)
    if arguments.curves:
        every = {"eval_steps": 10, "logging_steps": 1, "validation_prompts": 0, "epochs": arguments.curves}
        curves({name: bench.asset(bench.dev, **ways[name], **every) for name in (drawn, default, packed)})


def curves(logs: dict[str, list[dict[str, Any]]]) -> None:
    """Losses at equal tokens seen: the mean over a tenth of the run, weighted by tokens, and the dev loss at its end."""
    first = next(iter(logs))
    total = min(max(row.get("num_tokens", 0) for row in log) for log in logs.values())
    print(f"\n{'tokens seen':>12}" + "".join(f"{name + ': train, dev':>36}" for name in logs))
    edges = [total * tenth / 10 for tenth in range(11)]
    worst = dict.fromkeys(logs, (0.0, 0.0))
    for start, end in zip(edges, edges[1:], strict=False):
        values = {name: (windowed(log, start, end), dev_at(log, end)) for name, log in logs.items()}
        print(f"{end:>12,.0f}" + "".join(f"{train:>28.4f}{dev:>8.4f}" for train, dev in values.values()))
        for name, pair in values.items():
            worst[name] = tuple(
                max(before, abs(mine / other - 1))
                for before, mine, other in zip(worst[name], pair, values[first], strict=True)
            )
    for name, (train, dev) in list(worst.items())[1:]:
        print(json.dumps({"curve": name, "against": first, "worst_train": train, "worst_dev": dev}))


def windowed(log: Sequence[dict[str, Any]], start: float, end: float) -> float:
    rows = [row for row in log if "loss" in row]
    before = [0, *(row["num_tokens"] for row in rows)]
    inside = [
        (row["loss"], row["num_tokens"] - b)
        for row, b in zip(rows, before, strict=False)
        if start < row["num_tokens"] <= end
    ]
    return sum(loss * tokens for loss, tokens in inside) / sum(tokens for _, tokens in inside)


def dev_at(log: Sequence[dict[str, Any]], tokens: float) -> float:
    """The dev loss, linear between the evaluations around `tokens`."""
    seen, points = 0.0, []
    for row in log:
        seen = row.get("num_tokens", seen) if "loss" in row else seen
        if "eval_loss" in row:
            points.append((seen, row["eval_loss"]))
    for (a, low), (b, high) in zip(points, points[1:], strict=False):
        if tokens <= b:
            return low + (high - low) * max(tokens - a, 0) / (b - a)
    return points[-1][1]


def main() -> None:
    import torch
    from transformers.utils import logging as transformers_logging

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "throughput"))
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=1280)
    parser.add_argument("--quantization", choices=("none", "nf4"), default="none")
    parser.add_argument("--rows", type=int, help="default: 480 for overhead, 400 for throughput")
    parser.add_argument("--batch", type=int, default=16, help="rows per step, for overhead")
    parser.add_argument("--save-steps", type=int, default=15, help="for overhead, evaluations too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--curves", type=float, default=0.0, help="for throughput: passes for the comparison of losses")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or (480 if arguments.what == "overhead" else 400)
    logging.getLogger("sft_pipeline").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments)
        print(f"{arguments}, {bench.base.parameters:,} parameters, {torch.get_num_threads()} threads")
        (overhead if arguments.what == "overhead" else throughput)(bench, arguments)


if __name__ == "__main__":
    sys.exit(main())
