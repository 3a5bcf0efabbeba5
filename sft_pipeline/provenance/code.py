"""Versions of the project's own code: what an asset's result depends on besides its inputs."""

import marshal
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from inspect import CO_OPTIMIZED
from pathlib import Path
from types import CodeType

from sft_pipeline.provenance.hashing import hash_bytes, hash_value

PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class _Source:
    """A module or a page's template as it counts: the hash of what it does, and what it names.

    Attributes:
        meaning: the hash.
        imports: dotted names of the package that are imported.
        data: names of package data, under report/templates or beside the module.
    """

    meaning: str
    imports: frozenset[str]
    data: frozenset[str]


def code_hash(*modules: str) -> str:
    """Hash of what the named modules do: comments, layout and the wording of docstrings do not count.

    It is made from the bytecode, so another minor version of Python gives another hash.

    Args:
        modules: paths relative to the package, such as `dataset/table.py`; a folder stands for all files below it.

    Returns:
        The first 12 hexadecimal digits: it is read by people in the Dagster UI.
    """
    return hash_value({_name(path): _source(path).meaning for path in _files(modules)})[:12]


def with_imports(*modules: str, stop: Collection[str] = ()) -> set[str]:
    """The named modules and every module of the package that they import, directly or through others.

    An import within a function counts like any other. So does a template, a style, a script or a table that is named by its
    file's name. What `importlib` imports by a name that is made at run time cannot be seen.

    Args:
        modules: as in `code_hash`.
        stop: modules, or folders, that are neither taken nor looked into.
    """
    stopped = set(_files(stop))
    found, waiting = set(), _files(modules)
    while waiting:
        path = waiting.pop()
        if path not in found and path not in stopped:
            found.add(path)
            waiting += _imported(PACKAGE, path)
            places = (PACKAGE / "report/templates", path.parent)
            named = (place / name for name in _source(path).data for place in places)
            waiting += [file for file in named if file.is_file()]
    return {_name(path) for path in found}


def members(*modules: str) -> set[str]:
    """The named modules, with all those below a folder in its place."""
    return {_name(path) for path in _files(modules)}


def _files(modules: Collection[str]) -> list[Path]:
    return [file for module in modules for file in _below(PACKAGE / module)]


@cache
def _below(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.rglob("*.py"))) if path.is_dir() else (path,)


def _name(path: Path) -> str:
    return path.as_posix()[len(PACKAGE.as_posix()) + 1 :]


@cache
def _imported(package: Path, path: Path) -> tuple[Path, ...]:
    """The files of the package that the module at `path` imports."""
    return tuple(file for name in _source(path).imports for file in _modules(package, name))


@cache
def _modules(package: Path, name: str) -> tuple[Path, ...]:
    """The file of the module or package `name`; none where it names something in a module."""
    # Many names are looked for, and a Path for each would take longer.
    place = os.path.join(package, *name.split(".")[1:])
    return tuple(Path(file) for file in (f"{place}.py", f"{place}/__init__.py") if os.path.isfile(file))


@cache
def _source(path: Path) -> _Source:
    text = path.read_text(encoding="utf-8")
    data = frozenset(re.findall(r'"(\w+\.(?:html\.j2|md\.j2|css|js|yaml))"', text))
    if path.suffix != ".py":
        return _Source(hash_bytes(text.encode()), frozenset(), data)
    # The bytecode, which Python keeps beside the source for itself: to parse the whole package would be a quarter of what
    # loading the code location costs.
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
    assert code is not None  # the loader of a file finds that file's code
    own = rf"({PACKAGE.name}[\w.]*)"
    imports = set(re.findall(rf"^[ ]*import {own}", text, re.MULTILINE))
    for module, names in re.findall(rf"^[ ]*from {own} import (\([^)]*\)|[^\n#]*)", text, re.MULTILINE):
        imports |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))}
    return _Source(hash_bytes(marshal.dumps(_stripped(code), 0)), frozenset(imports), data)


def _stripped(code: CodeType) -> CodeType:
    """The code without file name, positions and docstrings; marshal's version 0 spells it the same in every process."""
    consts = [_stripped(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    # Where the compiler puts a docstring: first in a function and in a module, after its name in a class.
    function = bool(code.co_flags & CO_OPTIMIZED)
    at = 0 if function or code.co_name == "<module>" else 1
    documented = not code.co_name.startswith("<") if function else "__doc__" in code.co_names
    if documented and len(consts) > at and isinstance(consts[at], str):
        consts[at] = None
    return code.replace(co_filename="", co_linetable=b"", co_firstlineno=1, co_consts=tuple(consts))
