"""The gate over anybody's outputs: two files of answers, with judgements or for the scorers of a specification."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.artifacts import GateReport, Reason
from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate import comparator_files
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.gate.criteria.registry import precondition
from sft_pipeline.evaluation.gate.lineage_gate import labelled, preferred, scorer_names
from sft_pipeline.evaluation.gate.pairs import Answer, Pair
from sft_pipeline.evaluation.gate.preconditions import bad_references, same_items
from sft_pipeline.evaluation.gate.prompted import Prompts
from sft_pipeline.evaluation.gate.verdict import Decision, verdict
from sft_pipeline.evaluation.gate.write_report import write
from sft_pipeline.evaluation.inputs.outputs import Output, read_item_rows
from sft_pipeline.evaluation.inputs.reading import RECOGNISED, Given, Reading, read_logs
from sft_pipeline.evaluation.inputs.repeated_questions import question, with_clusters_of_questions
from sft_pipeline.evaluation.scoring.score import Judged, LeftOut, left_out, score_both, scorer_for
from sft_pipeline.experiment import Evaluation
from sft_pipeline.provenance.hashing import hash_file

Sides = tuple[Mapping[str, Output], Mapping[str, Output]]


class Examined(NamedTuple):
    """A decision over files with all that its report needs."""

    decision: Decision
    pairs: list[Pair]
    facts: dict[str, Any]
    prompted: Prompts


def decide_outputs(
    base: Path,
    sft: Path,
    items: Path | None,
    evaluation: Evaluation,
    root: Path,
    out: Path,
    reading: Reading = RECOGNISED,
    comparators: Mapping[str, Path] = {},
) -> GateReport:
    """Decide over two files of outputs and write the report to `out`.

    An item that both files judge keeps that judgement; one that neither judges goes to the scorer of its type. Only what
    the files say can be checked: guard, training and leakage are not part of this comparison, and a reason says so.

    Args:
        base: outputs of the base, in a format of inputs/reading.py.
        sft: outputs of the fine-tuned model.
        items: what is known of the items, where the outputs do not say it.
        evaluation: criteria, and the scorers where rows are not judged.
        root: where relative files of the specification start.
        out: empty folder.
        reading: how the outputs are to be read.
        comparators: by name, outputs of the base with another prompt, or of any other model.

    Raises:
        DataError: a file cannot be used, ids are not the same everywhere, an item is judged on one side only, or a
            comparator's prompt holds a test item.
    """
    found = examine(base, sft, items, evaluation, root, reading, comparators)
    return write(found.decision, found.pairs, evaluation.gate, found.facts, out, found.prompted)


def examine(
    base: Path,
    sft: Path,
    items: Path | None,
    evaluation: Evaluation,
    root: Path,
    reading: Reading = RECOGNISED,
    comparators: Mapping[str, Path] = {},
) -> Examined:
    """Decide as `decide_outputs`, and write nothing."""
    comparator_files.check_names(comparators)
    known = read_item_rows(items) if items else None
    given = read_logs((base, sft, *comparators.values()), reading.widened(len(comparators)), len(comparators))
    given, others = given[:2], dict(zip(comparators, given[2:], strict=True))
    _require_outcomes(given, evaluation)
    sides: Sides = ({o.id: o for o in given[0].log.outputs}, {o.id: o for o in given[1].log.outputs})
    tables = {} if known is None else {f"items {items}": list(known)}
    same, _ = same_items({**tables, f"base {base}": list(sides[0]), f"sft {sft}": list(sides[1])})
    if same.outcome == "refused":
        raise DataError(f"the files do not hold the same items: {same.detail}")
    rows = [_row(id, known[id] if known else {}, sides) for id in (known or sides[0])]
    asked = {
        row["id"]: question([side[row["id"]] for side in sides], known[row["id"]] if known else {}) for row in rows
    }
    rows, repeated = with_clusters_of_questions(rows, asked)
    supplied = _supplied(sides, (base, sft))
    rows = [row | _place(row["id"], known, items, sides, (base, sft)) for row in rows]
    made, unusable = _judged(rows, supplied, sides, evaluation, root)
    reasons = [
        same,
        *_read_as(given),
        _not_checked(sides, [name for name in evaluation.comparators if name not in comparators]),
        *_conditions(sides),
        *_prompts(sides),
        *_references(known, sides),
        *repeated,
    ]
    reasons += [_judgements(len(rows), len(supplied), evaluation), *bad_references(unusable, len(rows))]
    prompted = comparator_files.compared(others, rows, supplied, sides, made, evaluation, root)
    reasons += prompted.reasons
    models = [
        sorted({printable(str(json.loads(o.settings["model"]))) for o in side.values() if "model" in o.settings})
        for side in sides
    ]
    facts: dict[str, Any] = {
        "sources": {
            name: path.name + (f" ({', '.join(named[:2])})" if named else "")
            for name, path, named in zip(("base", "fine-tuned"), (base, sft), models, strict=True)
        }
        | ({"items": items.name} if items else {})
        | scorer_names(evaluation, {row["type"] for row in rows if row["id"] not in supplied}),
        "inputs": {"base": given[0].sha256, "sft": given[1].sha256} | ({"items": hash_file(items)} if items else {}),
        "conditions": {},
        "trained_on": {},
        "flip_rates": {},
        "truncation": None,
    }
    said = [[o.cut for o in side.values() if o.cut is not None] for side in sides]
    if all(said):
        facts["truncation"] = {name: sum(cut) / len(cut) for name, cut in zip(("base", "sft"), said, strict=True)}
    for name, other in others.items():
        facts["sources"][name] = other.path.name
        facts["inputs"][name] = other.sha256
    found = labelled(made, evaluation, root)
    preference = preferred(evaluation, root)
    decision = verdict(made, reasons, evaluation.gate, agreement=found, preference=preference)
    return Examined(decision, made, facts, prompted)


def _require_outcomes(given: Sequence[Given], evaluation: Evaluation) -> None:
    """The gate counts successes.

    Raises:
        DataError: the files have scores between 0 and 1, or beyond, and no threshold was declared; or a log has no scores, and
            there are no scorers.
    """
    for g in given:
        if g.format.name != "rows" and not evaluation.scorers and not any(o.judged for o in g.log.outputs):
            raise DataError(
                f"{g.path}: {g.format.title}, but none of its {len(g.log.outputs)} answers has a score"
                f"{''.join(f' ({note})' for note in g.log.notes)}. Score it there, or name a specification with scorers (--spec)"
            )
    values = sorted({v for g in given for v in g.scores.values() if v is not None})
    if not values:
        return
    raise DataError(
        f"the scores {given[0].log.metric} are no booleans ({len(values)} values from {values[0]:g} to {values[-1]:g}), and the gate "
        "counts successes. Declare which score is one (--threshold 0.5, or '<=0.2' where less is better); or test the scores "
        "themselves: sft-pipeline compare BASE SFT"
    )


def _read_as(given: Sequence[Given]) -> list[Reason]:
    """What the files were read as, where they are not the project's own rows."""
    said = [
        f"{g.format.title}, {len(g.log.outputs)} answers" + "".join(f"; {note}" for note in g.log.notes) for g in given
    ]
    if all(g.format.name == "rows" and not g.log.notes for g in given):
        return []
    detail = f"both: {said[0]}" if said[0] == said[1] else f"base: {said[0]}. Fine-tuned: {said[1]}"
    return [precondition("inputs", "info", detail)]


