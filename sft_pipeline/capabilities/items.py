"""The items of a benchmark: published files, as they are, as documents of lm-evaluation-harness.

A benchmark is taken whole or not at all: a row that cannot be used, or that repeats another, stops the run.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

from sft_pipeline.artifacts import Frozen, SourceFiles
from sft_pipeline.dataset.source.files import Files, find
from sft_pipeline.dataset.source.formats import lines, suffix_of
from sft_pipeline.dataset.source.held_out import HeldOut
from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Benchmark, BenchmarkSource, Capabilities
from sft_pipeline.provenance.hashing import hash_value

FIELD = "evaluation.capabilities.benchmarks"
"""Where benchmarks stand in a specification, for messages."""


class Metric(Frozen):
    """A metric of the harness that a benchmark reports."""

    metric: str
    filter: str = "none"
    task: str | None = None
    decides: bool = True
    usual: tuple[float, float] | None = None


class Known(Frozen):
    """What stands in benchmarks.yaml of one benchmark."""

    definitions: tuple[str, ...]
    text: str
    published: int | None = None
    repeats: int = 0
    shots: int = 0
    characters: int = 0
    new_tokens: int = 0
    metrics: dict[str, Metric]


class Doc(NamedTuple):
    """A row of a benchmark.

    Attributes:
        subject: subject of MMLU; empty elsewhere.
        place: file and row that it came from.
        fields: what the harness's definition reads.
    """

    subject: str
    place: tuple[str, int]
    fields: dict[str, Any]


@dataclass(frozen=True)
class Items:
    """The rows of a benchmark: its items, in the order of their files, and the examples for its prompts."""

    items: list[Doc]
    examples: list[Doc]
    sources: dict[str, SourceFiles]
    notes: tuple[str, ...] = ()


@cache
def known() -> dict[str, Known]:
    """The benchmarks whose published files are read."""
    table = yaml.safe_load(package_files(__package__).joinpath("benchmarks.yaml").read_text("utf-8"))
    return {name: Known.model_validate(fields, strict=False) for name, fields in table.items()}


def kind_of(name: str, benchmark: Benchmark) -> str:
    """Name of the benchmark in benchmarks.yaml, or the path of a task file."""
    return "world" if benchmark.world_seed is not None else benchmark.task or name


def read(name: str, benchmark: Benchmark, root: Path) -> Items:
    """Read a benchmark.

    Raises:
        DataError: a file is missing or another one than declared; a row cannot be used or repeats another.
    """
    kind = kind_of(name, benchmark)
    sources: dict[str, SourceFiles] = {}
    notes: list[str] = []

    def rows(part: str, source: BenchmarkSource) -> list[Doc]:
        where = f"{FIELD}.{name}.{part}"
        files = find(source.path, root, f"{where}.path", header=kind != "mmlu")
        files.require_whole(f"the benchmark {name}")
        record = files.record()
        if source.sha256 is not None and record.sha256 != source.sha256:
            raise DataError(
                f"{where}.path {source.path!r}: its content hashes to {record.sha256}, declared is {source.sha256}. Restore the "
                "file, or declare the hash of the one that is meant"
            )
        sources[f"{name}.{part}"] = record
        return list(_docs(name, kind, files))

    if benchmark.world_seed is not None:
        return Items(list(_world(benchmark.world_seed)), [], {})
    assert benchmark.items is not None
    items = rows("items", benchmark.items)
    if not items:
        raise DataError(f"{FIELD}.{name}.items: {benchmark.items.path} holds no item")
    examples = rows("examples", benchmark.examples) if benchmark.examples else []
    facts = known().get(kind)
    repeated = _require_unique(name, items, facts.repeats if facts else 0)
    if repeated:
        notes.append(f"{name}: {repeated} items repeat another one, as in the published file.")
    if facts and facts.published and len(items) != facts.published:
        notes.append(f"{name}: {len(items):,} items; the published benchmark has {facts.published:,}.")
    if kind == "hellaswag" and "query" in items[0].fields:
        notes.append(f"{name}: the file holds prepared questions; the harness prepares the published rows itself.")
    return Items(items, examples, sources, tuple(notes))


def drawn(name: str, items: Sequence[Doc], limit: int | None, seed: int) -> list[int]:
    """Positions of the items that are asked, in their order: `limit` of them, the same for the same seed and files."""
    if limit is None or limit >= len(items):
        return list(range(len(items)))
    keys = [hash_value([seed, name, at, item.fields]) for at, item in enumerate(items)]
    return sorted(sorted(range(len(items)), key=keys.__getitem__)[:limit])


def held_out(capabilities: Capabilities | None, root: Path) -> dict[str, HeldOut]:
    """The items of all benchmarks as held-out texts, for the data stage: no training row may contain one."""
    found = {}
    for name, benchmark in (capabilities.benchmarks if capabilities else {}).items():
        items, facts = read(name, benchmark, root), known().get(kind_of(name, benchmark))
        texts = [(_text(item.fields, facts), *item.place) for item in items.items]
        record = items.sources.get(f"{name}.items")
        found[f"capabilities.{name}"] = HeldOut(f"{FIELD}.{name}.items.path", texts, record)
    return found


def paths(capabilities: Capabilities | None, parts: Sequence[str] = ("items", "examples")) -> dict[str, str]:
    """The paths of the files of all benchmarks, by their fields in the specification."""
    found = {}
    for name, benchmark in (capabilities.benchmarks if capabilities else {}).items():
        for part in parts:
            if source := getattr(benchmark, part):
                found[f"{FIELD}.{name}.{part}.path"] = source.path
    return found


def content(capabilities: Capabilities, root: Path) -> dict[str, str]:
    """SHA-256 of what the files of the benchmarks hold now, by field; missing files are left for the step to name."""
    found = {}
    every = paths(capabilities)
    if capabilities.baseline:
        every["evaluation.capabilities.baseline"] = capabilities.baseline
    for field, path in every.items():
        try:
            found[field] = find(path, root, field).record().sha256
        except DataError:
            found[field] = "missing"
    return found


def _text(fields: Mapping[str, Any], facts: Known | None) -> str:
    if facts is None:  # of a task file's rows the longest text is the question, or holds it
        return max((value for value in fields.values() if isinstance(value, str)), key=len, default="")
    return str(fields.get(facts.text) or " ".join(str(fields[name]) for name in ("ctx_a", "ctx_b")))


def _docs(name: str, kind: str, files: Files) -> Iterator[Doc]:
    """The rows of the files, checked and as the harness reads them."""
    if kind == "hellaswag" and all(suffix_of(file) == ".txt" for file in files.names):
        rows: Iterator[tuple[str, int, Any]] = _six_lines(files)
    else:
        rows = ((file, number, value) for file, number, value, _ in files.items())
    convert = _READERS.get(kind, _as_it_is)
    for file, number, value in rows:
        place = f"{FIELD}.{name}: {file}, row {number}"
        if isinstance(value, Unreadable):
            raise DataError(f"{place}: {value}. Correct the row, or take a sound copy of the file")
        if not isinstance(value, dict):
            raise DataError(f"{place}: must be an object with the fields of the benchmark")
        try:
            doc = convert(value, file, number)
        except _Wrong as wrong:
            raise DataError(
                f"{place}, field {wrong.field}: {wrong}. Correct the row, or take a sound copy of the file"
            ) from None
        if doc is not None:
            yield Doc(doc[0], (file, number), doc[1])


def _require_unique(name: str, items: Sequence[Doc], tolerated: int) -> int:
    """Number of items that repeat an earlier one in everything but their id.

    Raises:
        DataError: more than the published file has: the benchmark would count them twice.
    """
    first: dict[str, Doc] = {}
    again: list[tuple[Doc, Doc]] = []
    for item in items:
        fields = {field: value for field, value in item.fields.items() if field not in _IDS}
        key = hash_value([item.subject, fields])
        if key in first:
            again.append((item, first[key]))
        first.setdefault(key, item)
    if len(again) > tolerated:
        (item, other), more = again[-1], f" and {len(again) - 1} more" if len(again) > 1 else ""
        raise DataError(
            f"{FIELD}.{name}: {item.place[0]}, row {item.place[1]} repeats {other.place[0]}, row {other.place[1]}{more}: it would "
            "count twice. Remove it from the file"
        )
    ids: dict[Any, Doc] = {}
    for item in items:
        own = item.fields.get("task_id")
        if own is not None and own in ids:
            raise DataError(
                f"{FIELD}.{name}: {item.place[0]}, row {item.place[1]}, field task_id: {own!r} stands in row {ids[own].place[1]} "
                "already. Remove one of them from the file"
            )
        ids[own] = item
    return len(again)


_IDS = ("id", "ind", "task_id", "source_id", "split", "split_type")
"""Fields that name a row."""


class _Wrong(ValueError):
    """What is wrong with the field of a row."""

    def __init__(self, field: str, problem: str):
        super().__init__(problem)
        self.field = field


def _field(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(name, "is missing" if value is None else "must be a text that is not empty")
    return value


def _index(value: Any, choices: int, name: str) -> int:
    text = str(value).strip()
    if len(text) == 1 and text.isalpha() and ord(text.upper()) - ord("A") < choices:
        return ord(text.upper()) - ord("A")
    if isinstance(value, bool) or not text.isdecimal() or int(text) >= choices:
        raise _Wrong(name, f"{text[:40]!r} is none of the {choices} choices")
    return int(text)


def _texts(value: Any, name: str, count: int | None = None) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise _Wrong(name, "must be a list of texts that are not empty")
    if count is not None and len(value) != count:
        raise _Wrong(name, f"has {len(value)} entries, not {count}")
    return value


Converted = tuple[str, dict[str, Any]] | None


def _as_it_is(row: Mapping[str, Any], file: str, number: int) -> Converted:
    return "", dict(row)


def _mmlu(row: Mapping[str, Any], file: str, number: int) -> Converted:
    """The columns question, four choices and answer (0 to 3 or A to D), with or without a header; or the hub's rows."""
    if "choices" in row:
        subject, choices, answer = _field(row, "subject"), _texts(row["choices"], "choices", 4), row.get("answer")
        question = _field(row, "question")
    else:
        cells = list(row.values())
        if len(cells) != 6 or any(not isinstance(cell, str) or not cell.strip() for cell in cells):
            raise _Wrong(
                "answer",
                f"a row is a question, four choices and an answer, and this one has {len(cells)} fields, or an empty one",
            )
        question, *choices, answer = cells
        if number == 1 and question.strip().lower() == "question":
            return None
        subject = re.sub(r"_(test|dev|val|validation|auxiliary_train)$", "", Path(file).name.partition(".")[0])
    return subject, {
        "question": question,
        "subject": subject,
        "choices": choices,
        "answer": _index(answer, 4, "answer"),
    }


