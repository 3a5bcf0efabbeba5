"""The gate over anybody's outputs: two files of answers, with judgements or for the scorers of a specification."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sft_pipeline.artifacts import GateReport, Reason
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.gate.criteria.truncation import truncation
from sft_pipeline.evaluation.gate.lineage_gate import labelled
from sft_pipeline.evaluation.gate.pairs import Answer, AnswerPair, pairs, scored
from sft_pipeline.evaluation.gate.preconditions import same_items
from sft_pipeline.evaluation.gate.verdict import verdict
from sft_pipeline.evaluation.gate.write_report import write
from sft_pipeline.evaluation.inputs.outputs import Output, read_item_rows, read_outputs
from sft_pipeline.evaluation.inputs.repeated_questions import question, with_clusters_of_questions
from sft_pipeline.evaluation.scoring.score import Judged, score_both, scorer_for
from sft_pipeline.experiment import Evaluation
from sft_pipeline.provenance.hashing import hash_file

Sides = tuple[Mapping[str, Output], Mapping[str, Output]]


def decide_outputs(
    base: Path, sft: Path, items: Path | None, evaluation: Evaluation, root: Path, out: Path
) -> GateReport:
    """Decide over two files of outputs and write the report to `out`.

    An item that both files judge keeps that judgement; one that neither judges goes to the scorer of its type. Only what
    the files say can be checked: guard, training and leakage are not part of this comparison, and a reason says so.

    Args:
        base: outputs of the base (outputs.py).
        sft: outputs of the fine-tuned model.
        items: what is known of the items, where the outputs do not say it.
        evaluation: criteria, and the scorers where rows are not judged.
        root: where relative files of the specification start.
        out: empty folder.

    Raises:
        DataError: a file cannot be used, ids are not the same everywhere, or an item is judged on one side only.
    """
    known = read_item_rows(items) if items else None
    sides: Sides = tuple({o.id: o for o in read_outputs(path)} for path in (base, sft))
    tables = {} if known is None else {f"items {items}": list(known)}
    same, _ = same_items({**tables, f"base {base}": list(sides[0]), f"sft {sft}": list(sides[1])})
    if same.outcome == "refused":
        raise DataError(f"the files do not hold the same items: {same.detail}")
    rows = [_row(id, known[id] if known else {}, sides) for id in (known or sides[0])]
    asked = {
        row["id"]: question([side[row["id"]] for side in sides], known[row["id"]] if known else {}) for row in rows
    }
    rows, repeated = with_clusters_of_questions(rows, asked)
    brought = _brought(sides, (base, sft))
    made = _judged(rows, brought, sides, evaluation, root)
    reasons = [same, _unknown(), *_prompts(sides), *repeated, _judgements(len(rows), len(brought), evaluation)]
    facts = {
        "inputs": {"base": hash_file(base), "sft": hash_file(sft)} | ({"items": hash_file(items)} if items else {}),
        "conditions": {},
        "trained_on": {},
        "flip_rates": {},
        "truncation": None,
    }
    said = [[o.cut for o in side.values() if o.cut is not None] for side in sides]
    if all(said):
        facts["truncation"] = {name: sum(cut) / len(cut) for name, cut in zip(("base", "sft"), said, strict=True)}
    reasons += _truncation(said, sides, evaluation)
    texts = all(o.output is not None for side in sides for o in side.values())
    found = labelled(made, evaluation, root)
    both = pairs(made)
    decision = verdict(both, reasons, evaluation.gate, agreement=found, texts_known=texts)
    return write(decision, made, both, evaluation.gate, facts, out)


def _row(id: str, known: Mapping[str, str], sides: Sides) -> dict[str, str | None]:
    """A row of an instruction dataset, from what the items file and the rows of both sides say."""
    row = {"id": id, "instruction": "", "response": "", "type": "all", "group": None, "reference": None}
    for name in ("instruction", "type", "group", "reference"):
        said = {given[name] for given in (known, *(side[id].item for side in sides)) if name in given}
        if len(said) > 1:
            raise DataError(
                f"item {id}, field {name}: {' and '.join(f'{s:.60}' for s in sorted(said))} in different files; the items "
                "must be the same for both models"
            )
        row[name] = said.pop() if said else row[name]
    return row | {"response": known.get("response", "")}


def _brought(sides: Sides, paths: tuple[Path, Path]) -> set[str]:
    """Ids of the items that are judged in both files.

    Raises:
        DataError: an item is judged in one of them only: two judges of one pair say nothing about the models.
    """
    judged = [{id for id, o in side.items() if o.judged} for side in sides]
    if half := sorted(judged[0] ^ judged[1]):
        only = [f"{len(judged[k] - judged[1 - k])} in {paths[k]} only" for k in (0, 1) if judged[k] - judged[1 - k]]
        raise DataError(
            f"{some(half)} have a field success on one side only ({', '.join(only)}): judge both answers to an item in the "
            "same way; null says that an answer could not be judged"
        )
    return judged[0] & judged[1]


def _judged(
    rows: Sequence[Mapping], brought: set[str], sides: Sides, evaluation: Evaluation, root: Path
) -> list[AnswerPair]:
    """Both answers to every item with their judgement, in the order of `rows`."""
    rest = [row for row in rows if row["id"] not in brought]
    if rest and not evaluation.scorers:
        raise DataError(
            f"{some([r['id'] for r in rest])} are not judged. Add success (true, false or null) to every row of both files, or "
            "name a specification with scorers (--spec) and what they compare with (--items: id, instruction, response or "
            "reference, type)"
        )
    for row in rest:
        for side in sides:
            if side[row["id"]].output is None:
                raise DataError(f"item {row['id']}, field output: is missing, so there is nothing to judge")
    outputs = [{row["id"]: side[row["id"]].output for row in rest} for side in sides]
    verdicts = {b.id: (b, s) for b, s in _scored(rest, outputs, evaluation, root)} if rest else {}
    made = []
    for row in rows:
        answers = tuple(side[row["id"]] for side in sides)
        if row["id"] in brought:
            both = [Answer(a.output, a.success, tokens=a.tokens, cut=a.cut) for a in answers]
            made.append(AnswerPair.of(row, None, None, *both))
        else:
            spec = scorer_for(row["type"], evaluation.scorers)
            both = [scored(v, a.output, a.tokens, a.cut) for v, a in zip(verdicts[row["id"]], answers, strict=True)]
            made.append(AnswerPair.of(row, verdicts[row["id"]][0].verifier, spec, *both))
    return made


def _scored(
    rows: Sequence[Mapping], outputs: Sequence[Mapping[str, str]], evaluation: Evaluation, root: Path
) -> list[tuple[Judged, Judged]]:
    """The scorers' judgements.

    Raises:
        DataError: a scorer lacks what it compares with; where no row has any of it, that is said instead of one item's field.
    """
    try:
        return score_both(rows, *outputs, evaluation, root)
    except DataError as error:
        if any(row["response"] or row["reference"] for row in rows):
            raise
        raise DataError(
            "the expected answers are missing: the scorers of the specification compare with them, and neither the items nor "
            "the rows of both files have any. Bring them with --items: a file with id and response or reference"
        ) from error


def _truncation(said: Sequence[Sequence[bool]], sides: Sides, evaluation: Evaluation) -> list[Reason]:
    """The shares of cut answers among the rows that tell, how many do not, and the words that tell nothing here."""
    unknown = sorted({o.unknown_finish for side in sides for o in side.values() if o.unknown_finish is not None})
    if not any(said) and not unknown:
        return []
    shares = [sum(cut) / len(cut) if cut else None for cut in said]
    found = truncation(*shares, evaluation.gate, "generate with a higher limit of new tokens or with stop strings")
    silent = [len(side) - len(cut) for side, cut in zip(sides, said, strict=True)]
    if not any(silent):
        return [found]
    detail = (
        f"{found.detail}; {silent[0]} rows of the base and {silent[1]} of the fine-tuned model have no finish_reason"
    )
    if unknown:
        words = ", ".join(f"{word!r:.40}" for word in unknown[:4])
        detail += f" that is known here ({words}{', …' if unknown[4:] else ''}; length is a cut, stop is none)"
    outcome = found.outcome if any(said) else "info"
    return [found.model_copy(update={"detail": detail, "outcome": outcome})]


def _prompts(sides: Sides) -> list[Reason]:
    """Whether both models were given the same prompt, as far as both files say what it was."""
    both = [(id, o.prompt, sides[1][id].prompt) for id, o in sides[0].items()]
    both = [(id, *prompts) for id, *prompts in both if None not in prompts]
    if not both:
        return []
    differ = [id for id, base, sft in both if base != sft]
    return [
        Reason(
            criterion="same prompt",
            outcome="refused" if differ else "pass",
            detail=f"{some(differ)} have another prompt for the base than for the fine-tuned model: give both the same"
            if differ
            else f"the same for both models in all {len(both)} items of which both files say it",
        )
    ]


def _unknown() -> Reason:
    return Reason(
        criterion="preconditions",
        outcome="info",
        detail="guard, training, leakage, decoding and precision are not known here, and the prompt only where both files "
        "have a field prompt",
    )


def _judgements(n: int, brought: int, evaluation: Evaluation) -> Reason:
    """Who judged: nobody shall have to guess it."""
    if brought == n:
        detail = f"success was brought for all {n} items"
        if evaluation.scorers:
            detail += "; the scorers of the specification were not asked"
    elif brought:
        detail = (
            f"success was brought for {brought} items, the other {n - brought} were judged by the specification's scorers: "
            "two ways of judging in one comparison"
        )
    else:
        detail = f"the specification's scorers judged all {n} items"
    return Reason(criterion="judgements", outcome="info", detail=detail)
