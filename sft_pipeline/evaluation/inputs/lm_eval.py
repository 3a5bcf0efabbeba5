"""lm-evaluation-harness: `samples_*.jsonl` of --log_samples, a folder of them, or a result with its samples.

A document is logged once for each filter; its scores are then called `metric,filter`, as in lm-eval's results.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, by_task, digest, names, number
from sft_pipeline.evaluation.inputs.outputs import Output, item_of
from sft_pipeline.evaluation.inputs.rows import Row
from sft_pipeline.provenance.hashing import canonical_json

_FIELDS = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "task_name"),
    *("doc_hash", "prompt_hash", "target_hash", "output_type", "idx", "metadata", "repeats"),
}
"""Fields of a sample; what else is a number is a score, where no field `metrics` names them."""

_QUESTION = ("question", "query", "problem", "prompt", "instruction", "input", "goal", "ctx", "text", "sentence")
"""Fields of a document that may hold what is asked."""

_FILE = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d:-]+(?:\.\d+)?)\.jsonl?(?:\.\w+)?")
"""lm-eval's names; of a file that was renamed the task is not known."""


def _is_sample(value: Any) -> bool:
    return isinstance(value, dict) and {"doc_id", "doc"} <= value.keys()


def recognises(content: Content) -> bool:
    """Whether the first object is a sample, or a result that holds samples by task."""
    if content.is_table:
        return False
    samples = content.first.get("samples")
    by_task = samples.values() if isinstance(samples, dict) else ()
    return _is_sample(content.first) or any(isinstance(s, list) and s and _is_sample(s[0]) for s in by_task)


def read(contents: Sequence[Content], side: Side) -> Log:
    """The answers of all tasks.

    Raises:
        DataError: a sample is none, or a document was logged twice for one filter.
    """
    found: dict[tuple[str, str], Output] = {}
    seen: dict[tuple[str, str, str], str] = {}
    skipped: set[str] = set()
    less: set[str] = set()
    planned: dict[str, Any] = {}
    for content in contents:
        run = _run(content)
        for place, task, sample in _samples(content, len(contents) > 1):
            output, filter, lists = _output(content.path, place, task, sample, run.get("model_name"))
            better = (run.get("higher_is_better") or {}).get(task) or {}
            less |= {name for name in output.scores if better.get(name.partition(",")[0]) is False}
            planned[task] = ((run.get("n-samples") or {}).get(task) or {}).get("effective")
            skipped |= lists
            where = f"{content.path}, row {place}"
            if (task, output.id, filter) in seen:
                raise DataError(
                    f"{where}: document {output.id} of task {task} was logged before ({seen[task, output.id, filter]}), with "
                    f"the same filter ({filter or 'none'}): two runs in one file or folder; name the file of one run"
                )
            seen[task, output.id, filter] = where
            before = found.get((task, output.id))
            if before is not None:
                if before.identity != output.identity:
                    raise DataError(
                        f"{where}: document {output.id} of task {task} is another one than in row {before.row}"
                    )
                output = replace(
                    before, scores={**before.scores, **output.scores}, chosen={**before.chosen, **output.chosen}
                )
            found[task, output.id] = output
    outputs = by_task(found)
    notes = [f"scores that are no numbers are not read: {', '.join(sorted(skipped))}"] if skipped else []
    logged = Counter(task for task, _ in found)
    notes += [
        f"the log holds {logged[task]} samples of {task}, its own results are of {n}"
        for task, n in sorted(planned.items())
        if n not in (None, logged[task])
    ]
    return Log(outputs, names(o.scores for o in outputs), tuple(notes), less_is_better=frozenset(less))


FORMAT = Format(
    "lm-eval",
    "lm-evaluation-harness's samples (--log_samples)",
    recognises,
    read,
    ("samples_*.jsonl", "samples_*.json"),
    several=True,
)


def _run(content: Content) -> dict[str, Any]:
    """lm-eval's results of the run: the document that holds the samples, or the one of the same time beside them."""
    if not _is_sample(content.first):
        return content.first
    dated = _FILE.fullmatch(content.path.name)
    beside = content.path.with_name(f"results_{dated['time']}.json") if dated else None
    return Content(beside).first if beside is not None and beside.is_file() else {}


