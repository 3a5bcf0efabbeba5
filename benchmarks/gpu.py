"""Minutes on one CUDA card, turned into the figures that need one.

    python benchmarks/gpu.py --out results              on a card: at most eight minutes
    python benchmarks/gpu.py --out results --device cpu --tiny          the same code at toy size: a rehearsal

Needs the package and what it depends on, with a torch for CUDA, and no network: on a machine without, install from wheels
(`pip download -c constraints.txt -d wheels .` where there is a network, then `pip install --no-index --find-links wheels
sft-pipeline`). vLLM and flash-attn are measured where they are installed.

Every section is a process of its own with a limit of time, and writes `gpu.json` and `gpu.txt` when it ends: one that
fails or takes too long costs only itself.

card        name, driver, measured rate of bf16 matrix products, bandwidth of copies on the card and from the host
training    Qwen2.5-shaped random weights in bf16 and nf4, sizes up to what fits: the record's batches, the default, the fast
            one, and each setting for itself; tokens per second, share of the matrix rate (4 FLOP per weight and token), peak
            memory beside the plan's estimate, loss beside the record's on the same rows
resume      a training killed by SIGKILL against one that was not: losses and adapter
generation  transformers and vLLM: tokens per second, and texts that differ between batch sizes
lease       two trainings that both want the one card
lineage     the embedded default on the card, from data to gate

The training is that of the package (`training.trainer.train`), with its plan, log and checkpoints; only the weights are
drawn on the device instead of read from files. Dropout is off, so that losses can be compared.
"""

import argparse
import gc
import importlib.util
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from results import figure, record, shown
from training_speed import Bench

import sft_pipeline
from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.experiment import EmbeddedBase, Experiment
from sft_pipeline.model.snapshot import in_place

SIZES = {  # Qwen2.5's configurations: width, feed-forward, layers, heads, key and value heads, entries, tied
    "toy": (64, 128, 2, 4, 2, 1280, True),
    "0.5B": (896, 4864, 24, 14, 2, 151_936, True),
    "7B": (3584, 18_944, 28, 28, 4, 152_064, False),
    "14B": (5120, 13_824, 48, 40, 8, 152_064, False),
    "32B": (5120, 27_648, 64, 40, 8, 152_064, False),
}

PLACED = ("7B nf4", "32B nf4", "7B none", "32B none", "0.5B none", "14B nf4")
"""Models, the most telling first; of those that do not fit by the plan's estimate the next smaller one counts."""

TINY = ("toy nf4", "toy none")

RECORD = {"batch_size": 2, "gradient_accumulation": 4, "batching": "plain", "gradient_checkpointing": True}
FAST = {"batch_size": 8, "batching": "packed"}
WAYS: dict[str, dict[str, Any]] = {  # the most telling first; `model` holds fields of that section
    "record": RECORD | {"optimizer": "paged_adamw_8bit"},
    "fast": FAST,
    "default": {},
    "long rows, packed": {"long": True, "batch_size": 8, "batching": "packed", "max_length": 1024},
    "record, no checkpointing": RECORD | {"gradient_checkpointing": False},
    "64 rows packed": {"batch_size": 64, "batching": "packed"},
    "fast, checkpointing": FAST | {"gradient_checkpointing": True},
    "fast, paged_adamw_8bit": FAST | {"optimizer": "paged_adamw_8bit"},
    "fast, flash-attn": FAST | {"model": {"attention": "flash_attention_2"}},
    "fast, all-linear": FAST | {"lora": {"r": 16, "dropout": 0.0, "target_modules": "all-linear"}},
}
"""Ways of training the same rows; eight rows to a step, except where the name says otherwise."""

LONG = 1024
"""Tokens of a long row."""

FIT = 0.92
"""Share of the card's memory that an estimate may reach."""

LIMITS = {"card": 60, "training": 240, "resume": 60, "generation": 90, "lease": 60, "lineage": 150}
"""Seconds after which a section is ended; the whole run's limit stands above them."""


