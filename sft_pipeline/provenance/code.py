"""Versions of the project's own code: what an asset's result depends on besides its inputs."""

import ast
from functools import cache
from pathlib import Path

from sft_pipeline.provenance.hashing import hash_value

PACKAGE = Path(__file__).resolve().parent.parent


def code_hash(*modules: str) -> str:
    """Hash of what the named modules do: comments, docstrings and layout do not count.

    Args:
        modules: paths relative to the package, such as `dataset/split.py`; a folder stands for all files below it.

    Returns:
        The first 12 hexadecimal digits: it is read by people in the Dagster UI.
    """
    files: list[Path] = []
    for module in modules:
        path = PACKAGE / module
        files += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return hash_value({p.relative_to(PACKAGE).as_posix(): _meaning(p) for p in files})[:12]


@cache
def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
