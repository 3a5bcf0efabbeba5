"""Which code an asset's result depends on: its `code_version`, from the sources themselves.

A version that is raised by hand is forgotten by hand, and so is a list of modules; then an old result passes for a new
one. So an asset only declares where its work begins (asset.py): what that imports counts, and what is left out says why.
The hash ignores comments and docstrings. Plots and texts count as code too: they are part of what is stored.
"""

from collections.abc import Collection, Iterable

from sft_pipeline.provenance.code import code_hash, members, with_imports

SCORERS = ("evaluation/scorers", "evaluation/scoring/math_equality.py", "evaluation/scoring/sandbox_child.py")
"""Named by whoever scores: evaluation/scoring/score.py imports them by the name that stands in the specification, or runs
them in processes of their own, and no import leads there. The same is true of the engines."""

LEFT_OUT: dict[str, str] = {
    "__init__.py": "the number of a release makes no other result",
    "artifacts": "types; the versions that they make are in the key",
    "dataset/progress.py": "what is shown while it runs",
    "errors.py": "no result comes of an error",
    "experiment": "the schema; the values, defaults included, are in the key",
    "provenance/code.py": "says which code it is",
    "provenance/files.py": "when bytes reach the disk, not which",
    "provenance/locks.py": "who waits for whom",
    "provenance/environment.py": "a record of the machine",
    "provenance/hashing.py": "another hash makes another key by itself",
    "provenance/secrets.py": "what is not shown",
    "specification.py": "reads the values that are in the key",
}
"""Modules, and folders, that count for no asset, and why not; what they import counts all the same."""


def counted(code: Iterable[str], borders: Collection[str] = ()) -> set[str]:
    """The modules that count where the work begins in `code`, without those that only lie behind `borders`."""
    return with_imports(*code, stop=borders) - members(*LEFT_OUT)


def code_version(code: Iterable[str], borders: Collection[str] = ()) -> str:
    """The version of the code whose work begins in `code`."""
    return code_hash(*sorted(counted(code, borders)))
