"""Write the reference pages under docs/reference from the code: `make docs`, or `python docs/generate.py`.

A page is a function in `PAGES`. A test compares each file with what its function gives.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py: edit the code, then run `make docs`. -->\n"


def specification() -> str:
    """Every field of a specification, by section, in the order of the schema."""
    from sft_pipeline.experiment import Experiment

    schema = Experiment.model_json_schema()
    lines = [
        "# Fields of a specification",
        "",
        "A specification is one YAML file under `specs/`; its name is the experiment's. A field without a default is required.",
        "`sft-pipeline schema` prints the same as JSON Schema, for editors.",
    ]
    for path, section in _sections(schema, "", schema["$defs"], set()):
        lines += ["", f"## {path or 'The file'}", "", section.get("description", ""), ""]
        lines += ["| field | type | default | meaning |", "|---|---|---|---|"]
        for name, field in section["properties"].items():
            default = "**required**" if name in section.get("required", ()) else _default(field)
            meaning = field.get("description", "") or _target(field, schema["$defs"]).get("description", "")
            lines.append(_table_row(f"`{name}`", _type(field), default, meaning))
    return "\n".join(lines) + "\n"


def _sections(
    section: dict[str, Any], path: str, definitions: dict[str, Any], seen: set[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A section and those below it, each once, with the path of its first place in a file."""
    yield path, section
    for name, field in section["properties"].items():
        for reference in _references(field):
            target = definitions[reference]
            if reference not in seen and "properties" in target:
                seen.add(reference)
                kind = target["properties"].get("kind", {}).get("const")
                below = f"{path}.{name}".lstrip(".") + (f" ({kind})" if kind else "")
                yield from _sections(target, below, definitions, seen)


def _references(field: Any) -> Iterator[str]:
    if isinstance(field, dict):
        if "$ref" in field:
            yield field["$ref"].rsplit("/", 1)[1]
        for key, value in field.items():
            if key != "discriminator":
                yield from _references(value)
    elif isinstance(field, list):
        for value in field:
            yield from _references(value)


def _target(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    return next((definitions[name] for name in _references(field)), {})


_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
    "minLength": "at least {} characters",
    "pattern": "`{}`",
}


