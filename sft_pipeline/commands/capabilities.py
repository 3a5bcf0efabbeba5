"""Benchmarks of any model folder, without Dagster."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from sft_pipeline.commands.common import evaluation_of, experiment_of, results, shown, user_errors
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import Experiment


def capabilities(
    model: Annotated[Path, typer.Argument(help="Folder of a model in Hugging Face layout with safetensors weights.")],
    spec: Annotated[
        str, typer.Option(help="Specification with evaluation.capabilities; it may hold `evaluation` alone.")
    ],
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter: both are measured and compared.")] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="baseline_metrics.json of an earlier model, to compare this one with.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the specification's, or cpu.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; default: the specification's, or float32.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for the report.")] = None,
) -> None:
    """Measure a model on benchmarks, and what an adapter made of it.

    The perplexity is not taken here: a model folder has no dev split.
    """
    from sft_pipeline.capabilities.measure import report
    from sft_pipeline.model.snapshot import in_place
    from sft_pipeline.report.capabilities.text import summary

    with user_errors():
        experiment, root = _experiment(spec, model, adapter, device, dtype)
        declared = experiment.evaluation.capabilities
        if declared is None or not declared.benchmarks:
            raise SpecificationError(f"{spec}: it declares no benchmark under evaluation.capabilities.benchmarks")
        if baseline:
            given = declared.model_copy(update={"baseline": str(baseline.resolve()).replace("$", "$$")})
            evaluation = experiment.evaluation.model_copy(update={"capabilities": given})
            experiment = experiment.model_copy(update={"evaluation": evaluation})
        with results(out) as folder, tempfile.TemporaryDirectory() as work:
            made = report(experiment, in_place(model), adapter, None, root, Path(work), folder)
            typer.echo(summary(made))
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(1 if made.problems else 0)


def _experiment(
    spec: str, model: Path, adapter: Path | None, device: str | None, dtype: str | None
) -> tuple[Experiment, Path]:
    """The specification over the given model, and where its relative paths start.

    A file that holds `evaluation` alone says nothing of a model: it is then loaded and asked with the defaults.

    Raises:
        SpecificationError: it does not hold, or knows no such device or precision.
    """
    from pydantic import ValidationError

    from sft_pipeline.generation.engines.engine import adapter_config

    evaluation, root = evaluation_of(spec)
    try:
        whole = experiment_of(spec)
    except SpecificationError:  # sound as far as the line above needs it
        whole = None
    source = {"kind": "folder", "path": str(model.resolve()).replace("$", "$$")}
    given: dict[str, Any] = {name: value for name, value in (("device", device), ("dtype", dtype)) if value}
    loading = whole.model.model_dump(mode="json") if whole else {}
    rank = adapter_config(adapter)["r"] if adapter and (adapter / "adapter_config.json").is_file() else 16
    fields: dict[str, Any] = {
        "description": f"capabilities of {model.name}",
        "data": {"source": {"kind": "embedded"}},  # no row of it is read
        "model": loading | given | {"source": source},
        "training": {"max_steps": 1, "lora": {"r": rank}},
        "generation": whole.generation.model_dump(mode="json") if whole else {},
        "evaluation": evaluation.model_dump(mode="json"),
    }
    try:
        return Experiment.model_validate_json(json.dumps(fields)), root
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecificationError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']} (given: {first['input']!r:.80})"
        ) from error
