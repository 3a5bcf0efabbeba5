"""How fast the answers come, on the CPU with a toy base: what the code around the engines costs, not what a GPU gives.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/generation_speed.py [items]

Three comparisons over the same 300 items, each alternating its sides in one run: base and adapter on one vLLM against two
separate starts; tokens per second of the asset's code against a bare `LLM.generate` in a process of its own; transformers
batched by length against one prompt at a time. About five minutes on two cores.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from results import figure, record

from sft_pipeline.artifacts import AdapterSnapshot, InstructionDataset, ModelSnapshot
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.embedded.corpus import documents
from sft_pipeline.experiment import EmbeddedBase, Experiment
from sft_pipeline.generation.answers import generate
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.model import loader, snapshot

RECIPE = {
    "kind": "embedded",
    "hidden_size": 256,
    "heads": 4,
    "layers": 4,
    "vocabulary": 1024,
    "steps": 40,
    "documents": 6000,
}
NEW_TOKENS = 64
REPEATS = 5


class Bench:
    """A base that knows nothing, a random adapter, and prompts of very different lengths."""

    def __init__(self, folder: Path, items: int):
        for name in ("base", "items", "adapter"):
            (folder / name).mkdir()
        self.folder, self.names = folder, count()
        self.base: ModelSnapshot = snapshot.take(
            EmbeddedBase.model_validate(RECIPE), folder, folder / "cache", folder / "base"
        )
        texts = [text[: 20 + 37 * i % 400] for i, text in enumerate(documents(5, 99, items))]
        rows = [
            {"id": row_id(text, str(i), "plain", None), "instruction": text, "response": "", "type": "plain"}
            | {"source_file": "items.jsonl", "source_row": i + 1}
            for i, text in enumerate(texts)
        ]
        write_table(rows, ROW, folder / "items" / InstructionDataset.ROWS)
        self.items = InstructionDataset.finalize(folder / "items", stage="test", rows=len(rows))
        self.prompts = [self.experiment("vllm").prompt.render(text) for text in texts]
        self.adapter = self._adapter(folder / "adapter")

    def _adapter(self, folder: Path) -> AdapterSnapshot:
        import torch
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(1)
        config = LoraConfig(r=8, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        model = loader.load_model(self.base.root, self.experiment("vllm").model)
        get_peft_model(model, config).save_pretrained(folder / "adapter")
        (folder / "training_manifest.json").write_text('{"model": {"dtype": "float32", "quantization": "none"}}')
        figures = {"steps": 1, "step": 1, "epochs": 1.0, "trainable_parameters": 1, "loss_first": 1.0, "loss_last": 1.0}
        return AdapterSnapshot.finalize(folder, **figures)

    @staticmethod
    def experiment(engine: str) -> Experiment:
        return Experiment.model_validate(
            {
                "description": "speed of the answers",
                "data": {"source": {"kind": "embedded", "rows": 100}},
                "model": {"source": RECIPE},
                "training": {"max_steps": 1, "lora": {"r": 8}},
                "generation": {"engine": engine, "max_new_tokens": NEW_TOKENS, "repeat_sample": 0},
                "evaluation": {"scorers": {"default": {"kind": "exact"}}},
            }
        )

    def answers(self, engine, tuned: bool) -> tuple[float, float]:
        """Tokens per second of the whole asset, by the clock and by the processor time of all its processes."""
        work, out = (self.folder / f"{name} {next(self.names)}" for name in ("work", "out"))
        work.mkdir()
        out.mkdir()
        started, used = time.monotonic(), time.process_time() + child_seconds(engine)
        made = generate(
            self.experiment(engine.name),
            "sft" if tuned else "base",
            self.base,
            self.adapter if tuned else None,
            self.items,
            engine,
            work,
            out,
        )
        tokens = made.rows * made.mean_tokens
        used = time.process_time() + child_seconds(engine) - used
        return tokens / (time.monotonic() - started), tokens / used


def child_seconds(engine) -> float:
    """Processor time of the engine's child in seconds, as Linux counts it."""
    if engine.name != "vllm" or engine._child is None:
        return 0.0
    fields = Path(f"/proc/{engine._child._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def starts(bench: Bench) -> list[dict[str, Any]]:
    """Base and adapter on one engine against an engine for each."""
    seconds = {"one": [], "two": []}
    for _ in range(2):
        started = time.monotonic()
        with open_engine(bench.experiment("vllm"), bench.base) as engine:
            for tuned in (False, True):
                bench.answers(engine, tuned)
        seconds["one"].append(time.monotonic() - started)
        started = time.monotonic()
        for tuned in (False, True):
            with open_engine(bench.experiment("vllm"), bench.base) as engine:
                bench.answers(engine, tuned)
        seconds["two"].append(time.monotonic() - started)
    one, two = min(seconds["one"]), min(seconds["two"])
    print(f"start, base and adapter: one vLLM {one:.1f} s, two starts {two:.1f} s ({two / one:.2f} x)", flush=True)
    return [figure("base and adapter on one vLLM", f"{one:.1f} s", "two starts", one / two)]


def bare(bench: Bench) -> list[dict[str, Any]]:
    """Tokens per second of the asset's code (rows in, Parquet out) against a bare `LLM.generate`."""
    rows = []
    with open_engine(bench.experiment("vllm"), bench.base) as engine:
        bench.answers(engine, True)
        options = engine._options | {"max_model_len": engine._length, "kv_cache_memory_bytes": engine._cache_bytes()}
        given = {
            "options": options,
            "ids": engine.tokenizer.encode_all(bench.prompts),
            "end": engine.tokenizer.end,
            "adapter": str(bench.adapter.root / "adapter"),
        }
        (bench.folder / "bare.json").write_text(json.dumps(given))
        other = subprocess.Popen(
            [sys.executable, __file__, "--bare", bench.folder / "bare.json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_WAIT_POLICY": "PASSIVE"},
        )

        def ask(tuned: bool) -> tuple[float, float]:
            other.stdin.write(f"{int(tuned)}\n")
            other.stdin.flush()
            while not (line := other.stdout.readline()).startswith("rate "):
                assert line, "the bare vLLM died"
            return tuple(map(float, line.split()[1:]))

        for tuned in (False, True):
            ask(tuned)
            pairs = [(bench.answers(engine, tuned), ask(tuned)) for _ in range(REPEATS)]
            for at, what in enumerate(("by the clock", "by processor time")):
                ours, theirs = (statistics.median(rate[at] for rate in side) for side in zip(*pairs))
                label = f"{'adapter' if tuned else 'base'} on vLLM, tokens per second {what}"
                rows.append(figure(label, ours, "bare `LLM.generate`", ours / theirs, "≥ 0.97"))
                print(
                    f"{'adapter' if tuned else 'base'}, {what}: asset {ours:,.0f} tokens/s, bare LLM.generate "
                    f"{theirs:,.0f} tokens/s: {ours / theirs:.3f} (medians of {REPEATS})",
                    flush=True,
                )
        other.kill()
    return rows


def run_bare(path: Path) -> None:
    """The other side of `bare`: `LLM.generate` and nothing else."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    given = json.loads(path.read_text())
    llm = LLM(**given["options"])
    prompts = [{"prompt_token_ids": ids} for ids in given["ids"]]
    # The same request: an answer comes with its log-probability. Text is left to the parent in both.
    params = SamplingParams(
        temperature=0,
        max_tokens=NEW_TOKENS,
        ignore_eos=True,
        stop_token_ids=[given["end"]],
        logprobs=0,
        flat_logprobs=True,
        detokenize=False,
    )
    adapter = LoRARequest("adapter", 1, given["adapter"])
    for line in sys.stdin:
        started, used = time.monotonic(), time.process_time()
        outputs = llm.generate(prompts, params, lora_request=adapter if line == "1\n" else None, use_tqdm=False)
        tokens = sum(len(o.outputs[0].token_ids) for o in outputs)
        seconds, used = time.monotonic() - started, time.process_time() - used
        print(f"\nrate {tokens / seconds} {tokens / used}", flush=True)


def batching(bench: Bench) -> list[dict[str, Any]]:
    """transformers: batches of 64 by length against one prompt at a time."""
    with open_engine(bench.experiment("transformers"), bench.base) as engine:
        decoding = bench.experiment("transformers").generation
        rates = {64: [], 1: []}
        for _ in range(3):
            for size in rates:
                asked = bench.prompts if size == 64 else bench.prompts[::10]
                started = time.monotonic()
                answers = engine.answer(asked, decoding, batch_size=size)
                rates[size].append(sum(a.tokens for a in answers) / (time.monotonic() - started))
    many, one = (statistics.median(rates[size]) for size in (64, 1))
    print(f"transformers: batches of 64 {many:,.0f} tokens/s, one by one {one:,.0f} tokens/s: {many / one:.1f} x")
    return [figure("transformers, batches of 64, tokens per second", many, "one prompt at a time", many / one, "≥ 6")]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        run_bare(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            made = Bench(Path(temporary), int(sys.argv[1]) if sys.argv[1:] else 300)
            found = [*batching(made), *bare(made), *starts(made)]
            record("generation", "Generation", found, "A toy base, items of very different lengths, sides in turn.")
