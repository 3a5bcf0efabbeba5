"""A search over hyperparameters: its trials, and what became of the best of them on rows that took no part in it."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen

SearchVerdict = Literal["better", "no_better"]


class SearchTrial(Frozen):
    """One trial, on the search rows."""

    number: int
    parameters: dict[str, Any] = Field(description="By the path of the field.")
    state: Literal["complete", "pruned", "failed"]
    figure: float | None = Field(None, description="The objective on the search rows; None of a failed trial.")
    steps: int = Field(0, description="Optimiser steps that were made.")
    reason: str = Field("", description="Why it failed or was pruned.")


class Confirmation(Frozen):
    """One of the best trials, trained again with fresh seeds and compared with the default, row by row."""

    trial: int
    parameters: dict[str, Any]
    searched: float = Field(description="The figure that it was chosen by, on the search rows.")
    figure: float | None = Field(
        description="Mean over the seeds on the confirmation rows; None where a training failed."
    )
    by_seed: tuple[float, ...] = ()
    optimism: float | None = Field(
        None, description="How much better the searched figure is than the confirmed one; negative where it is worse."
    )
    gain: float | None = Field(
        None, description="How much better than the default on the same rows, in the objective's unit."
    )
    gain_interval: tuple[float, float] | None = Field(None, description="95 % interval of the gain over the rows.")
    p_rows: float | None = Field(None, description="Two-sided sign-flip test over whole clusters of rows.")
    p_seeds: float | None = Field(
        None, description="Two-sided t-test against the spread between seeds; None with a single seed."
    )
    p: float = Field(1.0, description="The larger of the two.")
    p_adjusted: float = Field(1.0, description="By Holm over the compared trials.")
    better: bool = False
    reason: str = Field("", description="Why it could not be confirmed.")


class SearchReport(Artifact):
    """`search.json`, `search.html`, `search.txt`, pictures, `study.journal` (Optuna's storage), `outcomes.parquet`
    (every confirming training, row by row), and `specification.yaml` where a trial is better than the default.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("search.html", "search.txt", "*.png", "study.journal")
    SPECIFICATION: ClassVar[str] = "specification.yaml"

    verdict: SearchVerdict | None = Field(None, description="None where the specification declares no search.")
    winner: int | None = Field(None, description="The best-ranked trial that is better than the default.")
    objective: Literal["dev_loss", "dev_success"] | None = None
    trials: tuple[SearchTrial, ...] = ()
    confirmations: tuple[Confirmation, ...] = Field((), description="In the order of the search.")
    default: float | None = Field(None, description="The default's mean over the seeds on the confirmation rows.")
    default_by_seed: tuple[float, ...] = ()
    default_on_search_rows: float | None = Field(None, description="The same on the search rows.")
    rows: tuple[int, int] = Field((0, 0), description="Rows of the search and of the confirmation.")
    clusters: int = Field(0, description="Independent clusters of the confirmation rows.")
    seeds: tuple[int, ...] = ()
    alpha: float = 0.05
    notes: tuple[str, ...] = ()
