"""Reads specifications: finds them, turns YAML into an `Experiment`, and says file and line where that fails."""

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.provenance.secrets import is_secret
from sft_pipeline.yaml_document import YamlDocument

if TYPE_CHECKING:  # building the schema takes a tenth of a second, and loading the code location reads no specification
    from pydantic_core import ErrorDetails

    from sft_pipeline.experiment import DataOnly, Evaluation, Experiment, Section

S = TypeVar("S", bound="Section")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of experiments: they become partition keys and folder names."""

EXTENDED = re.compile(rf"{NAME.pattern}(/{NAME.pattern})*")
"""What a file may call one that it extends."""


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
            found = YamlDocument(text, path).value if "plan_only" in text else None
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
        document = YamlDocument(text, path) if "extends" in text else None
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
            document = YamlDocument(text, path)
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


def _explain(path: Path, document: YamlDocument, error: "ErrorDetails") -> str:
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


def _locate(path: Path, document: YamlDocument, location: tuple[str | int, ...]) -> tuple[tuple[Path, int], list[str]]:
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
