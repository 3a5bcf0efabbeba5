"""A whole lineage of small artifacts, made in a second: real files, real rows, the real gate."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    Generations,
    GuardReport,
    InstructionDataset,
    LeakageProof,
    LeakedPair,
    ModelSnapshot,
    SentinelResult,
    Threshold,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.evaluation.gate.lineage_gate import decide
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.hashing import files_below, hash_file
from sft_pipeline.provenance.store import Store

SECRET = "a row of the data, which no release may hold"
EXPERIMENT = {
    "description": "Made for a test.",
    "data": {"source": {"kind": "embedded"}},
    "model": {"source": {"kind": "embedded"}},
    "training": {"epochs": 1.0},
    "evaluation": {
        "scorers": {"default": {"kind": "exact"}},
        "gate": {"protected": [{"name": "sums", "types": ["sum"], "margin": 0.1}]},
    },
}
UPSTREAM = {
    "raw_dataset": (),
    "base_model": (),
    "clean_dataset": ("raw_dataset", "base_model"),
    "train_split": ("clean_dataset", "raw_dataset"),
    "dev_split": ("clean_dataset", "raw_dataset"),
    "test_split": ("clean_dataset", "raw_dataset"),
    "base_model_guard": ("base_model",),
    "training_plan": ("train_split", "dev_split", "test_split", "base_model", "base_model_guard"),
    "lora_adapter": ("train_split", "dev_split", "base_model", "base_model_guard", "training_plan"),
    "training_report": ("lora_adapter", "training_plan"),
    "base_generations": ("base_model", "test_split"),
    "sft_generations": ("base_model", "test_split", "lora_adapter"),
    "gate_report": ("test_split", "base_generations", "sft_generations", "base_model_guard", "training_report"),
}


def experiment(**sections) -> Experiment:
    return Experiment.model_validate_json(json.dumps(EXPERIMENT | sections))


@dataclass
class Lineage:
    """Makes the artifacts; `right` of 300 answers of the fine-tuned model are right, 30 of the base's."""

    folder: Path
    right: int = 250
    lora_b: float = 0.5

    def make(self) -> dict[str, Artifact]:
        self.found: dict[str, Artifact] = {}
        for asset in UPSTREAM:
            out = self.folder / asset
            out.mkdir(parents=True)
            artifact = getattr(self, asset, None)
            made = artifact(out) if artifact else self.dataset(asset, out)
            upstream = {name: self.found[name].version for name in UPSTREAM[asset]}
            times = {"step_seconds": 2.0, "step_price_per_hour": 3.6}
            key = "splits" if asset.endswith("_split") else asset
            update = {"upstream": upstream, "key": key, "measurements": made.measurements | times}
            self.found[asset] = made.model_copy(update=update)
        return self.found

    def rows(self, n: int) -> list[dict]:
        rows = []
        for k in range(n):
            kind, instruction, answer = ("sum" if k % 2 else "capital"), f"{SECRET} {k}?", f"answer {k}"
            id = row_id(instruction, answer, kind, None)
            row = dict.fromkeys(ROW.names) | {"id": id, "instruction": instruction, "response": answer, "type": kind}
            rows.append(row | {"source_file": "made.jsonl", "source_row": k + 1})
        return rows

    def dataset(self, asset: str, out: Path) -> InstructionDataset:
        stage = asset.partition("_")[0]
        n = 300 if stage == "test" else 20
        write_table(self.rows(n), ROW, out / InstructionDataset.ROWS)
        proof = None
        if stage in ("dev", "test"):
            near = LeakedPair(
                tier="near", test_id="1", train_id="2", similarity=0.3, test_text=SECRET, train_text=SECRET
            )
            counts = {"ngram": 3, "threshold": 0.7, "containment_ngram": 8, "max_contained_share": 0.5}
            none = {"exact": 0, "near": 0, "groups": 0, "contained": 0, "contained_over_limit": 0}
            proof = LeakageProof(
                against="train → test", train_rows=20, test_rows=n, training_data_sha256="1" * 64, nearest=(near,), **counts, **none
            )  # fmt: skip
        return InstructionDataset.finalize(
            out,
            stage=stage,
            rows=n,
            rejected={"clean": {"empty": 3}, "train": {"leak": 2}}.get(stage, {}),
            source=f"made.jsonl (sha256 {'0' * 64}, 12 bytes)",
            unreadable=(SECRET,) if stage == "raw" else (),
            statistics={"median": 2.0},
            thresholds=(Threshold(name="kept_share", value=0.9, limit=0.5, direction="at least"),) if stage == "clean" else (),
            proof=proof,
        )  # fmt: skip

    def base_model(self, out: Path) -> ModelSnapshot:
        (out / "config.json").write_text("{}")
        return ModelSnapshot.finalize(
            out, source="nobody/base", revision="abc", architecture="Some", parameters=10, vocabulary=5
        )

    def base_model_guard(self, out: Path) -> GuardReport:
        sentinel = SentinelResult(
            name="s", mode="raw", expect="fails", prompt="p", answer="a", succeeded=False, passed=True, blocking=True
        )
        return GuardReport.finalize(out, checks={"template": ""}, sentinels=(sentinel,), loader={"version": "1"})

    def training_plan(self, out: Path) -> TrainingPlan:
        return TrainingPlan.finalize(
            out, train_rows=20, effective_batch=4, steps=5, warmup_steps=1, coverage=1.0, learning_rates=(0.0, 1e-4),
            tokens_per_epoch=100, padding_share=0.0, trainable_parameters=8, total_parameters=10, memory_bytes={},
        )  # fmt: skip

    def lora_adapter(self, out: Path) -> AdapterSnapshot:
        (out / "adapter").mkdir(parents=True)
        names = ("base_model.model.layer.lora_A.weight", "base_model.model.layer.lora_B.weight")
        weights = {names[0]: np.ones((2, 4), np.float32), names[1]: np.full((4, 2), self.lora_b, np.float32)}
        save_file(weights, out / "adapter" / "adapter_model.safetensors")
        (out / "adapter" / "adapter_config.json").write_text("{}")
        (out / "adapter" / "tokenizer.json").write_text("{}")
        (out / "log_history.json").write_text("[]")
        (out / "validation_samples.jsonl").write_text(json.dumps({"prompt": SECRET}) + "\n")
        (out / "TRAINING_SUCCESS").write_text("{}")
        made = experiment()
        manifest = {
            "finished": "2026-01-02T03:04:05Z",
            "hyperparameters": made.training.model_dump(mode="json"),
            "prompt": made.prompt.model_dump(mode="json"),
            "model": made.model.loading,
            "environment": {"python": "3.11", "torch": "2.13.0", "commit": "a" * 40, "threads": "1", "cores": "2"},
            "result": {"dev_loss": 0.5, "dev_perplexity": 1.65},
        }
        (out / "training_manifest.json").write_text(json.dumps(manifest))
        return AdapterSnapshot.finalize(
            out, steps=5, step=5, epochs=1.0, trainable_parameters=16, loss_first=2.0, loss_last=1.0, dev_loss=0.5,
            training_data=("1" * 64,), measurements={"seconds": 7200.0, "tokens": 1000},
        )  # fmt: skip

    def training_report(self, out: Path) -> TrainingReport:
        return TrainingReport.finalize(out, findings=())

    def base_generations(self, out: Path) -> Generations:
        return self.generations(out, "base", 30)

    def sft_generations(self, out: Path) -> Generations:
        return self.generations(out, "sft", self.right)

    def generations(self, out: Path, model: str, right: int) -> Generations:
        rows = self.rows(300)
        said = [row["response"] if k < right else f"wrongs {k}" for k, row in enumerate(rows)]
        table = {
            "id": [row["id"] for row in rows],
            "prompt": [row["instruction"] for row in rows],
            "output": said,
            "tokens": [3] * 300,
            "finish_reason": ["stop"] * 300,
            "mean_logprob": pa.array([-0.1] * 300, pa.float64()),
        }
        pq.write_table(pa.table(table), out / Generations.ROWS)
        decoding = {
            k: v for k, v in experiment().generation.model_dump(mode="json").items() if k in ("max_new_tokens",)
        }
        return Generations.finalize(
            out, model=model, rows=300, conditions={"items": "abc", "decoding": json.dumps(decoding)}, truncated_share=0.0,
            mean_tokens=3.0, flip_rate=0.0,
        )  # fmt: skip

    def gate_report(self, out: Path):
        given = (self.found[name] for name in UPSTREAM["gate_report"])
        return decide(*given, experiment(), self.folder, out)


