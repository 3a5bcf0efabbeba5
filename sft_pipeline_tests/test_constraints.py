"""The lock: whatever the set-up commands install, they install in the version of constraints.txt."""

import tomllib
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sft_pipeline.specification import project_root


def test_every_requirement_of_the_set_up_commands_is_pinned_and_this_environment_has_the_pinned_version():
    root = project_root()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(p.name): p.specifier for p in map(Requirement, filter(_is_pin, lines))}
    assert all(str(pin).startswith("==") for pin in pins.values())

    extras = project["optional-dependencies"]
    todo = [(text, "") for text in (*project["dependencies"], *extras["dev"])]
    seen, not_pinned, other = set(), set(), set()
    while todo:
        text, extra = todo.pop()
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        asked = (name, frozenset(wanted.extras))
        if asked in seen or wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            continue
        seen.add(asked)
        if name == project["name"]:
            todo += [(text, "") for e in wanted.extras for text in extras[e]]
            continue
        installed = distribution(name)
        todo += [(text, e) for e in ("", *wanted.extras) for text in installed.requires or ()]
        if name not in pins:
            not_pinned.add(f"{name}=={installed.version}")
        elif not pins[name].contains(installed.version.split("+")[0], prereleases=True):  # 2.13.0+cpu is 2.13.0
            other.add(f"{name} {installed.version}, pinned {pins[name]}")
    assert len(seen) > 150
    assert (sorted(not_pinned), sorted(other)) == ([], [])


def _is_pin(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")
