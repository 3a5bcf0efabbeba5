"""Which score of a log decides, and which of its values are a success."""

import operator
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.log import Log, names
from sft_pipeline.evaluation.inputs.outputs import Output

_COMPARISONS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}

Scores = dict[str, float | None]


def judged(
    paths: Sequence[Path], logs: Sequence[Log], wanted: str | None, threshold: str | None
) -> list[tuple[Log, Scores]]:
    """The logs with success set; and by id the scores themselves, where they are no booleans and no threshold is declared.

    Args:
        paths: of the logs, for messages.
        logs: with the same ids for the same items.
        wanted: the score that decides; None: of each task the first whose values are 0 or 1, else the first.
        threshold: which scores are a success; None: those of 1.

    Raises:
        DataError: the logs have no score in common, not the wanted one, or the threshold is none; several scores that are no
            booleans would be mixed, or less of one is better and no threshold says so.
    """
    reached = _threshold(threshold)
    tasks: dict[str | None, list[list[Output]]] = {}
    for k, log in enumerate(logs):
        for o in log.outputs:
            tasks.setdefault(o.type, [[] for _ in logs])[k].append(o)
    less = frozenset().union(*(log.less_is_better for log in logs))
    deciding = {task: _metric(paths, task, sides, wanted, less) for task, sides in tasks.items()}
    used = list(dict.fromkeys(filter(None, deciding.values())))
    if threshold is not None and not used:
        raise DataError("--threshold is for scores, and the files have none")
    fractional = {deciding[task] for task, sides in tasks.items() if _fractional(sides, deciding[task])}
    scored = bool(fractional) and threshold is None
    if fractional and len(used if scored else fractional) > 1:
        raise DataError(
            f"the tasks are decided by {', '.join(used)}, of which {', '.join(filter(None, fractional))} are no booleans: scores of "
            "different scales are neither averaged nor held to one threshold. Compare the tasks one by one"
        )
    if not scored and threshold is None and (worse := less.intersection(used)):
        raise DataError(
            f"less of {', '.join(sorted(worse))} is better, as the harness says. Declare which score is a success, such as "
            "--threshold '<=0'"
        )
    found: list[tuple[Log, Scores]] = []
    for log in logs:
        others = [m for m in log.metrics if m not in used]
        notes = [
            f"the score is {', '.join(used)}"
            + (f" (others: {', '.join(others[:6])}{', …' if others[6:] else ''}; --metric)" if others else "")
        ]
        notes += [f"a success is a score of {threshold}"] if threshold is not None else []
        notes += (
            [f"less of {', '.join(sorted(less.intersection(used)))} is better"] if scored and less & {*used} else []
        )
        outputs = [_decided(o, deciding[o.type], scored, reached) for o in log.outputs]
        scores = {o.id: o.scores.get(deciding[o.type] or "") for o in outputs} if scored else {}
        shown = (*notes, *log.notes) if used else log.notes
        found.append((replace(log, outputs=outputs, notes=shown, metric=", ".join(used) or None), scores))
    return found


def _metric(
    paths: Sequence[Path], task: str | None, sides: Sequence[Sequence[Output]], wanted: str | None, less: Set[str]
) -> str | None:
    """The score that decides a task, the same in all logs; None where they have none.

    A log that lacks the task has other items, and is refused for that.
    """
    known = [(path, names(o.scores for o in side)) for path, side in zip(paths, sides, strict=True) if side]
    common = [m for m in known[0][1] if all(m in other for _, other in known)]
    of_task = f" of task {task}" if task not in (None, "all") else ""
    listed = "; ".join(f"{path}: {', '.join(found) or 'none'}" for path, found in known)
    if wanted is not None:
        like = [m for m in common if m == wanted] or [m for m in common if wanted in re.split("[,/]", m)]
        if not like:
            raise DataError(f"--metric {wanted!r} is not a score{of_task} in all files: {listed}")
        return like[0]
    if any(found for _, found in known) and not common:
        raise DataError(f"the files have no score{of_task} in common: {listed}")
    filled = [m for m in common if any(o.scores.get(m) is not None for side in sides for o in side)] or common
    return next((m for m in filled if m not in less and not _fractional(sides, m)), next(iter(filled), None))


def _fractional(sides: Sequence[Sequence[Output]], metric: str | None) -> bool:
    return metric is not None and any(o.scores.get(metric) not in (None, 0, 1) for side in sides for o in side)


def _threshold(text: str | None) -> Callable[[float], bool]:
    match = re.fullmatch(
        r"\s*(>=|>|<=|<)?\s*([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*", "1" if text is None else text, re.IGNORECASE
    )
    if not match:
        raise DataError(f"--threshold {text!r}: must be a number, perhaps behind >=, >, <= or <")
    reached, limit = _COMPARISONS[match[1] or ">="], float(match[2])
    return lambda value: bool(reached(value, limit))


def _decided(o: Output, metric: str | None, scored: bool, reached: Callable[[float], bool]) -> Output:
    """The answer with its success; unchanged where it has no score, or a judgement of its own."""
    if metric is None or (o.judged and metric not in o.scores):
        return o
    value = o.scores.get(metric)
    chosen: Mapping[str, str] = {name.partition(",")[0]: text for name, text in o.chosen.items()}
    return replace(
        o,
        judged=True,
        success=None if value is None or scored else reached(value),
        output=chosen.get(metric.partition(",")[0], o.output),
    )
