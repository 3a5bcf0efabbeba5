"""The gate: judges both models' answers to the test split, decides, and writes the report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import (
    Agreement,
    Artifact,
    ComparatorGenerations,
    GateReport,
    Generations,
    GuardReport,
    HumanReview,
    InstructionDataset,
    Preference,
    TrainingReport,
)
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.gate.pairs import MODELS, Answer, Pair
from sft_pipeline.evaluation.gate.preconditions import bad_references, preconditions, same_items
from sft_pipeline.evaluation.gate.prompted import NONE, Prompted, Prompts, judge, prompts
from sft_pipeline.evaluation.gate.verdict import verdict
from sft_pipeline.evaluation.gate.write_report import write
from sft_pipeline.evaluation.inputs.human_labels import read_labels
from sft_pipeline.evaluation.inputs.repeated_questions import Question, with_clusters_of_questions
from sft_pipeline.evaluation.scoring.score import Judged, LeftOut, inside, left_out, score_both, score_items, scorer_for
from sft_pipeline.evaluation.statistics.kappa import agreement
from sft_pipeline.experiment import Evaluation, Experiment
from sft_pipeline.provenance import environment
from sft_pipeline.provenance.hashing import canonical_json


def decide(
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    guard: GuardReport,
    training: TrainingReport,
    experiment: Experiment,
    root: Path,
    out: Path,
    work: Path | None = None,
    review: HumanReview | None = None,
    comparators: ComparatorGenerations | None = None,
) -> GateReport:
    """Judge both models' answers, decide, and write the report to `out`; the same artifacts give the same files.

    Besides them `environment.json` says what the report was made with: it differs between machines, and is in no digest.

    Items that one side lacks or has twice are left out of the statistics, and the verdict is `refused`.

    Args:
        test: the items.
        base: the base's answers.
        sft: the answers of the base with its adapter.
        guard: of the base.
        training: diagnosis of the adapter's training.
        experiment: gives scorers and criteria.
        root: the project's root, where relative files of the specification start.
        out: empty folder for the report.
        work: a folder that outlives a killed process; None keeps nothing for another one.
        review: what people said of these answers, where the specification declares a review.
        comparators: the prompted base's answers, where the specification declares some.
    """
    from sft_pipeline.dataset.table import read_table

    evaluation = experiment.evaluation
    rows = read_table(test.path(InstructionDataset.ROWS))
    answers = [_read_generations(g) for g in (base, sft)]
    names = ("test split", "base generations", "sft generations")
    ids = ([r["id"] for r in table] for table in (rows, *answers))
    same, common = same_items(dict(zip(names, ids, strict=True)))
    rows = [row for row in rows if row["id"] in common]
    rows, repeated = with_clusters_of_questions(rows, {row["id"]: Question(row["instruction"]) for row in rows})
    by_id = [{a["id"]: a for a in side} for side in answers]
    made, out_of_use = pairs(rows, by_id, evaluation, root, work)
    unusable = bad_references(out_of_use, len(rows))
    found = labelled(made, evaluation, root, review)
    before = [same, *preconditions(test, base, sft, guard, training, comparators), *repeated, *unusable]
    prompted = _prompted(comparators, rows, made, by_id, base, evaluation, root, work)
    flip_rates = {g.model: _flip_rate(g, rows, made, evaluation, root) for g in (base, sft)}
    flip_rate = max((rate for rate in flip_rates.values() if rate is not None), default=None)
    preference = review.preference if review else preferred(evaluation, root)
    before += prompted.reasons
    decision = verdict(made, before, evaluation.gate, agreement=found, flip_rate=flip_rate, preference=preference)
    facts = {
        "sources": {"base": base.conditions.get("model", "the base"), "fine-tuned": "the base with its adapter"}
        | scorer_names(evaluation, {row["type"] for row in rows}),
        "truncation": {"base": base.truncated_share, "sft": sft.truncated_share},
        "inputs": {
            "test_split": test.version,
            "base_generations": base.version,
            "sft_generations": sft.version,
            "base_model_guard": guard.version,
            "training_report": training.version,
        }
        | ({"human_review": review.version} if review else {})
        | ({"comparator_generations": comparators.version} if comparators else {}),
        "origin": _origin(test, base, sft, guard, training, *([comparators] if comparators else [])),
        "conditions": base.conditions,
        "trained_on": sft.trained_on,
        "flip_rates": flip_rates,
    }
    (out / "environment.json").write_text(json.dumps(environment.record(), indent=2) + "\n", "utf-8")
    return write(decision, made, evaluation.gate, facts, out, prompted)


def _prompted(
    comparators: ComparatorGenerations | None,
    rows: Sequence[Mapping[str, Any]],
    made: Sequence[Pair],
    sides: Sequence[Mapping[str, Mapping[str, Any]]],
    base: Generations,
    evaluation: Evaluation,
    root: Path,
    work: Path | None,
) -> Prompts:
    """The comparators' answers, judged and compared with base and fine-tuned model."""
    from sft_pipeline.dataset.table import read_table

    if comparators is None:
        return NONE
    used = {pair.id for pair in made}
    rows = [row for row in rows if row["id"] in used]
    tables = {n: {r["id"]: r for r in read_table(comparators.path(f"{n}.parquet"))} for n in comparators.comparators}
    by_model = {"base": sides[0], "sft": sides[1], **tables}
    outputs = {model: {id: answer["output"] for id, answer in table.items()} for model, table in by_model.items()}
    judged, in_pairs = judge(rows, outputs, evaluation, root, work)
    expected = _but_stop(base.conditions)
    found = [
        Prompted(
            name,
            about.label,
            {id: _answer(tables[name][id], judgement) for id, judgement in judged[name].items()},
            about.prompt_tokens,
            about.notes,
            tuple(
                f"{what} is {conditions.get(what, 'not recorded')}, of the base {expected.get(what, 'not recorded')}"
                for what in sorted(expected.keys() | conditions.keys())
                if what != "prompt" and expected.get(what) != conditions.get(what)
            ),
        )
        for name, about in comparators.comparators.items()
        for conditions in [_but_stop(about.conditions)]
    ]
    return prompts(made, found, evaluation.gate, dict.fromkeys(MODELS, comparators.prompt_tokens), in_pairs)


