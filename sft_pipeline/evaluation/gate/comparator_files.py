"""Comparators of which files are given: the base with another prompt, or any other model, on the items of a gate over files."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.leakage.pairs import leaking_pairs
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.gate.pairs import MODELS, Answer, Pair
from sft_pipeline.evaluation.gate.prompted import NONE, Prompted, Prompts, judge, mean_of, prompts
from sft_pipeline.evaluation.inputs.outputs import Output
from sft_pipeline.evaluation.inputs.reading import Given
from sft_pipeline.experiment import Data, EmbeddedData, Evaluation

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def named(arguments: Sequence[str]) -> dict[str, Path]:
    """The comparators that arguments NAME=FILE name.

    Raises:
        DataError: an argument is not of that form, or a name stands twice.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not equals or not name or not file:
            raise DataError(f"--comparator {argument!r}: must be NAME=FILE, such as few_shot=few_shot.jsonl")
        if name in found:
            raise DataError(
                f"--comparator: {name} stands twice ({found[name]} and {file}); give each a name of its own"
            )
        found[name] = Path(file)
    return found


def check_names(names: Collection[str]) -> None:
    """Refuse names that others have, or that no column can have.

    Raises:
        DataError: naming them.
    """
    for name in names:
        if name in ("base", "sft"):
            raise DataError(f"--comparator {name}: is the name of a model that is compared anyway; take another one")
        if not _NAME.fullmatch(name):
            raise DataError(
                f"--comparator {name!r:.60}: a name is a lower-case letter, then letters, digits and underscores (at most 40)"
            )


def compared(
    given: Mapping[str, Given],
    rows: Sequence[Mapping[str, Any]],
    supplied: Collection[str],
    sides: Sequence[Mapping[str, Output]],
    made: Sequence[Pair],
    evaluation: Evaluation,
    root: Path,
) -> Prompts:
    """The comparators beside base and fine-tuned model.

    Args:
        given: by name what its file says.
        rows: the items.
        supplied: ids of the items that are judged in the files; the scorers judge the others.
        sides: outputs of base and fine-tuned model by id.
        made: their answers with judgements.
        evaluation: scorers and criteria.
        root: where relative files of the specification start.

    Raises:
        DataError: a comparator has other items, says something else of one, is judged otherwise than base and fine-tuned
            model, or has a test item in a prompt.
    """
    if not given:
        return NONE
    by_id = {row["id"]: row for row in rows}
    tables = {name: {o.id: o for o in one.log.outputs} for name, one in given.items()}
    unseen = {}
    for name, table in tables.items():
        _check(given[name].path, table, by_id, supplied)
        unseen[name] = _refuse_leaks(given[name].path, list(table.values()), rows)
    used = {pair.id for pair in made}
    rest = [row for row in rows if row["id"] in used and row["id"] not in supplied]
    outputs = {
        model: {id: o.output or "" for id, o in table.items()}
        for model, table in {"base": sides[0], "sft": sides[1], **tables}.items()
    }
    judged, in_pairs = judge(rest, outputs, evaluation, root) if rest else ({name: {} for name in tables}, {})
    prompted = [
        Prompted(
            name,
            f"the comparator {name}",
            {
                id: Answer.of(verdict, o.output or "", o.tokens, o.cut)
                if (verdict := judged[name].get(id))
                else Answer(o.output, o.success, o.failure, o.labels, tokens=o.tokens, cut=o.cut)
                for id, o in table.items()
                if id in used
            },
            prompt_tokens=mean_of([o.prompt_tokens for o in table.values()]),
            notes=(*given[name].log.notes, *_other_settings(table, sides[0]), *unseen[name]),
        )
        for name, table in tables.items()
    ]
    plain: dict[str, float | None] = {
        m: mean_of([o.prompt_tokens for o in side.values()]) for m, side in zip(MODELS, sides, strict=True)
    }
    return prompts(made, prompted, evaluation.gate, plain, in_pairs)


def _check(
    path: Path,
    table: Mapping[str, Output],
    by_id: Mapping[str, Mapping[str, Any]],
    supplied: Collection[str],
) -> None:
    """Whether a comparator's rows are about the same items, and can be judged as the others are."""
    if extra := list(table.keys() - by_id.keys()):
        raise DataError(
            f"{path}: {some(extra)} are not items of base and fine-tuned model; give the answers to the same items"
        )
    for o in table.values():
        for name in ("instruction", "type", "group"):
            known = by_id[o.id][name]
            if name in o.item and known not in (None, "", "all") and o.item[name] != known:
                raise DataError(
                    f"{path}, row {o.row}, field {name}: {o.item[name]:.60} for the item {o.id}, of which the other files say "
                    f"{known:.60}; the items must be the same for all models"
                )
        if (o.id in supplied) != bool(o.judged or o.failure):
            raise DataError(
                f"{path}, row {o.row}: "
                + (
                    "has no field success, as base and fine-tuned model have for this item"
                    if o.id in supplied
                    else "has a field success, but the scorers judge base and fine-tuned model on this item"
                )
                + "; judge all answers to an item in the same way"
            )
        if o.id not in supplied and o.output is None:
            raise DataError(f"{path}, row {o.row}, field output: is missing, so there is nothing to judge")


def _refuse_leaks(path: Path, outputs: Sequence[Output], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Refuse a prompt that holds a test item besides its own question, by the project's own search; what could not be seen.

    Raises:
        DataError: names the row, the item and the tier.
    """
    items = [row for row in rows if row["instruction"]]
    asked, shown = {row["id"]: row["instruction"] for row in items}, []
    for o in outputs:
        if o.prompt is not None:
            before, own, after = _text(json.loads(o.prompt)).rpartition(asked.get(o.id) or "\0")
            shown.append(
                {"id": o.id, "instruction": before + after, "response": "", "group": None, "own": own, "row": o.row}
            )
    if not items or len(shown) < len(outputs):
        lacking = (
            "the instructions of the items are not known"
            if not items
            else f"{len(outputs) - len(shown)} rows have no prompt"
        )
        unseen = [f"{lacking}, so that nobody looked whether they hold test items"]
    else:
        unseen = []
    if not items or not shown:
        return unseen
    near = leaking_pairs(shown, items, Data(source=EmbeddedData(kind="embedded")))
    found = [
        (shown[at]["row"], item, tier)
        for item, rows_near in near.items()
        for at, tier in rows_near.items()
        # A prompt in which the question cannot be found word by word is near its own item by itself.
        if shown[at]["id"] != item or shown[at]["own"]
    ]
    if found:
        row, item, tier = min(found)
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise DataError(
            f"{path}, row {row}: the prompt holds the test item {item} ({tier}{more}). Examples come from the training split: one "
            "that is near a test item says its answer; make the prompts again without it"
        )
    return unseen


def _text(prompt: Any) -> str:
    """The text of a prompt: a text, or the contents of a conversation."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return "\n".join(map(_text, prompt))
    return _text(prompt.get("content")) if isinstance(prompt, dict) else ""


def _other_settings(table: Mapping[str, Output], base: Mapping[str, Output]) -> list[str]:
    """Settings that differ from the base's, which a reader must know; another prompt is what a comparator is for."""
    both = [(o.settings, base[id].settings) for id, o in table.items() if id in base]
    names = sorted({name for pair in both for settings in pair for name in settings})
    differ = [n for n in names if any(one.get(n) != other.get(n) for one, other in both)]
    return [f"the rows say another {', '.join(differ)} than those of the base"] if differ else []
