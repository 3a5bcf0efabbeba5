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
    return hash_value({name: _source(PACKAGE, name).meaning for name in members(*modules)})[:12]


def with_imports(*modules: str, stop: Collection[str] = ()) -> set[str]:
    """The named modules and every module of the package that they import, directly or through others.

    An import within a function counts like any other. So does a template, a style, a script or a table that is named by its
    file's name. What `importlib` imports by a name that is made at run time cannot be seen.

    Args:
        modules: as in `code_hash`.
        stop: modules, or folders, that are neither taken nor looked into.
    """
    stopped = members(*stop)
    found: set[str] = set()
    waiting = list(members(*modules))
    while waiting:
        name = waiting.pop()
        if name not in found and name not in stopped:
            found.add(name)
            waiting += _named(PACKAGE, name)
    return found


def members(*modules: str) -> set[str]:
    """The named modules, with all those below a folder in its place."""
    return {name for module in modules for name in _below(PACKAGE, module)}


# These take the package, so that what is kept of one is not taken for another. Names are joined as text: loading the code
# location looks for thousands of files, and a Path for each would take longer than all the rest.


@cache
def _files(package: Path) -> frozenset[str]:
    """Names of all files of the package."""
    start = len(f"{package}/")
    return frozenset(f"{folder}/{name}"[start:] for folder, _, names in os.walk(package) for name in names)


@cache
def _below(package: Path, module: str) -> tuple[str, ...]:
    inside = sorted(name for name in _files(package) if name.startswith(f"{module}/") and name.endswith(".py"))
    return tuple(inside) or (module,)


@cache
def _named(package: Path, name: str) -> tuple[str, ...]:
    """The files of the package that the one called `name` imports or names."""
    source, files = _source(package, name), _files(package)
    places = [module.partition(".")[2].replace(".", "/") for module in source.imports]
    found = [file for place in places for file in (f"{place}.py", os.path.join(place, "__init__.py"))]
    beside = "report/templates", os.path.dirname(name)
    found += [os.path.join(folder, data) for data in source.data for folder in beside]
    return tuple(file for file in found if file in files)


@cache
def _source(package: Path, name: str) -> _Source:
    path = package / name
    text = path.read_text(encoding="utf-8")
    data = frozenset(re.findall(r'"(\w+\.(?:html\.j2|md\.j2|css|js|yaml))"', text))
    if path.suffix != ".py":
        return _Source(hash_bytes(text.encode()), frozenset(), data)
    # The bytecode, which Python keeps beside the source for itself: to parse the whole package would be a quarter of what
    # loading the code location costs.
    code = SourceFileLoader(path.stem, str(path)).get_code(path.stem)
    assert code is not None  # the loader of a file finds that file's code
    own = rf"({package.name}[\w.]*)"
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
