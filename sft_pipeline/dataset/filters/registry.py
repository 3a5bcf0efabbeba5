"""The quality filters, one small unit each; `judges` assembles those that a specification asks for."""

from collections.abc import Callable
from pathlib import Path

from sft_pipeline.dataset.filters.base import Hit, Judge, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.critics import critics
from sft_pipeline.dataset.filters.language import language
from sft_pipeline.dataset.filters.markers import delimiter, runaway
from sft_pipeline.dataset.filters.personal_data import personal_data
from sft_pipeline.dataset.filters.placeholder import empty, placeholder
from sft_pipeline.dataset.filters.repetition import repeats_instruction, repetition
from sft_pipeline.dataset.filters.token_bounds import scope, token_bounds, token_limit
from sft_pipeline.dataset.filters.toxicity import toxicity
from sft_pipeline.dataset.filters.truncation import truncated
from sft_pipeline.experiment import Quality, TokenBounds

WORDING = (empty, placeholder, delimiter, runaway, repetition, repeats_instruction, truncated, scope)
"""The filters that judge a row by its wording alone, in the order in which its faults are named."""


def judges(quality: Quality, continuations: Continuations, root: Path) -> dict[str, Judge]:
    """The filters that `quality` asks for, by name, in the order in which a row's faults are named: the cheap ones first.

    Models and word lists are loaded here, so that what is missing stops a run before its first row.

    Args:
        quality: what is wanted.
        continuations: what was learned from all raw rows, see `Continuations`.
        root: folder that relative paths of `quality` start from.

    Raises:
        DataError: the extra that a filter needs is not installed.
        ModelError: the toxicity classifier cannot be loaded.
        SpecificationError: an unknown language, entity or label.
    """

    def each(judge: Callable[[Row, Quality, Continuations], Hit | None]) -> Judge:
        return lambda rows: [judge(row, quality, continuations) for row in rows]

    found = {judge.__name__: each(judge) for judge in WORDING if _asked(judge.__name__, quality)}
    if not quality.instruction_tokens == quality.response_tokens == TokenBounds():
        found["token_bounds"] = token_bounds(quality)
    if quality.token_limit is not None:
        found["token_limit"] = token_limit(quality.token_limit)
    if quality.critics != "ignored":
        found["critics"] = critics(quality.critics)
    if quality.languages:
        found["language"] = language(quality.languages, quality.min_language_probability)
    if quality.personal_data is not None:
        found["personal_data"] = personal_data(quality.personal_data)
    if quality.toxicity is not None:
        found["toxicity"] = toxicity(quality.toxicity, root)
    return found


def _asked(name: str, quality: Quality) -> bool:
    """Whether a filter of `WORDING` has anything to do; those that no field switches off always have."""
    return {
        "placeholder": bool(quality.placeholders),
        "delimiter": bool(quality.delimiters),
        "runaway": bool(quality.runaway_markers),
        "repeats_instruction": quality.repeats_instruction,
        "truncated": quality.truncation,
        "scope": bool(quality.scope or quality.scope_types),
    }.get(name, True)
