"""Reads specifications: finds them, turns YAML into an `Experiment`, and says file and line where that fails."""

import json
import os
import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.provenance.secrets import is_secret

if TYPE_CHECKING:  # building the schema takes a tenth of a second, and loading the code location reads no specification
    from sft_pipeline.experiment import DataOnly, Evaluation, Experiment, Section

S = TypeVar("S", bound="Section")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of experiments: they become partition keys and folder names."""

_ENDLESS = "nested too deeply, or an alias (*) stands within what it names; write the values out."


class _Loader(yaml.SafeLoader):
    """Safe YAML with numbers as YAML 1.2 has them: PyYAML would read 1e-4 as a text.

    Keys are texts as they are written: types of items may be called yes and no, which YAML 1.1 reads as truth values.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; where Python cannot read it (0x_, !!bool zz), PyYAML would let Python's own error through."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            problem = (
                f"{node.value!r:.40} cannot be read as {node.tag.rpartition(':')[2]}; write it in quotes for a text"
            )
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$"
    ),
    list("-+0123456789."),
)


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

    return _validated(path, *_read(path), Experiment)


def load_evaluation(path: Path) -> "Evaluation":
    """The section `evaluation` of the specification in `path`, which may hold nothing else.

    Raises:
        SpecificationError: as `load`.
    """
    from sft_pipeline.experiment import EvaluationOnly

    return _load_or_part(path, EvaluationOnly).evaluation


def load_data(path: Path) -> "Experiment | DataOnly":
    """The specification in `path`, which may hold the section `data` alone.

    Raises:
        SpecificationError: as `load`.
    """
    from sft_pipeline.experiment import DataOnly

    return _load_or_part(path, DataOnly)


def _load_or_part(path: Path, part: type[S]) -> "S | Experiment":
    """What `path` holds: nothing beyond the sections of `part`, or a whole specification."""
    from sft_pipeline.experiment import Experiment

    tree, values = _read(path)
    return _validated(path, tree, values, part if values.keys() <= part.model_fields.keys() else Experiment)


def _read(path: Path) -> tuple[yaml.Node, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{path}: cannot be read: {error}") from error
    try:
        tree = yaml.compose(text, Loader=_Loader)
        values = yaml.load(text, Loader=_Loader)
        repeated = _repeated_keys(tree)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SpecificationError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise SpecificationError(f"{path}: {_ENDLESS}") from error
    if not isinstance(values, dict):
        from sft_pipeline.experiment import Experiment

        raise SpecificationError(
            f"{path}:1: a specification is a mapping with the keys {', '.join(Experiment.model_fields)}."
        )
    if repeated:
        raise SpecificationError("\n".join(f"{path}:{line}: the key {key!r} stands twice." for key, line in repeated))
    return tree, values


def _validated(path: Path, tree: yaml.Node, values: dict[str, Any], kind: type[S]) -> S:
    try:
        # By way of JSON: there a list may become a tuple and 1 a float, and nothing else is coerced.
        return kind.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise SpecificationError("\n".join(_explain(path, tree, e) for e in error.errors())) from error
    except RecursionError as error:
        raise SpecificationError(f"{path}: {_ENDLESS}") from error
    except (TypeError, ValueError) as error:
        raise SpecificationError(f"{path}: {error}") from error


def _explain(path: Path, tree: yaml.Node, error: dict[str, Any]) -> str:
    line, keys = _locate(tree, error["loc"])
    field = ".".join(keys)
    if error["type"] == "extra_forbidden":
        known = _siblings(error["loc"])
        close = _closest(str(error["loc"][-1]), known)
        hint = f"did you mean {close!r}?" if close else f"known keys: {', '.join(known)}."
        return f"{path}:{line}: {field}: unknown key; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    given = "" if error["type"] in ("missing", "value_error") else f" (given: {error['input']!r:.80})"
    return f"{path}:{line}: {field or 'specification'}: {message}{given}"


def _locate(tree: yaml.Node, location: tuple[str | int, ...]) -> tuple[int, list[str]]:
    """Line (from 1) of the deepest node that exists on the way to `location`, and the keys that lead there."""
    node, line, keys = tree, tree.start_mark.line + 1, []
    for step in location:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if match is None:
                # Steps that are no keys name the branch of a union (kind: embedded); a missing key ends the search.
                if step == location[-1]:
                    keys.append(str(step))
                continue
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            continue
        keys.append(str(step))
    return line, keys


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


def _repeated_keys(node: yaml.Node | None) -> list[tuple[str, int]]:
    """Keys that stand twice in one mapping, with their line: YAML would silently keep the last."""
    found = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                found.append((key.value, key.start_mark.line + 1))
            seen.add(key.value)
            found += _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            found += _repeated_keys(item)
    return found


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
