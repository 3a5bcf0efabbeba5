"""Human review: what was asked of whom, and what came of it."""

from typing import ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen
from sft_pipeline.provenance.hashing import hash_value

Choice = Literal["first", "second", "tie"]
Success = Literal["yes", "no", "unsure"]


class ReviewItem(Frozen):
    """A pair of answers that people judge."""

    id: str
    type: str
    instruction: str
    base: str
    sft: str
    stratum: str = Field(description="won, lost, same, unclear, or catch for a pair of equal texts.")


class ReviewTask(Frozen):
    """An item on a rater's page."""

    task: str = Field(description="Its name on the page, which tells nothing of the item.")
    item: str = Field(description="Key of the item in `items`.")
    kind: Literal["item", "repeat", "catch"]
    base_first: bool = Field(description="Of a catch trial: whether the base's text is shown twice.")


class ReviewKey(Frozen):
    """What the project keeps: which answer on which page is whose."""

    request: str = Field(description="Hash of all that was drawn; every returned file names it.")
    experiment: str
    secret: str = Field(description="What every draw is derived from: hash of all answers and of the settings.")
    answers: str = Field(description="Hash of all answers, drawn or not.")
    guide: str
    population: dict[str, int] = Field(
        description="Pairs by stratum, one of each cluster; identical ones are not asked about."
    )
    items: dict[str, ReviewItem]
    tasks: dict[str, tuple[ReviewTask, ...]] = Field(description="By rater, in the order of the page.")
    pages: dict[str, str] = Field(description="By rater the hash of the texts on the page.")


class ReviewRequest(Artifact):
    """`key.json` and a page per rater under `pages/`; neither where the specification declares no review."""

    KEY: ClassVar[str] = "key.json"

    declared: bool = True
    request: str = ""
    items: int = 0
    tasks: dict[str, int] = {}
    population: dict[str, int] = {}


class Estimate(Frozen):
    """A figure with its 95 % interval; `n` is what it was counted over."""

    value: float
    interval: tuple[float, float]
    n: int


class RaterResult(Frozen):
    """What a rater's answers say of the rater."""

    rater: str
    source: str = Field(description="Where the answers came from.")
    asked: int
    answered: int
    position: Estimate = Field(description="Share of choices for the first answer minus that for the second.")
    self_agreement: Estimate = Field(description="Share of repeats with sides exchanged that were answered alike.")
    catch_failed: Estimate = Field(description="Share of pairs of equal texts in which one was preferred.")
    error_rate: Estimate | None = Field(None, description="Share of choices that do not follow from the answers.")
    seconds: float | None = Field(None, description="Median time of a pair.")
    problems: tuple[str, ...] = Field((), description="Why the answers may not be believed.")


class RaterAgreement(Frozen):
    """How far raters agree beyond chance."""

    question: Literal["success", "preference"]
    measure: Literal["Cohen's kappa", "Krippendorff's alpha"]
    n: int = Field(description="Answers, or pairs, that two raters or more judged.")
    agreed: int = Field(description="Of these, on which all of them agree.")
    value: float | None = Field(description="None where all judgements are of one kind.")
    interval: tuple[float, float] | None


class Preference(Frozen):
    """Which model people prefer, weighted back to all pairs."""

    answers: dict[str, str] = Field(description="By id the hash of both answers, base first, to each judged item.")
    n: int = Field(description="Items that at least one rater judged.")
    won: int = Field(
        description="Items in which the fine-tuned model's answer is preferred, by the mean of the raters."
    )
    lost: int
    tied: int
    net: Estimate = Field(description="Share that prefers the fine-tuned model minus share that prefers the base.")
    p: float = Field(description="Two-sided sign test over the drawn items, weighted.")
    p_unweighted: float = Field(description="The exact sign test of won against lost, as drawn.")
    corrected: Estimate | None = Field(
        None, description="The net preference without the raters' errors, by a model of them."
    )

    @staticmethod
    def of_texts(base: str | None, sft: str | None) -> str:
        """What `answers` holds of two answers."""
        return hash_value([base, sft])


class Unsettled(Frozen):
    """An answer on which the raters disagree."""

    id: str
    output: str
    said: dict[str, Success]


class HumanReview(Artifact):
    """The labels (`labels.jsonl`), `review.json`, `review.txt`, and `disagreements.jsonl` to settle."""

    PRIVATE: ClassVar[tuple[str, ...]] = ("raters", "agreement", "rejected")
    LABELS: ClassVar[str] = "labels.jsonl"

    request: str = ""
    raters: tuple[RaterResult, ...] = ()
    agreement: tuple[RaterAgreement, ...] = ()
    preference: Preference | None = Field(None, description="None where nothing was returned.")
    labels: int = 0
    unsettled: int = 0
    rejected: dict[str, str] = Field({}, description="Returned files that were not used, and why.")