class Card:
    """The device, and what differs between a card and the rehearsal on the CPU."""

    def __init__(self, device: str, tiny: bool):
        self.device, self.tiny = device, tiny
        self.cuda = device == "cuda"

    def wait(self) -> None:
        import torch

        if self.cuda:
            torch.cuda.synchronize()

    def memory(self) -> int:
        """Bytes that a model may take."""
        import torch

        return torch.cuda.mem_get_info()[1] if self.cuda else 2_000_000_000

    def peak(self) -> int:
        """Most bytes that the process has held on the device since `clean`, CUDA's context included."""
        import torch

        if not self.cuda:
            return 0
        free, total = torch.cuda.mem_get_info()
        return torch.cuda.max_memory_reserved() + total - free - torch.cuda.memory_reserved()

    def clean(self) -> None:
        import torch

        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """Median time of `work`."""
        work()
        taken = []
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)


class RandomBench(Bench):
    """A Qwen2.5-shaped base without weights in its folder: they are drawn on the device when it is loaded."""

    DOCUMENTS = 400

    def __init__(self, folder: Path, card: Card, size: str, quantization: str):
        self.card, self.size = card, size
        rows = 72 if card.tiny else 600
        super().__init__(folder, Namespace(hidden=64, layers=2, vocabulary=1280, rows=rows, quantization=quantization))
        count, length = (16, 100) if card.tiny else (200, LONG)
        self.long_rows = self.rows([length] * count)
        self.long = self.dataset("train", self.long_rows)

    def make_base(self, recipe: EmbeddedBase, tokenizer: Any) -> ModelSnapshot:
        base = self.new("base")
        tokenizer.save_pretrained(base)
        (base / "config.json").write_text(json.dumps(configuration(self.size, tokenizer)))
        facts = {"source": f"random {self.size}", "revision": "seed 0", "architecture": "Qwen2ForCausalLM"}
        return ModelSnapshot.finalize(base, **facts, parameters=1, vocabulary=SIZES[self.size][5])

    def experiment(self, **fields: Any) -> Experiment:
        fields = dict(fields)
        model = {
            "source": {"kind": "folder", "path": "none"},
            "device": self.card.device,
            "dtype": "bfloat16",
            "quantization": self.quantization,
            **fields.pop("model", {}),
        }
        lora = {"r": 16, "dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
        training = {"max_steps": 4, "lora": lora, "learning_rate": 1e-4, "min_coverage": 0.001, "save_steps": 1000}
        return Experiment.model_validate_json(
            json.dumps(
                {
                    "description": "benchmark on a card",
                    "data": {"source": {"kind": "file", "path": "none"}},
                    "model": model,
                    "training": training | {"validation_prompts": 0, "report_to": []} | fields,
                    "evaluation": {"scorers": {"default": {"kind": "exact"}}},
                }
            )
        )

    def planned(self, experiment: Experiment, long: bool) -> Any:
        """The plan."""
        from sft_pipeline.planning import plan
        from sft_pipeline.training import tokenization

        rows = self.long_rows if long else self.train_rows
        lengths = tokenization.lengths(experiment, self.tokenizer, rows)
        architecture = json.loads(self.base.path("config.json").read_text())
        return plan.compute(experiment, lengths, {"text": 400}, architecture, (0, 64))


def configuration(size: str, tokenizer: Any) -> dict[str, Any]:
    """config.json of a Qwen2.5 of this size."""
    hidden, feed_forward, layers, heads, groups, entries, tied = SIZES[size]
    return {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": entries,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": "bfloat16",
    }


def random_model(folder: Path, spec: Any, *, sharded: bool = False) -> Any:
    """In the place of `loader.load_model`: the same classes, quantised by the same library, with weights drawn on the device."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.quantizers import AutoHfQuantizer

    from sft_pipeline.model import loader, quantisation

    loader.require_device(spec.device)
    loader.require_attention(spec)
    dtype, config = getattr(torch, spec.dtype), loader.load_config(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=spec.attention)
    if quantised := spec.quantization != "none":
        model.hf_quantizer = AutoHfQuantizer.from_config(loader._quantization(spec, sharded), pre_quantized=False)
        model.hf_quantizer.preprocess_model(model=model, device_map={"": spec.device})
    torch.manual_seed(0)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            shape = (
                (module.out_features, module.in_features)
                if name == "weight" and hasattr(module, "in_features")
                else None
            )
            values = torch.empty(shape or parameter.shape, dtype=dtype, device=spec.device)
            values.normal_(0, 0.02) if values.ndim > 1 else values.fill_(float(name == "weight"))
            if quantised and type(parameter).__name__ == "Params4bit":
                module._parameters[name] = type(parameter)(values, requires_grad=False, **vars(parameter)).to(
                    spec.device
                )
            else:
                module._parameters[name] = torch.nn.Parameter(values, requires_grad=False)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(spec.device)  # buffers are computed, not drawn
    if quantised:
        model.hf_quantizer.postprocess_model(model)
    model.hf_device_map = {"": spec.device}
    loader._keep_backward(model)
    quantisation.require_declared(model, spec)
    model.generation_config = GenerationConfig()
    return model.eval()


@contextmanager
def drawn_weights() -> Iterator[None]:
    """The trainer takes weights that are drawn."""
    from sft_pipeline.training import trainer

    inner, trainer.load_model = trainer.load_model, random_model
    try:
        yield
    finally:
        trainer.load_model = inner


def train(bench: RandomBench, steps: int, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One training of three records of the log; the rate is from the first to the last, with the device's work finished."""
    from sft_pipeline.training import trainer

    card, fields = bench.card, dict(fields)
    long = fields.pop("long", False)
    experiment = bench.experiment(**fields | {"max_steps": 3 * steps, "logging_steps": steps})
    plan = bench.planned(experiment, long)
    marks: list[tuple[float, dict[str, Any]]] = []

    def mark(record: dict[str, Any]) -> None:
        if "loss" in record:
            card.wait()
            marks.append((time.perf_counter(), record))

    card.clean()
    rows = bench.long if long else bench.train
    with drawn_weights():
        trainer.train(
            experiment,
            bench.base,
            bench.guard,
            plan,
            rows,
            bench.no_dev,
            bench.new("work"),
            bench.new("out"),
            on_log=mark,
        )
    (before, first), (after, last) = marks[0], marks[-1]
    tokens = last["num_tokens"] - first["num_tokens"]
    return {
        "steps": 3 * steps,
        "tokens_per_step": round(last["num_tokens"] / (3 * steps), 1),
        "tokens_per_second": tokens / (after - before),
        "loss": [first["loss"], last["loss"]],
        "peak_bytes": card.peak(),
        "planned_bytes": sum(plan.memory_bytes.values()),
    }


def section_card(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    import torch

    facts = {"python": platform.python_version(), "torch": torch.__version__, "device": card.device}
    if card.cuda:
        properties = torch.cuda.get_device_properties(0)
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        facts |= {"name": properties.name, "memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
        facts["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    size, megabytes = (256, 4) if card.tiny else (8192, 1024)
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=card.device) for _ in range(2))
    facts["matrix_flops"] = 2 * size**3 / card.seconds(lambda: a @ b, 5 if card.tiny else 20)
    source = torch.zeros(megabytes << 20, dtype=torch.uint8, device=card.device)
    target = torch.empty_like(source)
    facts["copy_bytes_per_second"] = 2 * source.numel() / card.seconds(lambda: target.copy_(source), 5)
    host = torch.zeros(source.numel() // 4, dtype=torch.uint8, pin_memory=card.cuda)
    facts["host_bytes_per_second"] = host.numel() / card.seconds(lambda: target[: host.numel()].copy_(host), 5)
    yield facts


def section_training(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    from sft_pipeline.planning import architecture

    rate = _result(folder, "card").get("matrix_flops")
    for number, name in enumerate(TINY if card.tiny else PLACED):
        size, quantization = name.split()
        bench = RandomBench(_new(folder, f"model {number}"), card, size, quantization)
        base = architecture.build(json.loads(bench.base.path("config.json").read_text()), bench.experiment())
        used = base.matrices + base.hidden * base.vocabulary  # every weight that a token is multiplied with
        reference: dict[str, Any] | None = None
        steps = 1 if card.tiny else 2 if size in ("14B", "32B") else 5
        for way, fields in list(WAYS.items())[: 4 if card.tiny and number else None]:
            found: dict[str, Any] = {"model": name, "way": way}
            experiment = bench.experiment(**{k: v for k, v in fields.items() if k != "long"})
            plan = bench.planned(experiment, "long" in fields)
            planned, trained = sum(plan.memory_bytes.values()), plan.applied(experiment).training
            if planned > FIT * card.memory():
                yield found | {"skipped": f"the plan estimates {planned / 1e9:.1f} GB", "planned_bytes": planned}
                continue
            if experiment.model.attention == "flash_attention_2" and not importlib.util.find_spec("flash_attn"):
                yield found | {"skipped": "flash-attn is not installed"}
                continue
            try:
                found |= train(bench, steps, fields)
            except Exception as error:  # the other ways are worth their minutes
                yield found | {"failed": f"{type(error).__name__}: {error}"[:500]}
                continue
            if rate:
                found["share_of_matrix_rate"] = 4 * used * found["tokens_per_second"] / rate
            same_rows = trained.batching != "grouped" and trained.effective_batch == 8
            if way == "record":
                reference = found
            elif reference and same_rows and "long" not in fields and "lora" not in fields:
                pairs = zip(found["loss"], reference["loss"], strict=True)
                found["loss_against_record"] = max(abs(a / b - 1) for a, b in pairs)
            if reference:
                found["times_record"] = found["tokens_per_second"] / reference["tokens_per_second"]
            yield found


def section_resume(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    import torch
    from safetensors.torch import load_file

    bench = RandomBench(_new(folder, "base"), card, "toy", "none")
    steps, results = (6, {}) if card.tiny else (24, {})
    for name in ("whole", "killed"):
        work, out = _new(folder, f"{name} work"), _new(folder, name)
        if name == "killed":
            child = _child(card, "killed-training", folder)
            if child.wait() != -signal.SIGKILL:
                raise RuntimeError(f"the training was to be killed and ended with {child.returncode}")
        results[name] = _resumable(bench, steps, work, out)
    losses = {
        n: [r["loss"] for r in json.loads((folder / n / "log_history.json").read_text()) if "loss" in r]
        for n in results
    }
    weights = [load_file(folder / n / "adapter" / "adapter_model.safetensors") for n in results]
    differences = [float((a - weights[1][k]).abs().max()) for k, a in weights[0].items()]
    yield {
        "resumed_at_step": results["killed"].measurements["resumed_at_step"],
        "steps": steps,
        "losses_equal": losses["whole"] == losses["killed"],
        "adapter_largest_difference": max(differences),
        "adapter_largest_weight": max(float(w.abs().max()) for w in weights[0].values()),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _resumable(bench: RandomBench, steps: int, work: Path, out: Path, on_log: Any = None) -> Any:
    from sft_pipeline.training import trainer

    experiment = bench.experiment(max_steps=steps, save_steps=steps // 3, logging_steps=1)
    plan = bench.planned(experiment, False)
    with drawn_weights():
        return trainer.train(
            experiment, bench.base, bench.guard, plan, bench.train, bench.no_dev, work, out, on_log=on_log
        )


def section_killed_training(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    bench = RandomBench(_new(folder, "base of the killed"), card, "toy", "none")
    steps = 6 if card.tiny else 24

    def kill(record: dict[str, Any]) -> None:
        if record.get("step") == steps // 2 + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    _resumable(bench, steps, folder / "killed work", _new(folder, "never"), kill)
    yield {}


def section_generation(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    from sft_pipeline.embedded.corpus import documents
    from sft_pipeline.generation.engines import open_engine

    shipped = in_place(Path(sft_pipeline.__file__).parent / "embedded" / "shipped_base")
    bases = {"embedded": shipped}
    if not card.tiny:
        bench = RandomBench(_new(folder, "half a billion"), card, "0.5B", "none")
        spec = bench.experiment().model
        place = _new(folder, "saved")
        random_model(bench.base.root, spec).save_pretrained(place)
        for file in shipped.root.glob("tokenizer*"):
            shutil.copy(file, place)
        bases["0.5B random"] = in_place(place)
        card.clean()
    count, new, sizes = (8, 8, (1, 4, 8)) if card.tiny else (256, 64, (1, 16, 64, 256))
    texts = [text[: 20 + 37 * i % 400] for i, text in enumerate(documents(5, 99, count))]
    engines = ["transformers", *(["vllm"] if card.cuda and importlib.util.find_spec("vllm") else [])]
    for engine in engines:
        for name, base in bases.items():
            experiment = RandomBench.experiment(Namespace(card=card, quantization="none"), max_steps=1)
            generation = experiment.generation.model_copy(update={"engine": engine, "max_new_tokens": new})
            experiment = experiment.model_copy(update={"generation": generation})
            answers: dict[int, list[str]] = {}
            with open_engine(experiment, base) as opened:
                prompts = [experiment.prompt.render(text) for text in texts]
                opened.answer(prompts[:2], generation)
                for size in sizes:
                    asked = prompts if size > 1 else prompts[:16]
                    card.wait()
                    started = time.perf_counter()
                    found = opened.answer(asked, generation, batch_size=size)
                    card.wait()
                    seconds = time.perf_counter() - started
                    answers[size] = [one.text for one in found]
                    reference = answers[sizes[0]] if size == sizes[0] else answers[sizes[1]]
                    differ = sum(a != b for a, b in zip(reference, answers[size], strict=False))
                    yield {
                        "engine": engine,
                        "model": name,
                        "batch_size": size,
                        "tokens_per_second": sum(one.tokens for one in found) / seconds,
                        "flip_rate": differ / min(len(reference), len(answers[size])),
                    }


def section_lease(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    children = [_child(card, "leased-training", folder, str(number)) for number in range(2)]
    if any(child.wait() for child in children):
        raise RuntimeError(f"a training ended with {[child.returncode for child in children]}")
    spans = sorted(json.loads((folder / f"lease-{n}.json").read_text())["span"] for n in range(2))
    yield {
        "waited": spans[1][0] >= spans[0][1],
        "seconds": [end - start for start, end in spans],
        "devices": [json.loads((folder / f"lease-{n}.json").read_text())["device"] for n in range(2)],
    }


def section_leased_training(card: Card, folder: Path, number: str = "0") -> Iterator[dict[str, Any]]:
    from sft_pipeline.lineage.processes import devices

    if not card.cuda:  # a pretended device: locks and processes are real
        os.environ[devices.DECLARED] = "0"
    os.environ[devices.LEASES] = str(folder / "leases")
    with devices.lease(1, print):
        started = time.time()
        bench = RandomBench(_new(folder, f"leased {number}"), card, "toy" if card.tiny else "0.5B", "none")
        train(bench, 1, {})
        found = {"span": [started, time.time()], "device": os.environ[devices.VISIBLE]}
    (folder / f"lease-{number}.json").write_text(json.dumps(found))
    yield found


def section_lineage(card: Card, folder: Path) -> Iterator[dict[str, Any]]:
    """The embedded default in a store and with records of its own."""
    fields = yaml.safe_load((Path(__file__).parents[1] / "specs" / "tiny.yaml").read_text())
    fields["model"]["device"] = card.device
    (folder / "specs").mkdir()
    (folder / "specs" / "card.yaml").write_text(yaml.safe_dump(fields, sort_keys=False))
    env = os.environ | {
        "DAGSTER_HOME": str(folder / "dagster_home"),
        "SFT_PIPELINE_STORE": str(folder / "store"),
        "SFT_PIPELINE_ROOT": str(folder),
    }
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sft_pipeline.cli", "run", "card"], env=env, capture_output=True, text=True
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    yield {"seconds": time.monotonic() - started, "exit_code": done.returncode, "output": lines[-25:]}


SECTIONS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "card": section_card,
    "training": section_training,
    "resume": section_resume,
    "lineage": section_lineage,
    "generation": section_generation,
    "lease": section_lease,
}
HELPERS = {"killed-training": section_killed_training, "leased-training": section_leased_training}


def _new(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _child(card: Card, section: str, folder: Path, *more: str) -> subprocess.Popen:
    """A section in a process of its own, whose results come as lines of `<section>.jsonl` in `folder`."""
    options = ["--device", card.device, *(["--tiny"] if card.tiny else [])]
    log = (folder / f"{section}.log").open("a")
    command = [sys.executable, __file__, "--section", section, "--out", str(folder), *options, *more]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def _result(folder: Path, section: str) -> dict[str, Any]:
    """The first result of a section that has ended, from the folder of all sections."""
    file = folder.parent / section / f"{section}.jsonl"
    return json.loads(file.read_text().splitlines()[0]) if file.is_file() else {}


def measure(card: Card, only: list[str], minutes: float, out: Path) -> dict[str, Any]:
    """All sections, one after the other, as far as the time goes."""
    started, found = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as temporary:
        for section in only:
            # A rehearsal is not about time.
            left = min(60 * minutes - (time.monotonic() - started), LIMITS[section] * (10 if card.tiny else 1))
            folder = _new(Path(temporary), section)
            begun = time.monotonic()
            error = "" if left > 5 else "no time left"
            if not error:
                child = _child(card, section, folder)
                try:
                    code = child.wait(left)
                    error = f"ended with {code}: {(folder / f'{section}.log').read_text()[-1500:]}" if code else ""
                except subprocess.TimeoutExpired:
                    error = f"ended after {left:.0f} s"
                finally:
                    _end(child)
            file = folder / f"{section}.jsonl"
            rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
            found[section] = {"seconds": time.monotonic() - begun, "error": error, "rows": rows}
            result = {
                "device": card.device,
                "tiny": card.tiny,
                "seconds": time.monotonic() - started,
                "sections": found,
            }
            (out / "gpu.json").write_text(json.dumps(result, indent=1))
            (out / "gpu.txt").write_text(text(result))
            print(text({**result, "sections": {section: found[section]}}), flush=True)
    return result


def _end(child: subprocess.Popen) -> None:
    """End a section and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def text(result: dict[str, Any]) -> str:
    """Every section as a table."""
    lines = []
    for section, found in result["sections"].items():
        lines += [f"{section}, {found['seconds']:.0f} s{': ' + found['error'] if found['error'] else ''}"]
        names = list(dict.fromkeys(name for row in found["rows"] for name in row))
        if len(found["rows"]) < 2:
            lines += [f"  {name:<28}{_shown(name, row[name])}" for row in found["rows"] for name in row]
            continue
        cells = [names, *([_shown(name, row.get(name)) for name in names] for row in found["rows"])]
        widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(lines) + "\n"


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page of all figures shows of it."""
    sections = {name: found["rows"] for name, found in result["sections"].items()}
    rows = [
        figure(name, _shown(name, row[name])) for row in sections.get("card", []) for name in row if name != "python"
    ]
    for row in sections.get("training", []):
        if "tokens_per_second" in row:
            what = f"training {row['model']}, {row['way']}: tokens per second"
            rows.append(figure(what, row["tokens_per_second"], "the record's batches", row.get("times_record", "")))
            share = row.get("share_of_matrix_rate")
            if share is not None:
                rows.append(
                    figure(f"training {row['model']}, {row['way']}", "", "the card's matrix rate", share, "≥ 0.4")
                )
            if row["peak_bytes"]:
                peak, planned = row["peak_bytes"], row["planned_bytes"]
                what = f"training {row['model']}, {row['way']}: peak memory"
                rows.append(figure(what, f"{peak / 1e9:.1f} GB", "the plan's estimate", peak / planned, "0.87 to 1.15"))
    for row in sections.get("generation", []):
        what = f"{row['engine']}, {row['model']}, batches of {row['batch_size']}: tokens per second"
        rows.append(figure(what, row["tokens_per_second"], f"flips {row['flip_rate']:.1%}"))
    for name in ("resume", "lease", "lineage"):
        for row in sections.get(name, []):
            kept = {k: v for k, v in row.items() if k != "output"}
            rows.append(figure(name, ", ".join(f"{k} {_shown(k, v)}" for k, v in kept.items())))
    return rows


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ("\n    " if name == "output" else ", ").join(_shown("", v) for v in value)
    if name.endswith("_bytes"):
        return f"{value / 1e9:.2f} GB" if value else ""
    if name == "matrix_flops":
        return f"{value / 1e12:.1f} TFLOP/s"
    if name.endswith("bytes_per_second"):
        return f"{value / 1e9:.1f} GB/s"
    return shown(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json and gpu.txt")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to try the script")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    card = Card(arguments.device, arguments.tiny)
    if arguments.section:
        with (arguments.out / f"{arguments.section}.jsonl").open("a") as stream:
            for row in (SECTIONS | HELPERS)[arguments.section](card, arguments.out, *arguments.more):
                stream.write(json.dumps(row) + "\n")
                stream.flush()
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = measure(card, arguments.only, arguments.minutes, arguments.out)
    record("gpu", "On a card" if card.cuda else "On a card: rehearsal on the CPU at toy size", rows_of(result))
    failed = [name for name, found in result["sections"].items() if found["error"]]
    sys.exit(f"not whole: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
