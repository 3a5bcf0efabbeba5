"""Writes a release folder, or that of a report; the same artifacts and specification give the same bytes."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from sft_pipeline.artifacts import (
    Artifact,
    CapabilityReport,
    ExportReport,
    GateReport,
    ReleaseSnapshot,
    eligibility,
)
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.hashing import files_below, hash_file
from sft_pipeline.release import bom, card, verify
from sft_pipeline.release.data_card import data_card
from sft_pipeline.release.eligibility import OPTIONAL, PARTS, part, problems
from sft_pipeline.release.statement import statement
from sft_pipeline.report.experiment import cost, sheet

FILES = (
    ("lora_adapter", "", ("TRAINING_SUCCESS", "training_manifest.json")),
    ("lora_adapter", "reports/training/", ("log_history.json", "loss.png")),
    ("training_report", "reports/training/", ("curves.png",)),
    ("training_plan", "reports/training/", ("schedule.png",)),
    ("gate_report", "reports/", ("gate.json", "gate.txt", "rates.png", "differences.png", "environment.json")),
    ("checkpoint_series", "reports/", ("series.md", "series.png")),
    ("capability_report", "", (CapabilityReport.BASELINE,)),
    ("capability_report", "reports/capabilities/", ("capabilities.json", "capabilities.txt", "differences.png")),
    ("model_exports", "reports/", ("exports.json",)),
)
"""Files of the artifacts that are copied, and to which folder: those without rows of the data and without answers."""


def build(
    found: Mapping[str, Artifact],
    experiment: Experiment,
    name: str,
    out: Path,
    kind: Literal["release", "report"] = "release",
    *,
    link: bool = False,
) -> ReleaseSnapshot:
    """Write the folder, from stored artifacts whose files were checked.

    Args:
        found: the artifacts, by asset; others than those of a release are left out.
        experiment: the specification that they were made with.
        name: of the experiment.
        out: empty folder.
        kind: a report holds neither adapter nor exports, and may be of a gate that did not pass.
        link: whether large files may be hard links to those of the artifacts, which nobody must change then.

    Raises:
        PreconditionError: the artifacts may not be released, with every reason.
    """
    found = {asset: found[asset] for asset in (*PARTS, *OPTIONAL) if asset in found}
    if kind == "release":
        eligibility.require("release", problems(found, experiment, name))
    elif missing := [asset for asset in PARTS if asset not in found]:
        raise PreconditionError(f"report refused: {', '.join(missing)} is not stored; materialize it first")
    gate = part(found, "gate_report", GateReport)
    title = experiment.release.name or name
    copy = _link if link else shutil.copyfile
    origin = _copied(found, out, kind, copy)
    training = json.loads((out / "training_manifest.json").read_text("utf-8"))
    made = cost.cost(found, experiment.release)
    if CapabilityReport.BASELINE not in origin:
        _json(out / CapabilityReport.BASELINE, _metrics(gate, training))
    specification = experiment.model_dump(mode="json")
    _text(out / "specification.yaml", yaml.safe_dump(specification, sort_keys=False, allow_unicode=True))
    readme, results = card.model_card(found, experiment, title, kind, training, made)
    _text(out / "README.md", readme)
    if kind == "release":
        _text(out / ".eval_results" / "results.yaml", yaml.safe_dump(results, sort_keys=False, allow_unicode=True))
    lineage = sheet.Lineage(name, found, experiment=experiment, within=kind)
    texts = {"gate": "gate.txt", "capabilities": "capabilities/capabilities.txt"}
    there = {stage: file for stage, file in texts.items() if (out / "reports" / file).is_file()}
    _text(out / "reports" / "experiment.html", sheet.page(lineage, there, "python3 -I verify.py"))
    data, croissant = data_card(found, experiment, title)
    _text(out / "data" / "README.md", data)
    _text(out / "data" / "croissant.json", croissant)
    subjects = _subjects(out, kind, origin)
    _text(out / "bom.cdx.json", bom.bom(found, subjects, experiment, title, training))
    _json(out / verify.LINEAGE, {"experiment": name, "artifacts": {a: _described(x) for a, x in found.items()}})
    _json(out / verify.STATEMENT, statement(found, subjects, specification, training))
    shutil.copyfile(verify.__file__, out / "verify.py")
    hashes = {path.relative_to(out).as_posix(): hash_file(path) for path in files_below(out)}
    manifest = {
        "kind": kind,
        "name": title,
        "experiment": name,
        "verdict": gate.verdict,
        "artifacts": [[asset, artifact.version] for asset, artifact in found.items()],
        "subjects": sorted(subjects),
        "origin": origin,
        "written": {file: digest for file, digest in hashes.items() if file not in origin},
        "cost": made.model_dump(mode="json"),
        "environment": training["environment"],
    }
    _json(out / verify.MANIFEST, manifest)
    hashes[verify.MANIFEST] = hash_file(out / verify.MANIFEST)
    _text(out / verify.SUMS, "".join(f"{digest}  {file}\n" for file, digest in sorted(hashes.items())))
    if wrong := verify.check(str(out))[0]:
        raise PreconditionError("the written folder does not match itself: " + "; ".join(wrong))
    hashes[verify.SUMS] = hash_file(out / verify.SUMS)
    return ReleaseSnapshot.finalize(out, hashes, kind=kind, verdict=gate.verdict)


def _copied(
    found: Mapping[str, Artifact], out: Path, kind: str, copy: Callable[[Path, Path], object]
) -> dict[str, Any]:
    """Copy the artifacts' files; returns asset and file of each, by its name in the release."""
    origin: dict[str, list[str]] = {}

    def take(asset: str, file: str, to: str) -> None:
        target = out / to
        target.parent.mkdir(parents=True, exist_ok=True)
        copy(found[asset].path(file), target)
        origin[to] = [asset, file]

    for asset, folder, names in FILES:
        for file in names:
            if asset in found and file in found[asset].files:
                take(asset, file, folder + file)
    if kind == "release":
        for file in found["lora_adapter"].files:
            if file.startswith("adapter/"):
                take("lora_adapter", file, file.removeprefix("adapter/"))
        exports = found.get("model_exports")
        for result in exports.results if isinstance(exports, ExportReport) else ():
            for file in result.files:
                take("model_exports", file, f"exports/{file}")
    return origin


def _subjects(out: Path, kind: str, origin: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What is released: adapter, tokenizer and exports; of a report the gate's report."""
    names = ["reports/gate.json"]
    if kind == "release":
        names = [n for n, (_, file) in origin.items() if file.startswith("adapter/") or n.startswith("exports/")]
    return {name: hash_file(out / name) for name in sorted(names)}


def _described(artifact: Artifact) -> dict[str, Any]:
    described, identity = artifact.described, artifact.identity
    stable = described["files"]
    entry = {
        "version": artifact.version,
        "digest": artifact.digest,
        "described": described,
        "others": {name: ref.sha256 for name, ref in sorted(artifact.files.items()) if name not in stable},
        "key": artifact.key,
    }
    return entry if identity == described else entry | {"identity": identity}


def _metrics(gate: GateReport, training: Mapping[str, Any]) -> dict[str, Any]:
    """Baseline figures where no capabilities were measured: those of the gate and of the training."""
    groups = {
        g.name: {"n": g.n, "successes": g.sft_successes, "interval": g.sft_interval}
        for g in (gate.overall, *gate.types)
    }
    result = training["result"]
    return {
        "benchmarks": {},
        "test_split": groups,
        "dev_loss": result["dev_loss"],
        "dev_perplexity": result["dev_perplexity"],
    }


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _json(path: Path, value: object) -> None:
    _text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