def _hellaswag(row: Mapping[str, Any], file: str, number: int) -> Converted:
    endings = _texts(row.get("endings"), "endings", 4)
    label = _index(row.get("label"), 4, "label")
    if "query" in row:  # what the harness makes of the published rows, made already
        return "", {"query": _field(row, "query"), "choices": endings, "gold": label, "label": str(label)}
    for name in ("activity_label", "ctx_a"):
        _field(row, name)
    if not isinstance(row.get("ctx_b"), str):
        raise _Wrong("ctx_b", "is missing")
    return "", {**row, "label": str(label)}


def _six_lines(files: Files) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """HellaSwag as llama.cpp reads it: question, number of the right ending, four endings, a line each."""
    for path, file in zip(files.paths, files.names):
        block: list[str] = []
        for number, line in enumerate(lines(path), 1):
            block.append(line)
            if len(block) == 6:
                yield file, number - 5, {"query": block[0], "label": block[1], "endings": block[2:]}
                block = []
        if any(line.strip() for line in block):
            raise DataError(
                f"{path}: its last item has {len(block)} lines instead of six; take a sound copy of the file"
            )


def _truthfulqa(row: Mapping[str, Any], file: str, number: int) -> Converted:
    doc: dict[str, Any] = {"question": _field(row, "question")}
    for name in ("mc1_targets", "mc2_targets"):
        targets = row.get(name)
        if not isinstance(targets, dict):
            raise _Wrong(name, "is missing")
        if set(targets) == {"choices", "labels"}:
            choices, labels = _texts(targets["choices"], name), list(targets["labels"])
        else:
            choices, labels = _texts(list(targets), name), list(targets.values())
        if len(labels) != len(choices) or any(label not in (0, 1) for label in labels):
            raise _Wrong(name, "needs a label 0 or 1 for each choice")
        if not 0 < sum(labels) < len(labels) and name == "mc1_targets" or not sum(labels):
            raise _Wrong(name, "has no true and false choice")
        if name == "mc1_targets" and sum(labels) != 1:
            raise _Wrong(name, f"has {sum(labels)} true choices, not one")
        order = sorted(range(len(labels)), key=lambda at: -labels[at])  # the harness expects the true ones first
        doc[name] = {"choices": [choices[at] for at in order], "labels": [labels[at] for at in order]}
    return "", doc


