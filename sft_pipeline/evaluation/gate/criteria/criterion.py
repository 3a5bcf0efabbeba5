"""The one form of every criterion of the gate."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from sft_pipeline.artifacts import Figures, GroupResult, Reason
from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.formatting import lift
from sft_pipeline.evaluation.statistics.kappa import trusted

Outcome = Literal["pass", "fail", "refused", "info"]


@dataclass(frozen=True)
class Finding:
    """What a criterion found.

    Attributes:
        detail: in words, with its figures.
        outcome: None where the kind decides from `after` (the two stress tests).
        after: the result under the stress test.
        name: what the criterion was applied to, where there are several, such as a guarantee.
        remedy: what to do in this case instead of the criterion's own remedy.
        waivable: whether human labels that agree may waive this refusal, where the criterion allows it.
    """

    detail: str
    outcome: Outcome | None = None
    after: GroupResult | None = None
    name: str = ""
    remedy: str = ""
    waivable: bool = True


@dataclass(frozen=True)
class Criterion:
    """A rule of the gate, a row of criteria.yaml.

    Attributes:
        id: stable; gate.json names it.
        title: as reports show it.
        kind: decides how a finding becomes an outcome.
        asks: the rule in one sentence; `{field}` stands for a threshold of `evaluation.gate`.
        check: looks at a comparison; None for a precondition that whoever reads the inputs checks.
        thresholds: the fields of `evaluation.gate` that `asks` names.
        remedy: what to do where it refuses or fails.
        waived: whether human labels that agree with the scores waive a refusal.
        texts: whether it reads the answers themselves.
    """

    id: str
    title: str
    kind: str
    asks: str
    check: Callable[[Comparison], Iterable[Finding]] | None = None
    thresholds: tuple[str, ...] = ()
    remedy: str = ""
    waived: bool = False
    texts: bool = False

    def reasons(self, c: Comparison) -> list[Reason]:
        """What it finds in a comparison."""
        return [self.reason(found, c) for found in (self.check(c) if self.check else ())]

    def reason(self, found: Finding, c: Comparison | None = None) -> Reason:
        """A finding as a reason of the verdict; a precondition needs no comparison."""
        detail, after, waived = found.detail, found.after, False
        outcome = found.outcome or (self._outcome(after, c) if c and after else "info")
        if c and after:
            detail += f": the lift is {lift(after)}" if after.n else ": no pair is left"
        if outcome == "refused" and self.waived and found.waivable and c and trusted(c.agreement, c.gate):
            outcome, waived = "info", True
            detail += "; waived, since human labels agree with the scores"
        fields = {f: getattr(c.gate, f) for f in self.thresholds} if c else {}
        return Reason(
            id=self.id,
            criterion=f"{self.title}: {found.name}" if found.name else self.title,
            kind=self.kind,
            outcome=outcome,
            detail=detail,
            remedy=(found.remedy or self.remedy) if outcome in ("refused", "fail") else "",
            thresholds={name: value for name, value in fields.items() if isinstance(value, int | float)},
            waived=waived,
            before=_figures(c.overall, c) if c and after else None,
            after=_figures(after, c) if c and after else None,
        )

    def _outcome(self, after: GroupResult, c: Comparison) -> Literal["pass", "refused", "info"]:
        if self.kind == "relabelling":
            return "refused" if c.shows(c.overall) and not c.shows(after) else "info"
        if c.overall.lift <= 0 or not after.n:
            return "info"
        if after.lift_interval[1] < c.overall.lift / 2:
            return "refused"
        return "pass" if after.lift_interval[0] > 0 else "info"


def _figures(result: GroupResult, c: Comparison) -> Figures:
    counts = {name: getattr(result, name) for name in ("n", "won", "lost", "lift", "lift_interval")}
    return Figures(**counts, p=c.p(result))
