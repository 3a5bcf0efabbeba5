"""An export against the gated adapter, item by item: is what is shipped what was tested?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import ExportResult, Generations, InstructionDataset, ProtectedResult
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.formatting import interval, signed, some
from sft_pipeline.evaluation.gate.criteria.non_inferiority import judge as non_inferiority
from sft_pipeline.evaluation.gate.lineage_gate import pairs
from sft_pipeline.evaluation.inputs.repeated_questions import Question, with_clusters_of_questions
from sft_pipeline.evaluation.statistics.power import items_to_decide
from sft_pipeline.experiment import Evaluation, Protected

NAMED = 5
"""Lost items that a sentence names; all stand in exports.json."""


def compare(
    kind: str,
    outputs: Mapping[str, str],
    engine: str,
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    evaluation: Evaluation,
    margin: float,
    root: Path,
    work: Path | None = None,
) -> ExportResult:
    """Judge an export's answers by the gate's scorers, and hold them against those of the gated adapter.

    It is accepted where the loss is shown to be within `margin` over all items, and within the gate's own margins over its
    protected types: the lower bounds of Tango's intervals, over clusters where items share one. Where it is not shown the
    export is inferior if a loss is observed, and undecided if the items are too few to show anything.

    Args:
        kind: of the export.
        outputs: its answer to each test item, by id.
        engine: what made them.
        test: the items.
        base: the base's answers.
        sft: the gated adapter's answers.
        evaluation: scorers and gate.
        margin: largest tolerated loss.
        root: the project's root folder.
        work: folder that outlives a killed process, for a judge's replies.

    Raises:
        DataError: an item has no answer, or there are answers to other items.
    """
    rows = read_table(test.path(InstructionDataset.ROWS))
    ids = {row["id"] for row in rows}
    if outputs.keys() != ids:
        missing, extra = sorted(ids - outputs.keys()), sorted(outputs.keys() - ids)
        raise DataError(
            f"export {kind}: its answers are not those to the test split: {some(missing or extra)} "
            f"{'without an answer' if missing else 'that the split does not have'}"
        )
    rows, _ = with_clusters_of_questions(rows, {row["id"]: Question(row["instruction"]) for row in rows})
    adapter, own = texts(sft), texts(base)
    shown = {"kind": kind, "margin": margin, "engine": engine}
    differ = [id for id in adapter if adapter[id] != own.get(id)]
    as_base = sum(outputs[id] == own[id] for id in differ)
    figures: dict[str, Any] = {
        "changed_share": sum(outputs[id] != adapter[id] for id in adapter) / len(adapter),
        "base_share": as_base / len(differ) if differ else None,
    }
    sides = ({id: _row(text) for id, text in side.items()} for side in (adapter, outputs))
    made, _ = pairs(rows, list(sides), evaluation, root, work)
    c = Comparison(made, evaluation.gate)
    overall = non_inferiority(Protected(name=kind, types=tuple(sorted(set(c.types))), margin=margin), c)
    guarantees = tuple(non_inferiority(spec, c) for spec in evaluation.gate.protected)
    lost = tuple(p.id for p in made if p.base.success and p.sft.success is False)
    won = tuple(p.id for p in made if p.sft.success and p.base.success is False)
    figures |= {"overall": overall, "protected": guarantees, "lost": lost, "won": won}
    if differ and as_base == len(differ):
        return ExportResult(
            **shown,
            **figures,
            verdict="equals_base",
            detail=f"every answer is the base's, also to the {len(differ)} items to which the adapter gives another one: the "
            "adapter is not in this export",
            remedy="Merge the adapter before the export, and look for its weights in the result.",
        )
    open_ = [p for p in (overall, *guarantees) if p.verdict != "held"]
    worse = [p for p in open_ if p.result.lift < 0]
    detail = _sentence(overall, figures, lost)
    for found in open_:
        if found is not overall:
            detail += (
                f"; {found.name}: {found.result.lost} lost of {found.result.n}, margin {signed(-found.margin)} points"
            )
    if not open_:
        return ExportResult(**shown, **figures, verdict="accepted", detail=detail)
    if worse:
        remedy = (
            "Export the other base (merged or merged_dequantized) or a finer quantisation, or ship the adapter itself."
        )
        return ExportResult(**shown, **figures, verdict="inferior", detail=detail, remedy=remedy)
    needed = max(items_to_decide(p.margin, p.result.lost) for p in open_)
    return ExportResult(
        **shown,
        **figures,
        verdict="undecided",
        detail=detail,
        remedy=f"Nothing is lost, but it takes {needed} items to show a loss within the margin: add test items, or declare "
        "a larger export.margin.",
    )


def texts(generations: Generations) -> dict[str, str]:
    """The answers by the id of their item."""
    rows = read_table(generations.path(Generations.ROWS), ["id", "output"])
    return {row["id"]: row["output"] for row in rows}


def _row(text: str) -> dict[str, Any]:
    return {"output": text, "tokens": None, "finish_reason": "", "mean_logprob": None}


def _sentence(overall: ProtectedResult, figures: Mapping[str, Any], lost: Sequence[str]) -> str:
    result = overall.result
    named = f" ({', '.join(lost[:NAMED])}{', …' if lost[NAMED:] else ''})" if lost else ""
    return (
        f"{result.n} items: {result.lost} lost{named}, {result.won} won, difference {signed(result.lift)} points "
        f"({interval(result.lift_interval)}), margin {signed(-overall.margin)}; {figures['changed_share']:.1%} of the texts "
        "differ from the adapter's"
    )
