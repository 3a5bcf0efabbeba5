"""Reads specifications: finds them, turns YAML into an `Experiment`, and says file and line where that fails."""

import json
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import yaml
from pydantic import ValidationError

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.provenance.secrets import is_secret

if TYPE_CHECKING:  # building the schema takes a tenth of a second, and loading the code location reads no specification
    from pydantic_core import ErrorDetails

    from sft_pipeline.experiment import DataOnly, Evaluation, Experiment, Section

S = TypeVar("S", bound="Section")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of experiments: they become partition keys and folder names."""

EXTENDED = re.compile(rf"{NAME.pattern}(/{NAME.pattern})*")
"""What a file may call one that it extends."""

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


class _Yaml:
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

    def extend(self, base: "_Yaml") -> None:
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


def project_root() -> Path:
    """The folder that holds `specs/`: SFT_PIPELINE_ROOT, or the checkout that this package is in."""
    named = os.environ.get("SFT_PIPELINE_ROOT")
    return Path(named).expanduser().resolve() if named else Path(__file__).resolve().parent.parent


def specifications(root: Path) -> tuple[list[str], list[str]]:
    """Names of the experiments under `root`/specs, sorted, and a sentence for each file that cannot be one.

    Such a file must not keep the others from being loaded: they have nothing to do with it.
    """
    names, problems = [], []
    for path in sorted((root / "specs").glob("*.y*ml")):
        if not path.is_file():  # a folder, or the lock of an editor
            continue
        if path.suffix == ".yml":
            problems.append(f"specs/{path.name!r}: name it .yaml; it is left out.")
        elif path.suffix == ".yaml" and not NAME.fullmatch(path.stem):
            problems.append(
                f"specs/{path.name!r}: the file name is the experiment's name and may hold only letters (A to Z), digits, "
                "dots, dashes and underscores, and must begin with a letter or digit; rename it. It is left out."
            )
        elif path.suffix == ".yaml":
            names.append(path.stem)
    return names, problems


def plan_only(name: str, root: Path) -> bool:
    """Whether `root`/specs/`name`.yaml is for a plan alone. It is not validated: a file with faults counts as one to run."""
    try:
        for path, text in reversed(texts(root / "specs" / f"{name}.yaml")):
            found = _Yaml(text, path).value if "plan_only" in text else None
            if isinstance(found, dict) and "plan_only" in found:
                return found["plan_only"] is True
    except (SpecificationError, yaml.YAMLError):
        return False
    return False


def texts(path: Path, within: tuple[Path, ...] = (), where: str = "") -> list[tuple[Path, str]]:
    """The files that `path` extends, each once and before what extends it, and at the end itself, with their texts.

    Args:
        path: the file.
        within: the files that lead to it.
        where: the place that names it.

    Raises:
        SpecificationError: one cannot be read, or extends itself.
    """
    if path in within:
        circle = " extends ".join(one.stem for one in (*within[within.index(path) :], path))
        raise SpecificationError(f"{where}: {circle}: a circle")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{where or path}: cannot be read: {error}") from error
    found: dict[Path, str] = {}
    try:
        document = _Yaml(text, path) if "extends" in text else None
    except yaml.YAMLError:
        document = None  # whoever validates it says so
    if document and isinstance(document.value, dict) and (names := document.value.get("extends")) is not None:
        where = f"{path}:{document.places[id(document.value)]['extends'][1]}: extends"
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or not EXTENDED.fullmatch(name):
                raise SpecificationError(
                    f"{where}: takes files beside this one or in folders beside it, without .yaml; got {name!r:.80}"
                )
            found |= {p: t for p, t in texts(path.parent / f"{name}.yaml", (*within, path), where) if p not in found}
    return [*found.items(), (path, text)]


def load_by_name(name: str, root: Path) -> "Experiment":
    """The experiment that `root`/specs/`name`.yaml describes.

    Raises:
        SpecificationError: there is no such file, or it does not hold.
    """
    path = root / "specs" / f"{name}.yaml"
    if not NAME.fullmatch(name) or not path.is_file():
        names, problems = specifications(root)
        message = f"there is no experiment {name!r} under specs/ (there are: {', '.join(names) or 'none'})."
        raise SpecificationError("\n".join([message, *problems]))
    return load(path)


def load(path: Path) -> "Experiment":
    """Read and validate the specification in `path`.

    Raises:
        SpecificationError: every problem with file, line and field.
    """
    from sft_pipeline.experiment import Experiment

    return _load(path, Experiment)


def load_evaluation(path: Path) -> "Evaluation":
    """The section `evaluation` of the specification in `path`, which may hold nothing else.

    Raises:
        SpecificationError: as `load`.
    """
    from sft_pipeline.experiment import EvaluationOnly

    return _load(path, EvaluationOnly).evaluation


def load_data(path: Path) -> "Experiment | DataOnly":
    """The specification in `path`, which may hold the section `data` alone.

    Raises:
        SpecificationError: as `load`.
    """
    from sft_pipeline.experiment import DataOnly

    return _load(path, DataOnly)


def _load(path: Path, part: type[S]) -> "S | Experiment":
    """What `path` holds: nothing beyond the sections of `part`, or a whole specification."""
    found = _parsed(tuple(texts(path)), part)
    if isinstance(found, str):
        raise SpecificationError(found)
    return found


@lru_cache(64)  # a sensor asks every minute, and most often nothing has changed
def _parsed(given: tuple[tuple[Path, str], ...], part: type[S]) -> "S | Experiment | str":
    """What a file says together with those that it extends, or what is wrong with one of them."""
    from sft_pipeline.experiment import Experiment

    documents = []
    for path, text in given:
        try:
            document = _Yaml(text, path)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f":{mark.line + 1}" if mark else ""
            return f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}"
        if not isinstance(document.value, dict):
            return f"{path}:1: a specification is a mapping with the keys {', '.join(Experiment.model_fields)}."
        if document.repeated:
            return "\n".join(f"{path}:{line}: the key {key!r} stands twice." for key, line in document.repeated)
        document.value.pop("extends", None)
        documents.append(document)
    document, *later = documents
    for own in later:
        own.extend(document)
        document = own
    path = given[-1][0]
    kind = part if document.value.keys() <= part.model_fields.keys() else Experiment
    try:
        # By way of JSON: there a list may become a tuple and 1 a float, and nothing else is coerced.
        return kind.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        return "\n".join(_explain(path, document, e) for e in error.errors())
    except (TypeError, ValueError) as error:
        return f"{path}: {error}"


def _explain(path: Path, document: _Yaml, error: "ErrorDetails") -> str:
    (file, line), keys = _locate(path, document, error["loc"])
    field = ".".join(keys)
    if error["type"] == "extra_forbidden":
        known = _siblings(error["loc"])
        close = _closest(str(error["loc"][-1]), known)
        hint = f"did you mean {close!r}?" if close else f"known keys: {', '.join(known)}."
        return f"{file}:{line}: {field}: unknown key; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] in ("missing", "value_error") else f" (given: {error['input']!r:.80})"
    return f"{file}:{line}: {field or 'specification'}: {message}{given}"


def _locate(path: Path, document: _Yaml, location: tuple[str | int, ...]) -> tuple[tuple[Path, int], list[str]]:
    """Place of the deepest value that exists on the way to `location`, and the keys that lead there."""
    value, place, keys = document.value, (path, 1), []
    for step in location:
        key = str(step) if isinstance(value, dict) else step
        places = document.places.get(id(value), {})
        if key in places:
            place, value = places[key], value[key]
        # Steps that are no keys name the branch of a union (kind: embedded); a missing key ends the search.
        elif not isinstance(value, dict) or step != location[-1]:
            continue
        keys.append(str(step))
    return place, keys


def _siblings(location: tuple[str | int, ...]) -> list[str]:
    """Keys that are allowed where `location` points, from the JSON Schema."""
    from sft_pipeline.experiment import Experiment

    schema = Experiment.model_json_schema()
    options = [schema]
    for step in location[:-1]:
        following = []
        for option in options:
            if str(step) in option.get("properties", {}):
                following.append(option["properties"][str(step)])
            elif "additionalProperties" in option and isinstance(option["additionalProperties"], dict):
                following.append(option["additionalProperties"])
            elif "items" in option:
                following.append(option["items"])
            else:
                mapping = option.get("discriminator", {}).get("mapping", {})
                following.append({"$ref": mapping[step]} if step in mapping else option)
        options = [_resolve(o, schema) for o in following]
    return sorted({key for option in options for key in option.get("properties", {})})


def _resolve(option: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in option:
        return _resolve(schema["$defs"][option["$ref"].rsplit("/", 1)[1]], schema)
    for alternative in option.get("anyOf", []):
        if "$ref" in alternative:
            return _resolve(alternative, schema)
    return option


def _closest(word: str, known: list[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, n=1)), None)


def expand_path(text: str, root: Path) -> Path:
    """A path of a specification: ${VARIABLES} of the environment expand, relative paths start at `root`.

    Raises:
        DataError: a variable is not set, or holds a secret by its name: paths are shown in messages and metadata.
    """
    try:
        template = Template(text)
        if secret := next((name for name in template.get_identifiers() if is_secret(name)), None):
            raise DataError(
                f"{text}: {secret} looks like a secret, and a path is shown to everybody; use another variable."
            )
        expanded = template.substitute(os.environ)
    except KeyError as error:
        raise DataError(
            f"{text}: the environment variable {error.args[0]} is not set; set it to the folder it stands for."
        ) from None
    except ValueError as error:
        raise DataError(f"{text}: {error}; write $$ for a dollar sign.") from None
    return (root / Path(expanded).expanduser()).resolve()
