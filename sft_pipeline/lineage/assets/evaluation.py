"""Generations of base and fine-tuned model, the checkpoint series, the capabilities, and the gate."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    CapabilityReport,
    ComparatorGenerations,
    GateReport,
    Generations,
    GuardReport,
    HumanReview,
    InstructionDataset,
    ModelSnapshot,
    ReviewRequest,
    SeriesReport,
    TrainingReport,
)
from sft_pipeline.errors import StoreError
from sft_pipeline.lineage import asset_checks, metadata
from sft_pipeline.lineage.asset import ASSETS, SCORERS, Asset, Check
from sft_pipeline.lineage.dependencies import decoding, judging, measuring_capabilities, prompting, scoring
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.specifications import key
from sft_pipeline.lineage.step import STEPS, Work, produce, step
from sft_pipeline.lineage.tags import CUDA, EVALUATION

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment
    from sft_pipeline.generation.engines.engine import Engine

AGE = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=8), fail_window=timedelta(days=15))
"""How old a gate may be before the UI shows it: one weekly re-evaluation missed is a warning, two are a failure."""


def _answers(
    name: str, description: str, consumes: tuple[str, ...], deps: tuple[str, ...], checks: tuple[Check, ...] = ()
) -> Asset:
    return Asset(
        name=name,
        step="generations",
        type=Generations,
        group=EVALUATION,
        docs="docs/how-to/generation.md",
        description=description,
        code=("generation/answers.py", "generation/engines"),
        borders={"generation/comparators.py": "makes the prompted base's answers, another asset of the step"},
        depends=lambda experiment, root: decoding(experiment),
        consumes=consumes,
        deps=deps,
        metadata=metadata.generations,
        source=(__file__, _answers.__code__.co_firstlineno),
        kinds=frozenset({"pytorch"}),
        checks=checks,
    )


GENERATIONS = (
    _answers(
        "base_generations",
        "The base model's answers to the test split.",
        ("base_model", "test_split"),
        # A plan that cannot work stops the base's answers too: nobody would use them.
        ("base_model_guard", "training_plan"),
    ),
    _answers(
        "sft_generations",
        "The fine-tuned model's answers to the same items, by the same engine and decoding.",
        ("base_model", "test_split", "lora_adapter"),
        ("base_model_guard", "training_report"),
        (Check(asset_checks.generations_comparable),),
    ),
)
COMPARATORS = Asset(
    name="comparator_generations",
    step="comparator_generations",  # its part of the specification: the other answers stand where it alone changes
    type=ComparatorGenerations,
    group=EVALUATION,
    docs="docs/how-to/prompted_base.md",
    description="The base's answers with examples in the prompt, or with another template; nothing where none is declared.",
    code=("generation/comparators.py", "generation/engines"),
    depends=prompting,
    consumes=("base_model", "train_split", "test_split"),
    deps=("base_model_guard", "training_plan"),
    inputs_of=lambda experiment: _compared(experiment, "base_model", "train_split", "test_split"),
    metadata=metadata.comparators,
    source=(__file__, _answers.__code__.co_firstlineno),
    kinds=frozenset({"pytorch"}),
)
ASSETS |= {asset.name: asset for asset in (*GENERATIONS, COMPARATORS)}


def _compared(experiment: "Experiment", *inputs: str) -> tuple[str, ...]:
    return inputs if experiment.evaluation.comparators else ()


PARTS = ("generations", COMPARATORS.step)
"""The parts of the specification that decide the answers."""


def _generations(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    # All are made in one step, so that the engine starts once. Adapter and diagnosis are no inputs of the step: it could
    # then not answer with the base alone before there is an adapter.
    @dg.multi_asset(
        name="generations",
        partitions_def=partitions,
        group_name=EVALUATION,
        op_tags=CUDA,
        can_subset=True,
        deps=["training_plan", "lora_adapter", "training_report", "train_split", *map(key, PARTS)],
        outs={asset.name: asset.out(is_required=False) for asset in (*GENERATIONS, COMPARATORS)},
        internal_asset_deps={
            a.name: {key(a.step), *map(dg.AssetKey, (*a.consumes, *a.deps))} for a in (*GENERATIONS, COMPARATORS)
        },
    )
    def generations(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        test_split: InstructionDataset,
        base_model_guard: GuardReport,
    ) -> Iterator[dg.MaterializeResult]:
        from sft_pipeline.generation.answers import check, generate
        from sft_pipeline.generation.comparators import generate_comparators
        from sft_pipeline.generation.engines import open_engine

        work = Work(context, project)
        given: dict[str, Artifact] = {"base_model": base_model, "test_split": test_split}
        with ExitStack() as stack:
            # One run at a time in this step, from the start. Otherwise one could hold the device and wait for the answers
            # that another one makes, while that one waits for the device.
            with user_errors():
                work.store.begin("generations", context.partition_key, "both", context.log.info)
            stack.callback(work.store.end, "generations", context.partition_key, stored=True)

            @cache
            def engine() -> "Engine":
                """Opened once, on one device until the step ends; stored answers that still stand need none."""
                stack.enter_context(work.on_devices())
                return stack.enter_context(open_engine(work.experiment, base_model))

            def made(asset: Asset, adapter: AdapterSnapshot | None) -> Iterator[dg.MaterializeResult]:
                model: Literal["base", "sft"] = "sft" if adapter else "base"
                upstream = {n: a for n, a in (given | {"lora_adapter": adapter}).items() if a is not None}

                def make(work: Work) -> dict[str, Artifact]:
                    experiment, folder, out = work.experiment, work.folder, work.out
                    return {
                        asset.name: generate(experiment, model, base_model, adapter, test_split, engine(), folder, out)
                    }

                return produce(work, [asset], upstream, make)

            base, sft = GENERATIONS
            if base.name in context.selected_output_names:
                with user_errors():
                    check(test_split, base_model_guard)
                yield from made(base, None)
            if sft.name in context.selected_output_names:
                with user_errors():
                    adapter = work.stored("lora_adapter", AdapterSnapshot)
                    check(test_split, base_model_guard, work.stored("training_report", TrainingReport), adapter)
                yield from made(sft, adapter)
            if COMPARATORS.name in context.selected_output_names:
                with user_errors():
                    check(test_split, base_model_guard)
                    train_split = work.stored("train_split", InstructionDataset)

                def prompted(work: Work) -> dict[str, Artifact]:
                    splits = train_split, test_split
                    made = generate_comparators(work.experiment, base_model, *splits, engine, work.folder, work.out)
                    return {COMPARATORS.name: made}

                every = given | {"train_split": train_split}
                upstream = {name: every[name] for name in COMPARATORS.inputs(work.experiment)}
                yield from produce(work, [COMPARATORS], upstream, prompted)

    return generations


STEPS["generations"] = _generations


def _series_inputs(experiment: "Experiment") -> tuple[str, ...]:
    return "base_model", "lora_adapter", f"{experiment.evaluation.series.split}_split"


def _measuring(experiment: "Experiment", root: Path) -> dict[str, Any]:
    series = experiment.evaluation.series.model_dump(mode="json", exclude={"live"})  # it measures the same, earlier
    test = experiment.evaluation.gate.model_dump(include={"test", "bootstrap_samples", "bootstrap_seed"})
    return {**decoding(experiment), **scoring(experiment, root), "series": series, "test": test}


def _fit_to_answer(work: Work, lora_adapter: AdapterSnapshot, items: InstructionDataset) -> None:
    from sft_pipeline.generation.answers import check

    guard, training = work.stored("base_model_guard", GuardReport), work.stored("training_report", TrainingReport)
    check(items, guard, training, lora_adapter)


def _fit_for_series(work: Work, lora_adapter: AdapterSnapshot, **given: Any) -> None:
    _fit_to_answer(work, lora_adapter, given[f"{work.experiment.evaluation.series.split}_split"])


@step(
    SeriesReport,
    group=EVALUATION,
    docs="docs/how-to/training.md",
    code=["evaluation/checkpoint_series.py", "generation/engines", *SCORERS],
    depends=_measuring,
    inputs_of=_series_inputs,
    require=_fit_for_series,
    deps=["training_report"],
    metadata=metadata.series,
    kinds=["pytorch"],
    cuda=True,
)
def checkpoint_series(
    work: Work,
    base_model: ModelSnapshot,
    lora_adapter: AdapterSnapshot,
    dev_split: InstructionDataset,
    test_split: InstructionDataset,
) -> SeriesReport:
    """Success on the declared split (dev by default) at the base, at each kept checkpoint and at the end."""
    from sft_pipeline.evaluation.checkpoint_series import series

    items = test_split if work.experiment.evaluation.series.split == "test" else dev_split
    return series(work.experiment, base_model, lora_adapter, items, work.root, work.folder, work.out)


def _fit_for_benchmarks(work: Work, lora_adapter: AdapterSnapshot, dev_split: InstructionDataset, **_: Any) -> None:
    _fit_to_answer(work, lora_adapter, dev_split)


@step(
    CapabilityReport,
    group=EVALUATION,
    docs="docs/how-to/capabilities.md",
    code=["capabilities/measure.py", "evaluation/scoring/sandbox_child.py"],
    depends=measuring_capabilities,
    require=_fit_for_benchmarks,
    deps=["training_report"],
    metadata=metadata.capabilities,
    checks=[Check(asset_checks.capabilities)],
    kinds=["pytorch", "json", "html"],
    cuda=True,
)
def capability_report(
    work: Work, base_model: ModelSnapshot, lora_adapter: AdapterSnapshot, dev_split: InstructionDataset
) -> CapabilityReport:
    """What did the model forget? Benchmarks and perplexity of base and fine-tuned model, item by item."""
    from sft_pipeline.capabilities.measure import report

    adapter = lora_adapter.root / "adapter"
    return report(work.experiment, base_model, adapter, dev_split, work.root, work.folder, work.out)


def _asking(experiment: "Experiment", root: Path) -> dict[str, Any]:
    review = experiment.evaluation.review
    return {"review": None if review is None else review.model_dump(mode="json", exclude={"returned"})}


def _returned(experiment: "Experiment", root: Path) -> dict[str, Any]:
    review = experiment.evaluation.review
    if review is None:
        return {"declared": False}
    from sft_pipeline.review.lineage_review import returned_files

    with user_errors():
        return {"declared": True, "returned": returned_files(review, root)}


def _reviewed(experiment: "Experiment", *inputs: str) -> tuple[str, ...]:
    return inputs if experiment.evaluation.review else ()


@step(
    ReviewRequest,
    group=EVALUATION,
    docs="docs/how-to/review.md",
    code=["review/lineage_review.py"],
    borders={
        "evaluation/scoring": "decides which pairs are drawn more often, and the weights undo it",
        "review/results.py": "reads what comes back",
    },
    depends=_asking,
    inputs_of=lambda experiment: _reviewed(experiment, "test_split", "base_generations", "sft_generations"),
    metadata=metadata.review_request,
    kinds=["html"],
)
def review_request(
    work: Work, test_split: InstructionDataset, base_generations: Generations, sft_generations: Generations
) -> ReviewRequest:
    """The pages of a declared human review, blinded, and the key that stays here; nothing where none is declared."""
    from sft_pipeline.review.lineage_review import request

    name = work.context.partition_key
    try:
        before = work.stored("review_request", ReviewRequest)
    except StoreError:  # there is none, or it is damaged
        before = None
    answers = base_generations, sft_generations
    return request(test_split, *answers, work.experiment, name, work.root, work.out, before)


@step(
    HumanReview,
    group=EVALUATION,
    docs="docs/how-to/review.md",
    code=["review/lineage_review.py"],
    borders={"review/make.py": "makes the request, which is an input"},
    depends=_returned,
    inputs_of=lambda experiment: _reviewed(experiment, "review_request"),
    metadata=metadata.human_review,
    kinds=["json"],
)
def human_review(work: Work, review_request: ReviewRequest) -> HumanReview:
    """What raters returned: labels, preference, and whether the raters can be believed; empty where nothing is declared."""
    from sft_pipeline.review.lineage_review import result

    return result(review_request, work.experiment, work.root, work.out)


def _deciding(experiment: "Experiment") -> tuple[str, ...]:
    inputs = "test_split", "base_generations", "sft_generations", "base_model_guard", "training_report"
    return inputs + _reviewed(experiment, "human_review") + _compared(experiment, "comparator_generations")


@step(
    GateReport,
    group=EVALUATION,
    docs="docs/explanation/gate.md",
    code=["evaluation/gate/lineage_gate.py", *SCORERS],
    depends=judging,
    inputs_of=_deciding,
    metadata=metadata.gate,
    checks=[Check(asset_checks.gate)],
    kinds=["json", "html"],
    freshness=AGE,
)
def gate_report(
    work: Work,
    test_split: InstructionDataset,
    base_generations: Generations,
    sft_generations: Generations,
    base_model_guard: GuardReport,
    training_report: TrainingReport,
    human_review: HumanReview,
    comparator_generations: ComparatorGenerations,
) -> GateReport:
    """Is the adapter better than its base? Verdict, paired statistics and every reason."""
    from sft_pipeline.evaluation.gate.lineage_gate import decide

    return decide(
        test_split,
        base_generations,
        sft_generations,
        base_model_guard,
        training_report,
        work.experiment,
        work.root,
        work.out,
        work.folder,
        human_review if work.experiment.evaluation.review else None,
        comparator_generations if work.experiment.evaluation.comparators else None,
    )