def _row(id: str, known: Mapping[str, str], sides: Sides) -> dict[str, Any]:
    """A row of an instruction dataset, from what the items file and the rows of both sides say."""
    row: dict[str, Any] = {
        "id": id,
        "instruction": "",
        "response": "",
        "type": "all",
        "group": None,
        "reference": None,
    }
    for name in ("instruction", "type", "group", "reference"):
        said = {given[name] for given in (known, *(side[id].item for side in sides)) if name in given}
        if len(said) > 1:
            raise DataError(
                f"item {id}, field {name}: {' and '.join(f'{s:.60}' for s in sorted(said))} in different files; the items "
                "must be the same for both models"
            )
        row[name] = said.pop() if said else row[name]
    return row | {"response": known.get("response", "")}


def _place(
    id: str, known: Mapping[str, Mapping[str, str]] | None, items: Path | None, sides: Sides, paths: tuple[Path, Path]
) -> dict[str, Any]:
    """Where the reference of an item stands: in the file of items, or in the first file of outputs that has it."""
    if items is not None and known is not None and {"reference", "response"} & known[id].keys():
        return {"source_file": str(items), "source_row": int(known[id]["row"])}
    for side, path in zip(sides, paths, strict=True):
        if "reference" in side[id].item:
            return {"source_file": str(path), "source_row": side[id].row}
    return {}


