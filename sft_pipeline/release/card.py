"""The model card: README.md for the hub with `model-index`, and `.eval_results/`; filled from the artifacts."""

import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    BenchmarkResult,
    CapabilityReport,
    ExportReport,
    GateReport,
    GroupResult,
    InstructionDataset,
    ModelSnapshot,
)
from sft_pipeline.experiment import Experiment, HubBase, HubData
from sft_pipeline.release.eligibility import part
from sft_pipeline.report.excerpt import HIDDEN, sign
from sft_pipeline.report.experiment.cost import Cost, lines
from sft_pipeline.report.gate.text import against_tuned, cost

UNKNOWN = "not declared"

DATASETS = {
    "mmlu": "cais/mmlu",
    "humaneval": "openai/openai_humaneval",
    "gsm8k": "openai/gsm8k",
    "truthfulqa": "truthfulqa/truthful_qa",
    "hellaswag": "Rowan/hellaswag",
}
"""The hub's datasets of the benchmarks, by their names in evaluation.capabilities."""


def plain(text: object) -> str:
    """Foreign text as Markdown shows it: in one line, without effect as HTML, as Markdown or as a control character."""
    line = HIDDEN.sub(lambda found: f"⟨{sign(found[0])}⟩", " ".join(str(text).split()))
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(line, quote=False))


def model_card(
    found: Mapping[str, Artifact],
    experiment: Experiment,
    name: str,
    kind: str,
    training: Mapping[str, Any],
    made: Cost,
) -> tuple[str, list[dict[str, Any]]]:
    """README.md, and the entries of `.eval_results/results.yaml`.

    Args:
        found: the artifacts, by asset.
        experiment: the specification.
        name: of the model.
        kind: release or report.
        training: the training manifest.
        made: the cost.
    """
    from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

    gate, base = part(found, "gate_report", GateReport), part(found, "base_model", ModelSnapshot)
    adapter = part(found, "lora_adapter", AdapterSnapshot)
    data, overall, declared = experiment.data.source, gate.overall, experiment.release
    hub = data.name if isinstance(data, HubData) else None
    dataset = hub or "local/" + re.sub(r"[^\w.-]+", "-", name)
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset,
            dataset_name=f"test split of {name}",
            dataset_split="test",
            dataset_revision=found["test_split"].version,
            metric_type="accuracy",
            metric_name=f"success, {group.name}",
            metric_value=round(group.sft_rate, 6),
            metric_args={"items": group.n, "interval": [round(bound, 6) for bound in group.sft_interval]},
        )
        for group in (overall, *gate.types)
    ]
    notes = f"{overall.sft_successes} of {overall.n} items; base {overall.base_rate:.4g}, lift {overall.lift:+.4g}"
    entries = [EvalResultEntry(dataset_id=dataset, task_id="test", value=round(overall.sft_rate, 6), notes=notes)]
    capabilities = _capabilities(found)
    for result in capabilities:
        if (known := DATASETS.get(result.benchmark.lower())) and result.sft is not None:
            notes = f"{result.n} of {result.available} items, {result.shots} shots; base {result.base.mean:.4g}"
            entries.append(
                EvalResultEntry(dataset_id=known, task_id=result.name, value=round(result.sft.mean, 6), notes=notes)
            )
    exports = found.get("model_exports")
    template = files("sft_pipeline.report").joinpath("templates", "model_card.md.j2").read_text("utf-8")
    card = ModelCard.from_template(
        ModelCardData(
            base_model=base.source if isinstance(experiment.model.source, HubBase) else None,
            datasets=[hub] if hub else None,
            library_name="peft",
            license=declared.license,
            pipeline_tag="text-generation",
            tags=["lora", "sft", "sft-pipeline"],
            model_name=name,
            eval_results=results,
        ),
        template_str=re.sub(r"^(\{%.*%\})\n", r"\1", template, flags=re.MULTILINE),  # the library trims no blocks
        name=plain(name),
        description=plain(experiment.description),
        kind=kind,
        verdict=gate.verdict,
        facts={
            "base model": plain(base.source),
            "base revision": plain(base.revision),
            "base licence": plain(declared.base_license or UNKNOWN),
            "licence": plain(declared.license or UNKNOWN),
            "adapter": f"LoRA, rank {experiment.training.lora.r}, {adapter.trainable_parameters:,} parameters, "
            f"of step {adapter.step} of {adapter.steps}",
            "rows": ", ".join(f"{split} {_rows(found, split):,}" for split in ("train", "dev", "test")),
            "dev loss, perplexity": f"{_number(adapter.dev_loss)}, {_number(training['result'].get('dev_perplexity'))}",
            "verdict of the gate": gate.verdict,
        },
        prompt="\n".join(f"    {line}" for line in _prompt(experiment).splitlines()),
        results=[_result(group) for group in (overall, *gate.types)],
        guarantees=[[plain(p.name), p.verdict, f"{p.margin:g}", _lift(p.result), p.result.n] for p in gate.protected],
        prompted=[
            [plain(c.name), plain(c.label), f"{100 * c.successes / c.n:.1f} %" if c.n else "–", _lift((a := against_tuned(gate, c.name)).result),
             _number(a.p_adjusted), c.finding, cost(gate, c.name)]
            for c in gate.comparators
        ],
        capabilities=[_capability(result) for result in capabilities],
        exports=[
            [plain(r.kind), r.verdict if r.files else f"{r.verdict}, not in this folder", _number(r.changed_share),
             _lift(r.overall.result) if r.overall else ""]
            for r in (exports.results if isinstance(exports, ExportReport) else ())
        ],
        limits=[plain(limit) for limit in _limits(found, experiment)],
        cost=lines(made),
        costs=[
            [", ".join(s.assets), f"{s.seconds:.1f}", plain(f"{s.devices} × {s.device}" if s.devices else s.device),
             _number(s.joules), _number(s.tokens), _number(s.price)]
            for s in made.steps
        ],
    )  # fmt: skip
    return card.content, eval_result_entries_to_yaml(entries)


