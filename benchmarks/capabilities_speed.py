"""What the capability report costs beyond the engine: base and adapter on items of all five benchmarks.

    OMP_NUM_THREADS=1 python benchmarks/capabilities_speed.py FILES [--items 500] [--model DIR]

FILES holds the published files in folders `mmlu/test`, `mmlu/dev`, `humaneval`, `gsm8k`, `truthfulqa` and `hellaswag`. The model
is the embedded base (half a million parameters), so that everything else weighs most; the adapter is random. The asset's
function is timed in this process, imports included, to the written report. Time of the engine is that
of loading, scoring and answering. Both by the clock and by processor time, in one run; one JSON object.
"""

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from results import figure, record

import sft_pipeline
from sft_pipeline.experiment import BaseModelSpec, Experiment, FolderBase

FILES = {
    "mmlu": {"items": "mmlu/test", "examples": "mmlu/dev"},
    "humaneval": {"items": "humaneval/HumanEval.jsonl"},
    "gsm8k": {"items": "gsm8k/test.jsonl", "examples": "gsm8k/train.jsonl"},
    "truthfulqa": {"items": "truthfulqa/mc_task.json"},
    "hellaswag": {"items": "hellaswag/hellaswag_val_full.txt.bz2"},
}


def random_adapter(base: Path, folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from sft_pipeline.model import loader

    torch.manual_seed(1)
    model = loader.load_model(base, BaseModelSpec(source=FolderBase(kind="folder", path=".")))
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(folder)


def experiment(files: Path, items: int) -> Experiment:
    def source(path: str) -> dict[str, str]:
        return {"path": str((files / path).resolve())}

    benchmarks = {n: {part: source(path) for part, path in f.items()} | {"limit": items} for n, f in FILES.items()}
    fields = {
        "description": "time of the capability report",
        "data": {"source": {"kind": "embedded", "rows": 100}},
        "model": {"source": {"kind": "folder", "path": "."}},
        "training": {"max_steps": 1, "lora": {"r": 4}},
        "evaluation": {
            "scorers": {"default": {"kind": "exact"}},
            "run_code": True,
            "capabilities": {"benchmarks": benchmarks},
        },
    }
    return Experiment.model_validate_json(json.dumps(fields))


def processor() -> float:
    """Seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Clock:
    """Time in the functions that it is put around."""

    def __init__(self, profile: cProfile.Profile | None) -> None:
        self.profile = profile
        self.wall: Counter[str] = Counter()
        self.cpu: Counter[str] = Counter()

    def around(self, owner: Any, name: str, label: str) -> None:
        inner = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self.profile:
                self.profile.disable()
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return inner(*args, **kwargs)
            finally:
                if self.profile:
                    self.profile.enable()
                self.wall[label] += time.perf_counter() - wall
                self.cpu[label] += time.process_time() - cpu

        setattr(owner, name, timed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--model", type=Path, default=Path(sft_pipeline.__file__).parent / "embedded" / "shipped_base")
    parser.add_argument("--profile", action="store_true", help="also list where the time beyond the engine goes")
    parser.add_argument("--adapter", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.adapter:
        random_adapter(arguments.model, arguments.adapter)
        return
    started = time.perf_counter()

    from sft_pipeline.capabilities import measure
    from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
    from sft_pipeline.model import adapter_fit
    from sft_pipeline.model.snapshot import in_place

    profile = cProfile.Profile() if arguments.profile else None
    clock = Clock(profile)
    clock.around(measure, "open_engine", "start")
    clock.around(adapter_fit, "require_fit", "start")
    clock.around(TransformersEngine, "complete", "answers")
    clock.around(TransformersEngine, "score", "scores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        before = time.perf_counter(), processor()
        adapter = folder / "adapter"
        subprocess.run(
            [sys.executable, __file__, arguments.files, "--model", arguments.model, "--adapter", adapter], check=True
        )
        aside = time.perf_counter() - before[0], processor() - before[1]  # no work of the asset
        (folder / "out").mkdir()
        spec = experiment(arguments.files, arguments.items)
        if profile:
            profile.enable()
        made = measure.report(spec, in_place(arguments.model), adapter, None, folder, folder, folder / "out")
        if profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("cumulative").print_stats(80)
    wall, cpu = time.perf_counter() - started - aside[0], processor() - aside[1]
    figures = {
        "items": {r.name: r.n for r in made.results},
        "asset_seconds": wall,
        "asset_processor_seconds": cpu,
        "engine_seconds": dict(clock.wall),
        "engine_processor_seconds": dict(clock.cpu),
        "ratio": wall / sum(clock.wall.values()),
        "processor_ratio": cpu / sum(clock.cpu.values()),
    }
    print(json.dumps(figures, indent=1))
    engine = "the engine's own time"
    rows = [
        figure("by processor time", f"{cpu:.1f} s", engine, figures["processor_ratio"], "≤ 1.1"),
        figure("by the clock", f"{wall:.1f} s", engine, figures["ratio"], "≤ 1.1"),
        figure("engine starts", 1, "", "", "1"),
    ]
    note = f"Base and adapter on {arguments.items} items of each of the five benchmarks, fewer where it has fewer; everything timed, imports too."
    record("capabilities", "The capability report", rows, note)


if __name__ == "__main__":
    main()
