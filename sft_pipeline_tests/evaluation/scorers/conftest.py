"""One way to ask a scorer."""

from collections.abc import Callable
from typing import Any

import pytest

from sft_pipeline.evaluation.scorers import Item, Score


@pytest.fixture(scope="session")
def judge() -> Callable[..., Score]:
    """judge(scorer, output, response, options, **reference)."""

    def judge(scorer, output: str, response: str = "", options: dict[str, Any] | None = None, **reference) -> Score:
        return scorer.score(Item("i1", "Do it.", response, "t", reference), output, options or {})

    return judge
