"""What a specification says it does not want."""

import re

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.experiment import Quality


def scope(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A row of a type that is not asked for, or one that a declared pattern takes out of scope."""
    if quality.scope_types and row["type"] not in quality.scope_types:
        return Hit(f"out of scope: the type is {row['type']!r}", row["type"])
    for name, pattern in quality.scope.items():
        if found := re.search(pattern, f"{row['instruction']}\n{row['response']}"):
            return Hit(f"out of scope: {name}", found[0])
    return None
