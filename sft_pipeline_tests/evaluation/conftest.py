"""A small experiment's artifacts on disk, so that the gate reads and writes real files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sft_pipeline.artifacts import (
    Finding,
    GateReport,
    Generations,
    GuardReport,
    InstructionDataset,
    LeakageProof,
    SentinelResult,
    TrainingReport,
)
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.evaluation.gate.lineage_gate import decide
from sft_pipeline.experiment import Experiment

CONDITIONS = {"items": "abc", "prompt": "def", "decoding": '{"max_new_tokens":64}', "engine": "transformers"}


@dataclass
class Case:
    """Inputs of a gate, to be changed before `decide` is called."""

    folder: Path
    items: list[dict[str, Any]] = field(default_factory=list)
    base: dict[str, str] = field(default_factory=dict)
    sft: dict[str, str] = field(default_factory=dict)
    base_conditions: dict[str, str] = field(default_factory=lambda: dict(CONDITIONS))
    sft_conditions: dict[str, str] = field(default_factory=lambda: dict(CONDITIONS))
    base_truncated: float = 0.0
    sft_truncated: float = 0.0
    trained_on: dict[str, str] = field(default_factory=dict)
    leaks: int = 0
    sentinel_passed: bool = True
    findings: tuple[Finding, ...] = ()
    diagnosed: str = "adapter 1"
    scorers: dict[str, dict] = field(default_factory=lambda: {"default": {"kind": "exact"}})
    gate: dict[str, Any] = field(default_factory=dict)
    human_labels: list[dict] | None = None
    repeated: Sequence[str] = ()
    made: dict[str, Any] = field(default_factory=dict)
    """The artifacts of the last decision, by asset."""
    second_texts: dict[str, str] = field(default_factory=dict)
    """Of the base's second run, by id, where they differ; half of the items are repeated."""

    def add(self, type: str, n: int, base_right: int, sft_right: int) -> "Case":
        """`n` items of which the base gets the first `base_right`, the fine-tuned model the last `sft_right`."""
        for k in range(n):
            instruction, answer = f"{type} question {k}?", f"answer {k}"
            id = row_id(instruction, answer, type, None)
            row = dict.fromkeys(ROW.names) | {"id": id, "instruction": instruction, "response": answer, "type": type}
            self.items.append(row | {"source_file": "made.jsonl", "source_row": k + 1})
            # Right and wrong answers have the same length: these cases are not about length.
            self.base[id] = answer if k < base_right else f"mistak {k}"
            self.sft[id] = answer if k >= n - sft_right else f"mistak {k}"
        return self

    def experiment(self) -> Experiment:
        # From JSON, as from YAML: strict models take a list for a tuple only there.
        return Experiment.model_validate_json(
            json.dumps(
                {
                    "description": "Made for a test.",
                    "data": {"source": {"kind": "embedded"}},
                    "model": {"source": {"kind": "embedded"}},
                    "training": {"epochs": 1.0},
                    "evaluation": {"scorers": self.scorers, "gate": self.gate, **self._labels()},
                }
            )
        )

    def _labels(self) -> dict[str, str]:
        if self.human_labels is None:
            return {}
        (self.folder / "labels.jsonl").write_text("\n".join(map(json.dumps, self.human_labels)))
        return {"human_labels": "labels.jsonl"}

    def decide(self, out: str = "gate") -> GateReport:
        folders = {name: self.folder / out / name for name in ("test", "base", "sft", "guard", "training", "report")}
        for path in folders.values():
            path.mkdir(parents=True)
        write_table(self.items, ROW, folders["test"] / InstructionDataset.ROWS)
        proof = LeakageProof(
            against="train → test", train_rows=9, test_rows=len(self.items), ngram=3, threshold=0.7,
            containment_ngram=8, max_contained_share=1.0, exact=self.leaks, near=0, groups=0, contained=0,
            contained_over_limit=0, nearest=(), training_data_sha256="learned",
        )  # fmt: skip
        test = InstructionDataset.finalize(folders["test"], stage="test", rows=len(self.items), proof=proof)
        base = self._generations("base", self.base, self.base_conditions, self.base_truncated, folders["base"])
        sft = self._generations("sft", self.sft, self.sft_conditions, self.sft_truncated, folders["sft"])
        sentinel = SentinelResult(
            name="instruction_following_should_fail", mode="raw", expect="fails", prompt="p", answer="a",
            succeeded=not self.sentinel_passed, passed=self.sentinel_passed, blocking=True,
        )  # fmt: skip
        guard = GuardReport.finalize(folders["guard"], checks={"template": ""}, sentinels=(sentinel,), loader={})
        training = TrainingReport.finalize(
            folders["training"], findings=self.findings, upstream={"lora_adapter": self.diagnosed}
        )
        report = decide(test, base, sft, guard, training, self.experiment(), self.folder, folders["report"])
        self.made = {"test_split": test, "base_generations": base, "sft_generations": sft, "gate_report": report}
        return report

    def _generations(
        self, model, outputs: dict[str, str], conditions: dict[str, str], truncated: float, folder: Path
    ) -> Generations:
        every = [*outputs.items(), *((id, outputs[id]) for id in self.repeated)]
        ends = ["length" if k < round(truncated * len(every)) else "stop" for k in range(len(every))]
        rows = [
            {"id": id, "prompt": "p", "output": text, "tokens": 3, "finish_reason": end, "mean_logprob": -0.5}
            for (id, text), end in zip(every, ends, strict=True)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / Generations.ROWS)
        flips = [{"id": id, "first": outputs[id], "second": text} for id, text in self.second_texts.items()]
        (folder / "flips.json").write_text(json.dumps(flips if model == "base" else []))
        upstream = {"base_model": "base 1"} | ({"lora_adapter": "adapter 1"} if model == "sft" else {})
        return Generations.finalize(
            folder,
            flip_rate=2 * len(flips) / len(outputs) if flips and model == "base" else None,
            upstream=upstream,
            model=model,
            rows=len(rows),
            conditions=conditions,
            truncated_share=truncated,
            mean_tokens=3.0,
            trained_on=self.trained_on if model == "sft" else {},
        )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """An empty case in a folder of its own."""
    return Case(tmp_path)


@pytest.fixture
def facts() -> Callable[[GateReport], dict]:
    """Reads gate.json of a report."""
    return lambda report: json.loads(report.path("gate.json").read_text("utf-8"))


@pytest.fixture
def outcomes() -> Callable[[Any], dict[str, str]]:
    """Outcome by criterion of a report or decision."""
    return lambda report: {reason.criterion: reason.outcome for reason in report.reasons}