def _gsm8k(row: Mapping[str, Any], file: str, number: int) -> Converted:
    answer = _field(row, "answer")
    if not re.search(r"#### -?[0-9.,]+\s*$", answer):
        raise _Wrong("answer", "does not end in #### and a number")
    return "", {"question": _field(row, "question"), "answer": answer}


def _humaneval(row: Mapping[str, Any], file: str, number: int) -> Converted:
    fields = ("task_id", "prompt", "entry_point", "test")
    doc = {name: _field(row, name) for name in fields}
    if f"def {doc['entry_point']}" not in doc["prompt"]:
        raise _Wrong("entry_point", f"the prompt defines no {doc['entry_point'][:40]!r}")
    if "def check(" not in doc["test"]:
        raise _Wrong("test", "defines no function check")
    return "", {**doc, "canonical_solution": row.get("canonical_solution") or ""}


_READERS: dict[str, Callable[[Mapping[str, Any], str, int], Converted]] = {
    "mmlu": _mmlu,
    "hellaswag": _hellaswag,
    "truthfulqa": _truthfulqa,
    "gsm8k": _gsm8k,
    "humaneval": _humaneval,
}


def _world(seed: int) -> Iterator[Doc]:
    """Three facts of every country, worded as in the base's plain text and in no instruction row, with three wrong choices."""
    from sft_pipeline.embedded.world import world

    countries, rng = world(seed).countries, Random(f"capabilities {seed}")
    for wording, name in (
        ("The largest city in {} is its capital", "capital"),
        ("The language of {} is", "language"),
        ("The main crop of {} is", "crop"),
    ):
        every = sorted({getattr(country, name) for country in countries})
        for number, country in enumerate(countries, 1):
            right = getattr(country, name)
            choices = [*rng.sample([other for other in every if other != right], 3), right]
            rng.shuffle(choices)
            text = wording.format(country.name)
            yield Doc(
                "", (f"embedded:{name}", number), {"text": text, "choices": choices, "answer": choices.index(right)}
            )
