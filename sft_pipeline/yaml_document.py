"""Reads a document of YAML 1.2 (core schema, merge keys) with the place of every entry, and refuses what expands."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

DEPTH = 100
"""Levels of nesting; a specification has less than ten."""

EXPANDED = 100_000
"""Values that aliases may add to those that are written: nine lines can stand for a billion."""

_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML was built with it

_TAG = "tag:yaml.org,2002:"
_CORE: dict[str, type | tuple[type, ...]]
_CORE = {"str": str, "null": type(None), "bool": bool, "int": int, "float": (int, float), "map": dict, "seq": list}
"""Types of YAML's core schema by their tags, `!!str` and so on."""

_WORDS: dict[str, bool | None]
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WORDS |= dict.fromkeys(("", "~", "null", "Null", "NULL"))
_INT = re.compile(r"[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")


class YamlDocument:
    """A document of YAML 1.2, core schema with merge keys (<<); keys are texts as they are written.

    It is built from the parser's events: PyYAML's own constructor reads YAML 1.1, where 1e-4 is a text and yes a truth
    value, and takes several times as long. Every event is visited once, however often an alias repeats what it names.

    Attributes:
        value: the document.
        places: file and line (from 1) of every entry, by the identity of the mapping or list that holds it.
        repeated: keys that stand twice in one mapping, with their line: YAML would silently keep the last.

    Raises:
        yaml.YAMLError: the text is no YAML, no single document, nested too deeply, its aliases stand for too much, or a
            value is not of its tag's type.
    """

    def __init__(self, text: str, path: Path):
        self.value: Any = None
        self.places: dict[int, dict[str | int, tuple[Path, int]]] = {}
        self._path = path
        self.repeated: list[tuple[str, int]] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._written = self._size = documents = 0
        for event in yaml.parse(text, Loader=_Parser):
            if isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = value, 1
                self._add(event, value, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event, {} if isinstance(event, yaml.MappingStartEvent) else [])
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self._anchors:
                    within = any(collection.anchor == event.anchor for collection in self._open)
                    _refuse(event, f"*{event.anchor} " + ("stands within what it names" if within else "names nothing"))
                self._add(event, *self._anchors[event.anchor])
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _refuse(event, "a second document begins here; a specification is one")

    def extend(self, base: "YamlDocument") -> None:
        """Take over what `base` says and this document does not.

        Mappings are merged key by key, unless the own one names another `kind`; anything else is replaced as a whole, and
        null takes a key away.
        """
        self.places = base.places | self.places
        self.value = self._merged(base.value, self.value)

    def _merged(self, base: Any, own: Any) -> Any:
        if not (isinstance(base, dict) and isinstance(own, dict)) or own.get("kind", base.get("kind")) != base.get(
            "kind"
        ):
            return own
        merged = {key: self._merged(base.get(key), value) for key, value in own.items() if value is not None}
        merged |= {key: base[key] for key in base.keys() - own.keys()}
        self.places[id(merged)] = self.places[id(base)] | self.places[id(own)]
        return merged

    def _begin(self, event: yaml.CollectionStartEvent, container: "dict[str, Any] | list[Any]") -> None:
        if len(self._open) == DEPTH:
            _refuse(event, f"nested more than {DEPTH} levels deep")
        _check_tag(event, container)
        before = self._size
        self._add(event, container, 1)
        self._open.append(_Open(event.anchor, container, before))
        self.places[id(container)] = {}

    def _end(self) -> None:
        done = self._open.pop()
        for other in done.merged:
            for key in other.keys() - done.container:
                done.container[key] = other[key]
                self.places[id(done.container)][key] = self.places[id(other)][key]
        if done.anchor:
            self._anchors[done.anchor] = done.container, self._size - done.before

    def _add(self, event: yaml.Event, value: Any, size: int) -> None:
        self._written, self._size = self._written + 1, self._size + size
        if self._size > self._written + EXPANDED:
            _refuse(event, f"aliases (*) stand for more than {EXPANDED:,} values; write out what is meant")
        if not self._open:
            self.value = value
            return
        into = self._open[-1]
        places, line = self.places[id(into.container)], event.start_mark.line + 1  # type: ignore[union-attr]
        if isinstance(into.container, list):
            places[len(into.container)] = self._path, line
            into.container.append(value)
        elif into.key is None:
            if isinstance(value, dict | list):
                _refuse(event, "a key must be a text")
            into.key = event.value if isinstance(event, yaml.ScalarEvent) else str(value)
            if into.key in places:
                self.repeated.append((into.key, line))
            places[into.key] = self._path, line
        elif into.key == "<<":
            into.key = None
            others = value if isinstance(value, list) else [value]
            if not all(isinstance(other, dict) for other in others):
                _refuse(event, "<< takes a mapping, or a list of them")
            into.merged += others
        else:
            into.container[into.key] = value
            into.key = None

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        value: Any
        if event.style or event.tag in ("!", f"{_TAG}str"):  # in quotes, a block, or declared
            value = text
        elif text in _WORDS:
            value = _WORDS[text]
        elif _INT.fullmatch(text):
            try:
                value = int(text.replace("_", ""), 0 if text[:2] in ("0o", "0x") else 10)
            except ValueError:  # thousands of digits
                _refuse(event, f"{text!r:.40} cannot be read as int; write it in quotes for a text")
        else:
            value = float(text.replace("_", "")) if _FLOAT.fullmatch(text) else text
        _check_tag(event, value)
        return value


@dataclass
class _Open:
    """A mapping or list that has not ended: what it holds so far, and the key that waits for its value."""

    anchor: str | None
    container: Any
    before: int
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


def _refuse(event: yaml.Event, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]


def _check_tag(event: yaml.ScalarEvent | yaml.CollectionStartEvent, value: Any) -> None:
    """Refuse a tag that is none of the core schema, or not that of the value."""
    if event.tag in (None, "!"):
        return
    name = event.tag.removeprefix(_TAG)
    if name not in _CORE:
        _refuse(event, f"{value!r:.40} cannot be read as {name}, a tag that is not known; leave the tag out")
    if not isinstance(value, _CORE[name]):
        _refuse(event, f"{value!r:.40} cannot be read as {name}; write it in quotes for a text")