def _supplied(sides: Sides, paths: tuple[Path, Path]) -> set[str]:
    """Ids of the items that are judged in both files.

    Raises:
        DataError: an item is judged in one of them only: two judges of one pair say nothing about the models.
    """
    failed = {id for side in sides for id, o in side.items() if o.failure}
    judged = [{id for id, o in side.items() if o.judged or id in failed} for side in sides]
    if half := sorted(judged[0] ^ judged[1]):
        only = [f"{len(judged[k] - judged[1 - k])} in {paths[k]} only" for k in (0, 1) if judged[k] - judged[1 - k]]
        raise DataError(
            f"{some(half)} have a field success on one side only ({', '.join(only)}): judge both answers to an item in the "
            "same way; null says that an answer could not be judged"
        )
    return judged[0] & judged[1]


def _judged(
    rows: Sequence[Mapping[str, Any]], supplied: set[str], sides: Sides, evaluation: Evaluation, root: Path
) -> tuple[list[Pair], list[LeftOut]]:
    """Both answers to every item with their judgement, in the order of `rows`, and the items that are left out."""
    rest = [row for row in rows if row["id"] not in supplied]
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
    outputs = [{row["id"]: side[row["id"]].output or "" for row in rest} for side in sides]
    verdicts = {b.id: (b, s) for b, s in _scored(rest, outputs, evaluation, root)} if rest else {}
    unusable = left_out(rest, [verdicts[row["id"]][0] for row in rest])
    made = []
    for row in rows:
        if row["id"] in verdicts and verdicts[row["id"]][0].reference_problem:
            continue
        answers = tuple(side[row["id"]] for side in sides)
        if row["id"] in supplied:
            both = [Answer(a.output, a.success, a.failure, a.labels, tokens=a.tokens, cut=a.cut) for a in answers]
            made.append(replace(Pair.of(row, None, None, *both), compared=all(a.compared for a in answers)))
        else:
            spec = scorer_for(row["type"], evaluation.scorers)
            both = [
                Answer.of(v, a.output or "", a.tokens, a.cut) for v, a in zip(verdicts[row["id"]], answers, strict=True)
            ]
            made.append(Pair.of(row, verdicts[row["id"]][0], spec, *both))
    return made, unusable


def _scored(
    rows: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, str]], evaluation: Evaluation, root: Path
) -> list[tuple[Judged, Judged]]:
    """The scorers' judgements.

    Raises:
        DataError: a scorer lacks what it compares with; where no row has any of it, that is said instead of one item's field.
    """
    try:
        return score_both(rows, outputs[0], outputs[1], evaluation, root)
    except DataError as error:
        if any(row["response"] or row["reference"] for row in rows):
            raise
        raise DataError(
            "the expected answers are missing: the scorers of the specification compare with them, and neither the items nor "
            "the rows of both files have any. Supply them with --items: a file with id and response or reference"
        ) from error


def _conditions(sides: Sides) -> list[Reason]:
    """What the rows say of how the answers were made: equal, and known on both sides or on none."""
    problems, seen = [], set()
    for name in sorted({name for side in sides for o in side.values() for name in o.settings}):
        values = [[o.settings.get(name) for o in side.values()] for side in sides]
        if name in ("model", "model_name"):
            problems += _models([{v for v in side if v} for side in values])
            continue
        seen.add(name)
        lone = [sum(v is not None for v in side) for side in values]
        if not all(lone):
            problems.append(f"{name} is known of the {'base' if lone[0] else 'fine-tuned model'} only")
            continue
        differ = [id for id, o in sides[0].items() if o.settings.get(name) != sides[1][id].settings.get(name)]
        if differ:
            first = [str(side[differ[0]].settings.get(name, "not given")) for side in sides]
            problems.append(f"{name} differs in {some(differ)}: {first[0]:.40} (base), {first[1]:.40} (fine-tuned)")
    if not problems and not seen:
        return []
    detail = "; ".join(problems) or f"the rows of both files say the same of {', '.join(sorted(seen))}"
    return [precondition("same_conditions", "refused" if problems else "pass", detail)]


