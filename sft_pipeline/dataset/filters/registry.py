"""Which filters a specification asks for, in the order in which they name the faults of a row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.dataset.filters.broken import broken_characters, link_input
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.declared import critics, scope, token_bounds, token_limit
from sft_pipeline.dataset.filters.language import language
from sft_pipeline.dataset.filters.markers import delimiter, runaway
from sft_pipeline.dataset.filters.personal_data import personal_data
from sft_pipeline.dataset.filters.placeholder import empty, placeholder
from sft_pipeline.dataset.filters.repetition import repeats_instruction, repetition
from sft_pipeline.dataset.filters.toxicity import toxicity
from sft_pipeline.dataset.filters.truncation import truncated
from sft_pipeline.experiment import Quality, TokenBounds

WORDING = (
    empty, placeholder, link_input, broken_characters, delimiter, runaway, repetition, repeats_instruction, truncated, scope
)  # fmt: skip
"""The filters that look at the wording alone, in the order in which they name the faults of a row."""

FILTERS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "empty": (empty, ()),
    "placeholder": (placeholder, ("placeholders",)),
    "link_input": (link_input, ("link_input",)),
    "broken_characters": (broken_characters, ("broken_characters",)),
    "delimiter": (delimiter, ("delimiters",)),
    "runaway": (runaway, ("runaway_markers", "max_runaway_share")),
    "repetition": (repetition, ("max_repeated_share",)),
    "repeats_instruction": (repeats_instruction, ("repeats_instruction",)),
    "truncated": (truncated, ("truncation", "max_truncated_share")),
    "scope": (scope, ("scope", "scope_types")),
    "token_bounds": (token_bounds, ("instruction_tokens", "response_tokens")),
    "token_limit": (token_limit, ("token_limit", "max_token_limit_share")),
    "critics": (critics, ("critics", "critic", "min_acceptance")),
    "language": (language, ("languages", "min_language_probability")),
    "personal_data": (personal_data, ("personal_data",)),
    "toxicity": (toxicity, ("toxicity",)),
}
"""Every filter with the fields of `data.quality` that set it, in order: what the reference is made from."""


def active_filters(quality: Quality, continuations: Continuations, root: Path) -> dict[str, Filter]:
    """The filters that `quality` asks for, by name, the cheap ones first.

    Models and word lists are loaded here, so that a missing one stops a run before its first row.

    Args:
        quality: the settings.
        continuations: statistics of all raw rows.
        root: folder that relative paths of `quality` start from.

    Raises:
        DataError: the extra that a filter needs is not installed.
        ModelError: the toxicity classifier cannot be loaded.
        SpecificationError: an unknown language, entity or label.
    """

    def over_batch(check: Callable[[Row, Quality, Continuations], Hit | None]) -> Filter:
        return lambda rows: [check(row, quality, continuations) for row in rows]

    found = {check.__name__: over_batch(check) for check in WORDING if _enabled(check.__name__, quality)}
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


def _enabled(name: str, quality: Quality) -> bool:
    """Whether a filter of `WORDING` is switched on; those without a switch always are."""
    return {
        "placeholder": bool(quality.placeholders),
        "delimiter": bool(quality.delimiters),
        "runaway": bool(quality.runaway_markers),
        "link_input": quality.link_input,
        "broken_characters": quality.broken_characters,
        "repeats_instruction": quality.repeats_instruction,
        "truncated": quality.truncation,
        "scope": bool(quality.scope or quality.scope_types),
    }.get(name, True)