def _type(field: dict[str, Any]) -> str:
    """The type of a field in words, with its bounds."""
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in field:
            return " or ".join(dict.fromkeys(_type(part) for part in field[choice]))
    if "$ref" in field:
        return "section"
    if "const" in field or "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`".replace('"', "") for value in field.get("enum", [field.get("const")]))
    name = field.get("type", "anything")
    if name == "array":
        items = field.get("items") or {"type": "anything"}
        name = f"list of {_type(items)}"
    elif name == "object":
        values = field.get("additionalProperties")
        name = f"mapping to {_type(values)}" if isinstance(values, dict) else "mapping"
    elif name == "null":
        return "null"
    bounds = [text.format(field[key]) for key, text in _BOUNDS.items() if key in field]
    return " ".join([name, *bounds])


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return ""
    text = json.dumps(field["default"], ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "see its section" if "$ref" in field else f"`{text[:57]}…`"


def commands() -> str:
    """Every command with its arguments and options, and the exit codes in one table."""
    import typer

    from sft_pipeline.cli import EXIT_CODES, app, command_name

    group: Any = typer.main.get_command(app)
    lines = ["# Commands", "", "## Exit codes", "", "3 is a fault of the program in every command.", ""]
    lines += ["| command | 0 | 1 | 2 |", "|---|---|---|---|"]
    for function, codes in EXIT_CODES.items():
        name = command_name(function)
        lines.append(_table_row(f"[`{name}`](#{name.replace(' ', '-')})", *(code or "–" for code in codes)))
    found = {}
    for name, command in group.commands.items():
        below = getattr(command, "commands", {"": command})
        found |= {f"{name} {inner}".strip(): one for inner, one in below.items()}
    for name, command in found.items():
        usage = " ".join(command.collect_usage_pieces(command.context_class(command)))
        lines += ["", f"## {name}", "", f"`sft-pipeline {name} {usage}`", "", _paragraphs(command.help or ""), ""]
        rows = [_parameter(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        if rows:
            lines += ["| | default | meaning |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _parameter(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    name = ", ".join((*parameter.opts, *parameter.secondary_opts)) if option else parameter.name
    missing = parameter.default is None or parameter.default is False or str(parameter.default).endswith("UNSET")
    default = "**required**" if parameter.required else "" if missing else f"`{parameter.default}`"
    return _table_row(f"`{name}`", default, parameter.help or "")


def capability_report_schema() -> str:
    """The JSON schema of capabilities.json."""
    from sft_pipeline.capabilities.write_report import schema

    return schema()


def gate_report_schema() -> str:
    """The JSON Schema of gate.json."""
    from sft_pipeline.report.gate.json import schema

    return schema()


def _paragraphs(text: str) -> str:
    """Lines of a docstring as one line per paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _table_row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def scorers() -> str:
    """Every scorer: what is a success, its options, the fields of an item's reference."""
    from importlib import import_module
    from typing import get_args

    from sft_pipeline.experiment import ScorerSpec

    kinds = sorted(get_args(ScorerSpec.model_fields["kind"].annotation))
    modules = {kind: import_module(f"sft_pipeline.evaluation.scorers.{kind}") for kind in kinds}
    lines = ["# Scorers", "", "How to choose one: [Scorers](../how-to/scorers.md).", ""]
    lines += ["| kind | success | verifier |", "|---|---|---|"]
    verifier = {True: "yes", False: "no", None: "not known"}
    for kind, module in modules.items():
        lines.append(_table_row(f"[`{kind}`](#{kind})", _sections_of(module)[0], verifier[module.VERIFIER]))
    for kind, module in modules.items():
        function = getattr(module, "score", None) or module.score_pairs
        lines += ["", f"## {kind}"]
        for text in (*_sections_of(module), *_sections_of(function)):
            lines += ["", text]
        for title, fields in (("option", module.OPTIONS), ("field of the reference", module.REFERENCE)):
            if fields:
                lines += ["", f"| {title} | meaning |", "|---|---|"]
                lines += [_table_row(f"`{name}`", _escaped(meaning)) for name, meaning in fields.items()]
    return "\n".join(lines) + "\n"


def _sections_of(documented: Any) -> list[str]:
    """The paragraphs of a docstring, each on one line, up to what is there for programmers."""
    text = re.split(r"\n\n(?:Args|Returns|Raises|Attributes):", inspect.getdoc(documented) or "")[0]
    parts = [part if re.match(r"(?:\d\.|-) ", part) else " ".join(part.split()) for part in text.split("\n\n")]
    return [_escaped(part) for part in parts]


def _escaped(text: str) -> str:
    """`text` with tags that a page shows instead of obeying them."""
    return re.sub(r"`[^`]*`|<", lambda found: found[0] if found[0] != "<" else "&lt;", text)


def gate_criteria() -> str:
    """Every criterion of the gate, by kind."""
    from sft_pipeline.evaluation.gate.criteria.registry import CRITERIA, KINDS
    from sft_pipeline.experiment import Gate

    lines = [
        "# Criteria of the gate",
        "",
        "Every criterion leaves a reason in gate.json with its `id`, `kind`, `outcome`, `thresholds`, `remedy`, and, of a stress",
        "test, the figures `before` and `after`. The figures in the rules are the defaults of `evaluation.gate`; where a rule",
        "says nothing of it, what is not met refuses the comparison.",
    ]
    for kind, meaning in KINDS.items():
        lines += ["", f"## {kind[0].upper()}{kind[1:]}", "", meaning, ""]
        lines += ["| id | title | rule | settings | remedy |", "|---|---|---|---|---|"]
        for c in CRITERIA:
            if c.kind == kind:
                settings = ", ".join(f"`{name}`" for name in c.thresholds)
                remedy = c.remedy + (" Human labels that agree waive it." if c.waived else "")
                lines.append(
                    _table_row(f"`{c.id}`", c.title, c.asks.format(**Gate().model_dump()), settings, remedy.strip())
                )
    return "\n".join(lines) + "\n"


def filters() -> str:
    """Every quality filter: what it drops, and the fields of `data.quality` that set it."""
    from sft_pipeline.dataset.filters.registry import FILTERS
    from sft_pipeline.experiment import Quality

    schema = Quality.model_json_schema()
    lines = [
        "# Quality filters",
        "",
        "In the order in which they name a row's fault: the first that matches rejects the row, its reason names the others.",
        "The settings are fields of `data.quality` ([specification.md](specification.md)).",
    ]
    for name, (function, settings) in FILTERS.items():
        lines += ["", f"## {name}"]
        for text in _sections_of(function):
            lines += ["", text]
        if settings:
            lines += ["", "| setting | default | meaning |", "|---|---|---|"]
        for setting in settings:
            field = schema["properties"][setting]
            meaning = field.get("description", "") or _target(field, schema["$defs"]).get("description", "")
            lines.append(_table_row(f"`{setting}`", _default(field), _escaped(meaning)))
    return "\n".join(lines) + "\n"


def performance() -> str:
    """Every figure of time and memory, from the results that the benchmarks have written."""
    lines = [
        "# Performance",
        "",
        "Every figure of time and memory, with its command and what it is compared with. A benchmark that is run with the variable",
        "`RECORD=1` writes its file in `benchmarks/results`; `make benchmarks` runs those that need no card, and writes this page.",
        "Ratios are of one run on one machine; absolute figures are of the machine that is named. What the data stage does about its",
        "own stands in [data](../how-to/data.md#size-and-speed).",
        "",
        "**No GPU was at hand for this version.** `python benchmarks/gpu.py --out results` measures what needs one, in at most eight",
        "minutes on one card; until it has been run this page has no section of it.",
    ]
    for file in sorted((REFERENCE.parents[1] / "benchmarks" / "results").glob("*.json")):
        found = json.loads(file.read_text("utf-8"))
        lines += ["", f"## {found['title']}", "", f"`{found['command']}`; {found['measured']}, {found['machine']}.", ""]
        lines += [found["note"], ""] if found["note"] else []
        lines += ["| | measured | against | ratio | aim |", "|---|---|---|---|---|"]
        names = ("what", "value", "against", "ratio", "aim")
        lines += [_table_row(*(row[name] for name in names)) for row in found["figures"]]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "specification.md": specification,
    "commands.md": commands,
    "scorers.md": scorers,
    "gate_criteria.md": gate_criteria,
    "filters.md": filters,
    "performance.md": performance,
    "capability_report.schema.json": capability_report_schema,
    "gate_report.schema.json": gate_report_schema,
}
"""What gives each page, by file name. Another page is another function here."""


def page(name: str) -> str:
    """The page as it must stand in docs/reference: behind the title of a text, a note says where it comes from."""
    text = PAGES[name]()
    if not name.endswith(".md"):
        return text
    title, rest = text.split("\n", 1)
    return f"{title}\n\n{NOTE}{rest}"


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for file in PAGES:
        (REFERENCE / file).write_text(page(file), "utf-8")
