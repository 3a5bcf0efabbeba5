"""Every criterion of the gate, in the order in which they are checked: criteria.yaml with the functions that check."""

from importlib.resources import files
from string import Formatter
from typing import Any, Literal

import yaml

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.gate.criteria import human_labels, length, non_inferiority, sanity, statistic, stress
from sft_pipeline.evaluation.gate.criteria.criterion import Criterion, Finding

# Imported by name, so that the gate's code version counts them.
_CHECKS = {
    module.__name__.rpartition(".")[2]: module
    for module in (human_labels, length, non_inferiority, sanity, statistic, stress)
}

_TABLE = yaml.safe_load(files(__package__).joinpath("criteria.yaml").read_text("utf-8"))

KINDS: dict[str, str] = _TABLE["kinds"]
"""What each kind asks, and what follows."""


def _criterion(check: str | None = None, **row: Any) -> Criterion:
    module, _, name = (check or "").partition(".")
    function = getattr(_CHECKS[module], name) if check else None
    thresholds = tuple(dict.fromkeys(field for _, field, _, _ in Formatter().parse(row["asks"]) if field))
    return Criterion(check=function, thresholds=thresholds, **row)


CRITERIA = tuple(_criterion(**row) for row in _TABLE["criteria"])

_BY_ID = {criterion.id: criterion for criterion in CRITERIA}


def precondition(
    id: str, outcome: Literal["pass", "fail", "refused", "info"], detail: str, remedy: str = "", name: str = ""
) -> Reason:
    """A reason of a criterion that whoever reads the inputs checks; `name` is what it is about, where there are several."""
    return _BY_ID[id].reason(Finding(detail, outcome, remedy=remedy, name=name))
