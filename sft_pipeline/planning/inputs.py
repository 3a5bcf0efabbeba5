"""Gathers what a plan needs from materialized artifacts: lengths, headroom, test items."""

import json
from pathlib import Path

from sft_pipeline.artifacts import AdapterSnapshot, InstructionDataset, ModelSnapshot, TrainingPlan, eligibility
from sft_pipeline.capabilities.items import read as read_benchmark
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError, StoreError
from sft_pipeline.evaluation.scoring.score import score_items
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines.engine import Engine
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer
from sft_pipeline.planning import plan
from sft_pipeline.planning import test_items as plan_items
from sft_pipeline.provenance.store import Store
from sft_pipeline.training import tokenization


def plan_from_artifacts(
    experiment: Experiment,
    base: ModelSnapshot,
    train: InstructionDataset,
    dev: InstructionDataset,
    test: InstructionDataset,
    root: Path,
    out: Path,
) -> TrainingPlan:
    """The plan with everything measured: token lengths of the train split, the base's success on the dev split.

    The test items are only checked for what would stop generation or gate (test_items.py).

    `root` is the project's root, where relative files of the scorers' options start.

    Raises:
        PreconditionError: the test split leaks, so that no gate over it could be believed.
        PipelineError: a test item cannot be asked or judged, as `plan_items.check`.
    """
    eligibility.require("training plan", eligibility.split_problems(test))
    from sft_pipeline.generation.engines import open_engine

    plan_items.check(experiment, base, test, load_tokenizer(base.root, experiment.model, experiment.prompt))
    with open_engine(experiment, base) as engine:
        headroom = successes(engine, experiment, dev, root)
    spec = experiment.evaluation.capabilities
    declared = spec.benchmarks if spec else {}
    counts = {name: len(read_benchmark(name, benchmark, root).items) for name, benchmark in declared.items()}
    return _measured(experiment, base, train, dev, test, engine.tokenizer, headroom, out, counts)


def plan_from_specification(experiment: Experiment, name: str, store: Store, out: Path) -> TrainingPlan:
    """The plan without Dagster and without loading weights.

    Where the specification states `data.expected`, everything comes from the specification, whatever is materialized;
    otherwise from the materialized splits and base of the experiment `name`. The base's success is not
    measured here.

    Raises:
        PreconditionError: neither is there.
        PipelineError: a materialized test item cannot be asked or judged, as `plan_items.check`.
    """
    rate = measured_rate(store, name)
    if experiment.data.expected is not None:
        return plan.make(experiment, None, experiment.data.expected.test_rows, None, None, out, measured_rate=rate)
    try:
        train, dev, test = (store.get(f"{split}_split", name, InstructionDataset) for split in ("train", "dev", "test"))
        base = store.get("base_model", name, ModelSnapshot)
    except StoreError as error:
        raise PreconditionError(
            f"a plan needs the length of the training data: state data.expected in the specification, or materialize "
            f"splits and base first (sft-pipeline run {name} --select '*train_split,dev_split,test_split'). {error}"
        ) from error
    tokenizer = load_tokenizer(base.root, experiment.model, experiment.prompt)
    plan_items.check(experiment, base, test, tokenizer)
    return _measured(experiment, base, train, dev, test, tokenizer, None, out, rate=rate)


def measured_rate(store: Store, name: str) -> float | None:
    """Tokens per second of the experiment's newest adapter, as its manifest has them; None without one."""
    try:
        adapter = store.get("lora_adapter", name, AdapterSnapshot)
    except StoreError:
        return None
    return json.loads(adapter.path("training_manifest.json").read_text())["measurements"].get("tokens_per_second")


def _measured(
    experiment: Experiment,
    base: ModelSnapshot,
    train: InstructionDataset,
    dev: InstructionDataset,
    test: InstructionDataset,
    tokenizer: CleanTokenizer,
    headroom: tuple[int, int] | None,
    out: Path,
    benchmark_items: dict[str, int] | None = None,
    rate: float | None = None,
) -> TrainingPlan:
    """The plan with the lengths of the rows of both splits that the training reads."""
    lengths, dev_lengths = (
        tokenization.lengths(experiment, tokenizer, read_table(s.path(s.ROWS))) for s in (train, dev)
    )
    config = json.loads(base.path("config.json").read_text("utf-8"))
    return plan.make(experiment, lengths, test.types, config, headroom, out, dev_lengths, benchmark_items, rate)


def successes(
    engine: Engine,
    experiment: Experiment,
    items: InstructionDataset,
    root: Path,
) -> tuple[int, int]:
    """Successful answers and answers that could be judged: a type that is judged in pairs only counts in neither.

    Args:
        engine: the loaded base model.
        experiment: gives prompt, decoding and scorers.
        items: the split, usually dev: the test split is for the gate alone.
        root: the project's root, where relative files of the scorers' options start.
    """
    rows = read_table(items.path(InstructionDataset.ROWS))
    prompts = prompts_of(experiment, engine.tokenizer, rows, engine.context)
    answers = engine.answer(prompts, experiment.generation)
    outputs = {row["id"]: answer.text for row, answer in zip(rows, answers, strict=True)}
    judged = [j for j in score_items(rows, outputs, experiment.evaluation, root) if j.success is not None]
    return sum(bool(j.success) for j in judged), len(judged)
