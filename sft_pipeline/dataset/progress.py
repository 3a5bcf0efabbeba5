"""How long work tells how far it is: the command shows a bar, an asset logs, a test takes no notice."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the name of the stage, the rows done so far, and all rows where their number is known."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Take no notice."""
