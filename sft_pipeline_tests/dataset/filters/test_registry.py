"""Which filters a specification asks for, and in which order they name a row's faults."""

from pathlib import Path

import pytest

from sft_pipeline.dataset.filters import Continuations, active_filters
from sft_pipeline.dataset.filters.registry import FILTERS
from sft_pipeline.dataset.filters.registry import WORDING as ROW_FILTERS
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import PersonalData, Quality, TokenBounds, Toxicity

WORDING = [
    "empty",
    "placeholder",
    "broken_characters",
    "delimiter",
    "runaway",
    "repetition",
    "repeats_instruction",
    "truncated",
]


def names(quality: Quality) -> list[str]:
    return list(active_filters(quality, Continuations(), Path(".")))


def test_by_default_wording_and_critics_are_active():
    assert names(Quality()) == [*WORDING, "critics"]


def test_a_filter_that_is_off_is_absent():
    quality = Quality(
        placeholders=(),
        delimiters=(),
        runaway_markers=(),
        truncation=False,
        repeats_instruction=False,
        broken_characters=False,
        critics="ignored",
    )
    assert names(quality) == ["empty", "repetition"]


@pytest.mark.slow
def test_everything_that_is_asked_for_comes_with_the_dear_ones_last():
    pytest.importorskip("presidio_analyzer", reason="needs the extra personal-data")
    pytest.importorskip("profanex", reason="needs the extra toxicity")
    quality = Quality(
        scope={"url": "https?://"},
        instruction_tokens=TokenBounds(most=100),
        token_limit=64,
        languages=("en",),
        personal_data=PersonalData(),
        toxicity=Toxicity(),
    )
    added = ["scope", "token_bounds", "token_limit", "critics", "language", "personal_data", "toxicity"]
    assert names(quality) == [*WORDING, *added]
    row = {
        "instruction": "Say hello in one sentence.",
        "response": "Hello, it is good to see you here today.",
        "type": "all",
        "critics": None,
        "instruction_tokens": 6,
        "response_tokens": 10,
    }
    assert all(
        check([row, row]) == [None, None] for check in active_filters(quality, Continuations(), Path(".")).values()
    )


@pytest.mark.parametrize("quality", [Quality(scope_types=("math",)), Quality(scope={"url": "http"})])
def test_scope_is_judged_by_types_or_by_patterns(quality):
    assert names(quality) == [*WORDING, "scope", "critics"]


def test_what_cannot_be_judged_is_refused_before_the_first_row():
    with pytest.raises(SpecificationError, match="unknown xx"):
        names(Quality(languages=("xx",)))


def test_the_reference_knows_every_filter_and_every_setting():
    assert [check.__name__ for check in ROW_FILTERS] == list(FILTERS)[: len(ROW_FILTERS)]
    named = {setting for _, settings in FILTERS.values() for setting in settings}
    others = {"max_unreadable_share", "min_kept_share", "max_median_response_tokens"}  # of the rows as a whole
    assert named | others == set(Quality.model_fields)