def _samples(content: Content, several: bool) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Number, task and value of every sample; of `several` files each is a task of its own."""
    dated, name = _FILE.fullmatch(content.path.name), content.path.name.partition(".")[0]
    task = dated["task"] if dated else name if several else "all"
    if not _is_sample(content.first):
        for name, samples in content.first["samples"].items():
            yield from ((k, name, sample) for k, sample in enumerate(samples, 1))
        return
    for place, sample in content.objects():
        yield place, str(sample.get("task_name") or task), sample


def _output(path: Path, place: int, task: str, sample: Any, model: Any) -> tuple[Output, str, set[str]]:
    """The answer, the filter, and the names of scores that are no numbers."""
    if not _is_sample(sample):
        raise DataError(f"{path}, row {place}: is no sample of lm-eval: doc_id or doc is missing")
    doc, filter = sample["doc"], str(sample.get("filter") or "")
    scores, lists = _scores(sample, filter)
    contexts, continuations = _arguments(sample.get("arguments"))
    answer, chosen, target = _answer(sample, continuations)
    question = (
        next((doc[f] for f in _QUESTION if isinstance(doc.get(f), str)), None) if isinstance(doc, dict) else str(doc)
    )
    given = {
        name.removesuffix("_hash"): str(sample[name])
        for name in ("doc_hash", "prompt_hash", "target_hash")
        if name in sample
    }
    identity = {"document": digest(doc), "target": digest(sample.get("target"))} | {
        f"{k} hash": v for k, v in given.items()
    }
    if contexts:
        identity["prompt"] = digest(contexts[0])
    kwargs = continuations[0] if continuations and isinstance(continuations[0], dict) else {}
    return (
        Output(
            id=str(sample["doc_id"]),
            row=place,
            output=None if answer is None else printable(answer),
            item=item_of(type=task, instruction=question, answer=target),
            asked={"document": canonical_json(printable(json.dumps(doc, sort_keys=True, default=str)))},
            settings=Row(path, place, {**kwargs, "model": model}).settings(),
            scores=scores,
            key=given.get("doc") or identity["document"],
            identity=identity,
            chosen={f"{name},{filter}" if filter else name: printable(text) for name, text in chosen.items()},
        ),
        filter,
        lists,
    )


def _scores(sample: Mapping[str, Any], filter: str) -> tuple[dict[str, float | None], set[str]]:
    """The scores by name, and the names of those that are lists, words and the like."""
    metrics = sample.get("metrics")
    named = list(metrics) if isinstance(metrics, list) else [n for n in sample if n not in _FIELDS]
    scores, lists = {}, set()
    for name in named:
        try:
            scores[f"{name},{filter}" if filter else name] = number(sample.get(name))
        except ValueError:
            if isinstance(metrics, list):
                lists.add(name)
    return scores, lists


def _arguments(arguments: Any) -> tuple[list[Any], list[Any]]:
    """First and second arguments of the requests: context, and continuation or settings of the generation."""
    requests = arguments.values() if isinstance(arguments, dict) else arguments if isinstance(arguments, list) else ()
    pairs = [list(r.values()) if isinstance(r, dict) else r for r in requests]
    pairs = [p for p in pairs if isinstance(p, list) and len(p) > 1]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def _answer(sample: Mapping[str, Any], continuations: Sequence[Any]) -> tuple[str | None, dict[str, str], str | None]:
    """The answer; the one that a metric chose, where it normalises; and the expected one.

    Of a multiple choice, of which lm-eval logs likelihoods, the answer is the most likely continuation; `acc_norm` divides
    its log-likelihood by its characters.
    """
    resps, target = sample.get("resps") or [], sample.get("target")
    text = resps[0][0] if resps and isinstance(resps[0], list) and resps[0] else resps[0] if resps else None
    if isinstance(text, str) and not _likelihoods(resps):
        return text, {}, None if target is None else str(target)
    likelihoods = _likelihoods(sample.get("filtered_resps") or []) or _likelihoods(resps)
    if len(likelihoods) < 2:
        filtered = (sample.get("filtered_resps") or [None])[0]
        return (filtered if isinstance(filtered, str) else None), {}, None if target is None else str(target)
    options = [str(c) for c in continuations[: len(likelihoods)]] or [
        f"choice {k}" for k in range(1, len(likelihoods) + 1)
    ]
    if len(options) < len(likelihoods):
        options = [f"choice {k}" for k in range(1, len(likelihoods) + 1)]
    best = max(range(len(options)), key=lambda k: likelihoods[k])
    normed = max(range(len(options)), key=lambda k: likelihoods[k] / max(1, len(options[k].strip())))
    if isinstance(target, int | str) and str(target).isdigit() and int(target) < len(options):
        target = options[int(target)].strip()
    return options[best], {"acc_norm": options[normed]}, None if target is None else str(target)


def _likelihoods(resps: Sequence[Any]) -> list[float]:
    """Log-likelihoods of the continuations, written as pairs with whether each is the greedy one; empty where it is text."""
    found = []
    for resp in resps:
        while isinstance(resp, list) and len(resp) == 1:
            resp = resp[0]
        if not (isinstance(resp, list) and len(resp) == 2 and str(resp[1]).casefold() in ("true", "false")):
            return []
        try:
            found.append(float(resp[0]))
        except (TypeError, ValueError):
            return []
    return found