def _but_stop(conditions: Mapping[str, str]) -> dict[str, str]:
    """Conditions of generations without the stop strings, of which a comparator has one more."""
    decoding = json.loads(conditions.get("decoding", "{}"))
    return {**conditions, "decoding": canonical_json({k: v for k, v in decoding.items() if k != "stop"})}


def pairs(
    rows: Sequence[Mapping[str, Any]],
    sides: Sequence[Mapping[str, Mapping[str, Any]]],
    evaluation: Evaluation,
    root: Path,
    work: Path | None,
) -> tuple[list[Pair], list[LeftOut]]:
    """Both answers to every item with their judgement, and the items whose reference cannot be used.

    Args:
        rows: the items.
        sides: rows of generations by id: of the base, or of what stands for it, and of the other model.
        evaluation: gives the scorers.
        root: the project's root.
        work: as in `decide`.
    """
    outputs = [{id: answer["output"] for id, answer in side.items()} for side in sides]
    judged = score_both(rows, outputs[0], outputs[1], evaluation, root, work)
    made = [
        Pair.of(
            row,
            both[0],
            scorer_for(row["type"], evaluation.scorers),
            *(_answer(side[row["id"]], judgement) for side, judgement in zip(sides, both, strict=True)),
        )
        for row, both in zip(rows, judged, strict=True)
        if not both[0].reference_problem
    ]
    return made, left_out(rows, [base for base, _ in judged])


def _origin(test: InstructionDataset, *others: Artifact) -> dict[str, str]:
    """Versions of all that the gate's inputs were made from, by asset, and the hash of the rows that were learned.

    Where two inputs differ in one the gate refuses (preconditions.py), and both are named.
    """
    found: dict[str, set[str]] = {}
    for artifact in (test, *others):
        for asset, version in artifact.upstream.items():
            found.setdefault(asset, set()).add(version)
    rows = {"training_rows": test.proof.training_data_sha256} if test.proof and test.proof.training_data_sha256 else {}
    return {asset: " and ".join(sorted(versions)) for asset, versions in sorted(found.items())} | rows


def scorer_names(evaluation: Evaluation, types: set[str]) -> dict[str, str]:
    """Which scorer judged which types, for the head of the report; empty where none did."""
    kinds: dict[str, list[str]] = {}
    for type in sorted(types):
        kinds.setdefault(scorer_for(type, evaluation.scorers).kind, []).append(type)
    if not kinds:
        return {}
    return {"scorers": "; ".join(f"{kind} ({', '.join(t[:4])}{', …' if t[4:] else ''})" for kind, t in kinds.items())}


def labelled(
    made: Sequence[Pair], evaluation: Evaluation, root: Path, review: HumanReview | None = None
) -> Agreement | None:
    """Agreement of the scores with the human labels of a review, or of the file that comes before it; None without any."""
    labels = read_labels(review.path(HumanReview.LABELS)) if review and review.labels else {}
    if evaluation.human_labels is not None:
        labels |= read_labels(inside(evaluation.human_labels, root, "evaluation.human_labels"))
    elif not labels:
        return None
    return agreement(labels, [output for m in made for output in m.judged_outputs()])


def preferred(evaluation: Evaluation, root: Path) -> Preference | None:
    """The preference in the review.json that the specification names; None where it names none.

    Raises:
        DataError: the file holds none.
    """
    if evaluation.human_preference is None:
        return None
    path = inside(evaluation.human_preference, root, "evaluation.human_preference")
    try:
        found = json.loads(path.read_text("utf-8"))["preference"]
        return None if found is None else Preference.model_validate(found)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is no review.json of `sft-pipeline review read`: {error!r:.200}") from None


def _flip_rate(
    made: Generations, rows: Sequence[Mapping[str, Any]], pairs: Sequence[Pair], evaluation: Evaluation, root: Path
) -> float | None:
    """Share of the repeated answers that are judged otherwise than the first ones; None where nothing was repeated.

    A text that differs and that no scorer judges by itself, such as one of a judge of pairs, counts as judged otherwise.
    """
    flips = made.root / "flips.json"
    if not made.flip_rate or not flips.is_file():
        return made.flip_rate
    second = {flip["id"]: flip["second"] for flip in json.loads(flips.read_text("utf-8"))}
    first = {pair.id: getattr(pair, made.model).success for pair in pairs if pair.id in second}
    again = score_items([row for row in rows if row["id"] in first], second, evaluation, root)
    same = sum(one.success is not None and one.success == first[one.id] for one in again)
    return made.flip_rate * (len(second) - same) / len(second)


def _answer(row: Mapping[str, Any], judged: Judged) -> Answer:
    return Answer.of(judged, row["output"], row["tokens"], row["finish_reason"] == "length", row["mean_logprob"])


def _read_generations(generations: Generations) -> list[dict[str, Any]]:
    from sft_pipeline.dataset.table import read_table

    rows = read_table(generations.path(Generations.ROWS), ["id", "output", "tokens", "finish_reason", "mean_logprob"])
    if empty := [row["id"] for row in rows if row["output"] is None]:
        raise DataError(
            f"{generations.model} generations, field output: {some(empty)} without an answer; generate again"
        )
    return rows