def sums_again(folder: Path) -> None:
    """What somebody does who changes a file and makes the sums fit."""
    names = [p.relative_to(folder).as_posix() for p in files_below(folder)]
    lines = [f"{hash_file(folder / name)}  {name}\n" for name in names if name not in ("SHA256SUMS", "model.sig")]
    (folder / "SHA256SUMS").write_text("".join(sorted(lines, key=lambda line: line[66:])))


@pytest.fixture(scope="session")
def passed(tmp_path_factory) -> dict[str, Artifact]:
    """A lineage whose gate passed; read only."""
    return Lineage(tmp_path_factory.mktemp("passed")).make()


@pytest.fixture(scope="session")
def failed(tmp_path_factory) -> dict[str, Artifact]:
    """One whose gate failed."""
    return Lineage(tmp_path_factory.mktemp("failed"), right=31).make()


@pytest.fixture(scope="session")
def made(passed, tmp_path_factory) -> Path:
    """A release; read only."""
    from sft_pipeline.release.build import build

    folder = tmp_path_factory.mktemp("release")
    build(passed, experiment(), "made", folder)
    return folder


@pytest.fixture
def release(made, tmp_path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def project(passed, tmp_path, monkeypatch) -> Path:
    """A project whose store holds the passed lineage as the experiment `made`."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "made.yaml").write_text(json.dumps(EXPERIMENT))
    monkeypatch.setenv("SFT_PIPELINE_ROOT", str(tmp_path))
    monkeypatch.setenv("SFT_PIPELINE_STORE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")
    for asset, artifact in passed.items():
        folder = store.new_folder()
        shutil.copytree(artifact.root, folder, dirs_exist_ok=True)
        store.put(asset, "made", artifact.model_copy(update={"root": folder}))
    return tmp_path


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Two pairs of key files; the first one signs."""
    from cryptography.hazmat.primitives import serialization as to
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, found = tmp_path_factory.mktemp("keys"), {}
    for name in ("own", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())
        public = key.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
        for kind, content in (("key", private), ("pub", public)):
            found[f"{name}.{kind}"] = folder / f"{name}.{kind}"
            found[f"{name}.{kind}"].write_bytes(content)
    return found