def _capabilities(found: Mapping[str, Artifact]) -> Sequence[BenchmarkResult]:
    report = found.get("capability_report")
    return report.results if isinstance(report, CapabilityReport) else ()


def _capability(result: BenchmarkResult) -> list[str]:
    sft, interval = result.sft, result.difference_interval
    return [
        plain(result.name),
        str(result.n),
        f"{100 * result.base.mean:.1f} %",
        f"{100 * sft.mean:.1f} %" if sft else "",
        f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}" if interval else "",
        result.verdict or "",
    ]


def _result(group: GroupResult) -> list[str]:
    return [
        plain(group.name),
        str(group.n),
        f"{100 * group.base_rate:.1f} %",
        f"{100 * group.sft_rate:.1f} % ({100 * group.sft_interval[0]:.1f} to {100 * group.sft_interval[1]:.1f})",
        _lift(group),
        f"{group.lost} / {group.won}",
        f"{group.p_exact:.3g}",
    ]


def _lift(group: GroupResult) -> str:
    low, high = group.lift_interval
    return f"{100 * group.lift:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _rows(found: Mapping[str, Artifact], split: str) -> int:
    return part(found, f"{split}_split", InstructionDataset).rows


def _prompt(experiment: Experiment) -> str:
    if experiment.prompt.format == "plain":
        return experiment.prompt.render("{instruction}")
    return f"the chat template in chat_template.jinja, with the options {experiment.prompt.chat.options}"


def _limits(found: Mapping[str, Artifact], experiment: Experiment) -> list[str]:
    """What was declared, and what follows from what was looked at."""
    said = list(experiment.release.limits)
    source = "the declared test file" if experiment.data.test else "the same source as the training rows"
    decoding = "sampled answers" if experiment.generation.sampling else "greedy decoding"
    said.append(
        f"Judged on {_rows(found, 'test'):,} test items of {source}, with {decoding}: nothing is known of other tasks, "
        "prompts or languages."
    )
    if not _capabilities(found):
        said.append("General capabilities (MMLU and others) were not measured: what the model forgot is not known.")
    if experiment.release.base_license is None:
        said.append("The base model's licence is not declared here; it binds this adapter too.")
    gate = part(found, "gate_report", GateReport)
    said += [f"{r.criterion}: {r.detail}" for r in gate.reasons if r.outcome == "info" and r.id == "worse_types"]
    return said