_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(?:x\d+)?([bm])(?![a-z])", re.IGNORECASE)


def _models(names: Sequence[set[str]]) -> list[str]:
    """Names that cannot be a base and its adapter: several in one file, or of different size."""
    problems = [
        f"the rows of the {model} name {len(given)} models ({', '.join(sorted(given)[:3])})"
        for model, given in zip(("base", "fine-tuned model"), names, strict=True)
        if len(given) > 1
    ]
    sizes = [{size.group().lower() for name in given for size in _SIZE.finditer(name)} for given in names]
    if all(sizes) and not sizes[0] & sizes[1]:
        problems.append(f"the models are of different size: {', '.join(sorted(names[0] | names[1])[:4])}")
    return problems


def _prompts(sides: Sides) -> list[Reason]:
    """Whether both models were given the same prompt, as far as the files say what it was."""
    both = [(id, o.prompt, sides[1][id].prompt) for id, o in sides[0].items()]
    both = [(id, first, second) for id, first, second in both if (first, second) != (None, None)]
    if not both:
        return []
    lone = [id for id, *prompts in both if None in prompts]
    differ = [id for id, base, sft in both if None not in (base, sft) and base != sft]
    problems = [f"{some(lone)} have a prompt in one file only"] if lone else []
    problems += [f"{some(differ)} have another prompt for the base than for the fine-tuned model"] if differ else []
    fine = f"the same for both models in all {len(both)} items of which the files say it"
    return [precondition("same_prompt", "refused" if problems else "pass", "; ".join(problems) or fine)]


def _references(known: Mapping[str, Mapping[str, str]] | None, sides: Sides) -> list[Reason]:
    """An expected answer that one file of outputs brings alone, and no file of items."""
    lone = [
        id
        for id, o in sides[0].items()
        if ("reference" in o.item) != ("reference" in sides[1][id].item)
        and "reference" not in (known or {}).get(id, {})
    ]
    if not lone:
        return []
    return [
        precondition("same_reference", "refused", f"{some(lone)} have an expected answer in one file of outputs only")
    ]


def _not_checked(sides: Sides, unanswered: Sequence[str]) -> Reason:
    """What two files cannot tell, and what these do not; `unanswered` are declared comparators without a file."""
    silent = [sum(o.cut is None for o in side.values()) for side in sides]
    detail = "guard, training and leakage are not known here"
    if not any(o.settings.keys() - {"model", "model_name"} for side in sides for o in side.values()):
        detail += ", nor is decoding"
    if not any(o.prompt or o.identity for side in sides for o in side.values()):
        detail += ", nor the prompt"
    if any(silent):
        detail += (
            f"; {silent[0]} rows of the base and {silent[1]} of the fine-tuned model have no finish_reason that is known, so that "
            "only their texts tell whether they were cut"
        )
    if unknown := sorted({o.unknown_finish for side in sides for o in side.values() if o.unknown_finish is not None}):
        words = ", ".join(f"{word!r:.40}" for word in unknown[:4])
        detail += f" (not known: {words}{', …' if unknown[4:] else ''}; length is a cut, stop is none)"
    if unanswered:
        detail += (
            f"; the specification's comparators {', '.join(unanswered)} have no answers here (--comparator NAME=FILE)"
        )
    return precondition("not_checked", "info", detail)


def _judgements(n: int, supplied: int, evaluation: Evaluation) -> Reason:
    """Who judged: nobody shall have to guess it."""
    if supplied == n:
        detail = f"success was supplied for all {n} items"
        if evaluation.scorers:
            detail += "; the scorers of the specification were not asked"
    elif supplied:
        detail = (
            f"success was supplied for {supplied} items, the other {n - supplied} were judged by the specification's scorers: "
            "two ways of judging in one comparison"
        )
    else:
        detail = f"the specification's scorers judged all {n} items"
    return precondition("judgements", "info", detail)
