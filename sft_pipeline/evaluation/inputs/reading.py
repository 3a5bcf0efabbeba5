"""Reads the models' files of a comparison, whatever harness wrote them, and refuses those that do not fit each other.

A format is recognised by the content of its first object, or named. What identifies an item there joins the files, and what
must be the same for both models (document, prompt, target) is compared item by item.
"""

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.criteria.formatting import some
from sft_pipeline.evaluation.inputs import helm, inspect_logs, lighteval, lm_eval, pairwise, services
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.deciding import judged
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, names
from sft_pipeline.evaluation.inputs.outputs import Output, item_of, once, read_outputs
from sft_pipeline.provenance.hashing import hash_bytes, hash_file

_OWN_FIELDS = {"id", "output", "success", "score"}


def _is_rows(content: Content) -> bool:
    return not content.is_archive and not _OWN_FIELDS.isdisjoint(content.first)


def _read_rows(contents: Sequence[Content], side: Side) -> Log:
    outputs = read_outputs(contents[0].path)
    return Log(outputs, names(o.scores for o in outputs))


ROWS = Format(
    "rows",
    "rows with id, output and success or score (JSONL, a JSON array, CSV, Parquet, a spreadsheet)",
    _is_rows,
    _read_rows,
    own_ids=True,
)


def _is_gate_report(content: Content) -> bool:
    return (
        content.is_table and {"id", "base_output", "base_success", "sft_output", "sft_success"} <= content.first.keys()
    )


def _read_gate_report(contents: Sequence[Content], side: Side) -> Log:
    """The fine-tuned model's answers; the base's where they are named, or where the file is given for both, as the first."""
    [content] = contents
    model = side.model or ("base" if side.shared and side.place == 0 else "sft")
    models = [name.removesuffix("_success") for name in content.first if name.endswith("_success")]
    if model not in models:
        raise DataError(f"{content.path}: holds no answers of {model!r}, but of {', '.join(models)}")
    outputs = [
        Output(
            id=row["id"],
            row=place,
            judged=True,
            success=row[f"{model}_success"],
            failure="" if row[f"{model}_output"] is not None else "was not asked",
            output=row[f"{model}_output"],
            tokens=row[f"{model}_tokens"],
            cut=row[f"{model}_cut"],
            item=item_of(type=row["type"], instruction=row["instruction"], group=row["cluster"] or None),
        )
        for place, row in content.objects()
    ]
    once(content.path, [(o.id, o.row) for o in outputs])
    return Log(outputs)


GATE_REPORT = Format("gate-report", "items.parquet of a gate report", _is_gate_report, _read_gate_report, own_ids=True)

FORMATS: dict[str, Format] = {
    format.name: format
    for format in (
        lm_eval.FORMAT,
        inspect_logs.FORMAT,
        lighteval.FORMAT,
        helm.FORMAT,
        services.BATCH,
        services.PROMPTFOO,
        pairwise.ALPACA,
        pairwise.PAIRS,
        pairwise.GRADES,
        pairwise.LLMBAR,
        GATE_REPORT,
        ROWS,
    )
}
"""By name, in the order in which they are tried: the project's own rows are whatever else has one of their fields."""

_SUMMARIES: tuple[tuple[set[str], str], ...] = (
    ({"results", "configs", "n-shot"}, "lm-eval's results of a whole run; give its samples_*.jsonl (--log_samples)"),
    ({"config_general", "results"}, "LightEval's results of a whole run; give its details_*.parquet (--save-details)"),
    ({"adapter_spec", "request_states"}, "HELM's requests without scores; give per_instance_stats.json, or the folder"),
    ({"adapter_spec", "metric_specs"}, "HELM's specification of a run; give per_instance_stats.json, or the folder"),
    (
        {"instance_id", "predicted_text"},
        "HELM's predictions for its web page; give per_instance_stats.json, or the folder",
    ),
    ({"name", "count", "sum", "mean"}, "HELM's statistics of a whole run; give per_instance_stats.json, or the folder"),
    ({"question_id", "turns"}, "questions of MT-Bench without judgements; give model_judgment/*.jsonl"),
    ({"input", "output_1", "output_2", "label"}, "pairs of LLMBar without judgements; give a judge's result.json"),
    ({"instruction", "output", "generator"}, "outputs for alpaca_eval without judgements; give its annotations.json"),
    ({"custom_id", "method", "url"}, "requests of a batch; give the output file of the batch"),
    ({"instruction", "input", "output"}, "training data; --items takes what is known of the items"),
)
"""Fields of what is often taken for a log of items, with what it is."""


@dataclass(frozen=True)
class Reading:
    """How the files are to be read, where their content does not say it.

    Attributes:
        formats: one name for all files, or one for each; empty: recognised.
        metric: the score that decides; None: of each task the first whose values are 0 or 1, else the first.
        threshold: which scores are a success, such as `0.5` or `<=0.2`; None: those of 1, where all are 0 or 1.
        models: one name for each file that holds the answers of several.
    """

    formats: Sequence[str | None] = ()
    metric: str | None = None
    threshold: str | None = None
    models: Sequence[str | None] = ()

    def widened(self, more: int) -> "Reading":
        """The same for so many further files, of which nothing is said where two files are named."""

        def wide(named: Sequence[str | None]) -> Sequence[str | None]:
            return [*named, *[None] * more] if len(named) == 2 else named

        return replace(self, formats=wide(self.formats), models=wide(self.models))


RECOGNISED = Reading()
"""Everything by the files' content."""


@dataclass(frozen=True)
class Given:
    """One model's answers, ready to be compared.

    Attributes:
        path: as it was written.
        log: the answers; their ids are the same for all models, and `success` is set where it is known.
        format: what it was read as.
        sha256: of the file, or of the list of hashes where there are several.
        scores: the deciding score by id where it is no boolean and no threshold was declared; empty otherwise.
    """

    path: Path
    log: Log
    format: Format
    sha256: str
    scores: Mapping[str, float | None]


def read_logs(paths: Sequence[Path], reading: Reading = RECOGNISED, other_prompts: int = 0) -> list[Given]:
    """The models' answers, joined by what identifies an item.

    Args:
        paths: a file for each model.
        reading: how they are to be read.
        other_prompts: so many of them, the last ones, were asked the same questions with other prompts.

    Raises:
        DataError: a file cannot be used, is of no known format, or is not about the same questions as the first one.
    """
    for what, count in (("--format", len(reading.formats)), ("--models", len(reading.models))):
        if count not in (0, 1, len(paths)):
            raise DataError(f"{what} names {count} for {len(paths)} files: give one for all, or one for each")
    places = [path.resolve() for path in paths]
    found: list[tuple[Path, Format, Log, str]] = []
    for k, path in enumerate(paths):
        contents, format = _recognised(path, _nth(reading.formats, k))
        beside = [j for j, place in enumerate(places) if place == places[k] and j != k]
        others = tuple(filter(None, (_nth(reading.models, j) for j in beside)))
        side = Side(_nth(reading.models, k), k, bool(beside), others)
        found.append((path, format, _read(format, contents, side), _hash(contents)))
    if (cause := _mixed([(path, format) for path, format, _, _ in found])) is not None:
        raise DataError(cause)
    joined = _joined(paths, [log for _, _, log, _ in found], len(paths) - other_prompts)
    logs = judged(paths, joined, reading.metric, reading.threshold)
    return [
        Given(path, log, format, sha256, scores)
        for (path, format, _, sha256), (log, scores) in zip(found, logs, strict=True)
    ]


def _nth(named: Sequence[str | None], k: int) -> str | None:
    return named[k if len(named) > 1 else 0] if named else None


def _recognised(path: Path, name: str | None) -> tuple[list[Content], Format]:
    """The files that a path means, and their format."""
    if name is not None and name not in FORMATS:
        raise DataError(f"--format {name!r} is not known; known are {', '.join(FORMATS)}")
    if path.is_dir() or (not path.exists() and glob.has_magic(str(path))):
        return _in_folder(path, name)
    content = Content(path)
    for format in FORMATS.values():
        if not content.is_text and format.recognises(content):
            if name not in (None, format.name) and not FORMATS[str(name)].recognises(content):
                raise DataError(
                    f"{path}: is not of the format {name} (--format); it looks like {format.name}: {format.title}"
                )
            return [content], FORMATS[name or format.name]
    raise DataError(f"{path}: is of no format that is known: {_looks_like(content)}")


def _in_folder(path: Path, name: str | None) -> tuple[list[Content], Format]:
    """All files of one format in a folder and those below it, or those that a pattern matches."""
    if not path.is_dir():
        matched = [_recognised(p, name) for p in sorted(map(Path, glob.glob(str(path), recursive=True)))]
        formats = {format.name for _, format in matched}
        if len(formats) == 1:
            return [content for contents, _ in matched for content in contents], FORMATS[formats.pop()]
        raise DataError(
            f"{path}: no file matches" if not matched else f"{path}: matches files of {len(formats)} formats"
        )
    for format in FORMATS.values():
        inside = sorted({p for pattern in format.files for p in path.rglob(pattern)})
        if inside and name in (None, format.name):
            return [Content(p) for p in inside], format
    patterns = ", ".join(pattern for format in FORMATS.values() for pattern in format.files)
    raise DataError(f"{path}: the folder holds none of {patterns}; give the file of one run")


def _read(format: Format, contents: list[Content], side: Side) -> Log:
    if len(contents) > 1 and not format.several:
        raise DataError(
            f"{contents[0].path} and {len(contents) - 1} more: {format.title} are read one at a time; name one"
        )
    try:
        log = format.read(contents, side)
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        IndexError,
        OverflowError,
    ) as error:  # a field is not what it is there
        last = next((c for c in reversed(contents) if c.place), contents[0])
        raise DataError(
            f"{last.path}, row {last.place}: is not laid out as {format.title} are: {type(error).__name__}: {error}"
        ) from error
    if not log.outputs:
        raise DataError(f"{contents[0].path}: holds no answers")
    try:
        "".join([*log.metrics, *log.notes, *(f"{o.id}{o.failure}{o.unknown_finish}" for o in log.outputs)]).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{contents[0].path}: an id, the name of a score or an error holds a lone surrogate, which is no character"
        ) from error
    return log


def _looks_like(content: Content) -> str:
    """What a file holds that is of no known format, and which formats there are."""
    known = (
        f"Known are {'; '.join(f'{f.name}: {f.title}' for f in FORMATS.values())}. Say it with --format if it is one"
    )
    if content.is_archive:
        return f"it is a ZIP archive without the header of an inspect log. {known}"
    if content.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is JSON in UTF-16; write it as UTF-8, as with `iconv -f UTF-16 -t UTF-8`"
    if content.is_text:
        return (
            f"it is neither JSON nor a table, and begins with {content.head[:40].decode('utf-8', 'replace')!r} (the name of a table "
            f"ends in .csv, .tsv, .parquet or .xlsx). {known}"
        )
    fields = content.first.keys()
    seen = next((what for names, what in _SUMMARIES if names <= fields), None)
    listed = ", ".join(list(fields)[:12]) + (", …" if len(fields) > 12 else "")
    return f"it looks like {seen}" if seen else f"it holds objects with the fields {listed or 'none'}. {known}"


def _hash(contents: Sequence[Content]) -> str:
    if len(contents) == 1:
        return hash_file(contents[0].path)
    return hash_bytes("".join(f"{hash_file(c.path)}  {c.path.name}\n" for c in contents).encode())


def _mixed(formats: Sequence[tuple[Path, Format]]) -> str | None:
    """Why files of different formats cannot be joined; None where they can: by ids that a person gave to both."""
    if len({format.name for _, format in formats}) == 1 or all(format.own_ids for _, format in formats):
        return None
    listed = "; ".join(f"{path} is {format.title}" for path, format in formats)
    return (
        f"the files are of different harnesses, which ask and judge in ways of their own: {listed}. Evaluate both models with one "
        "harness, or write both as rows with id, output and success"
    )


def _joined(paths: Sequence[Path], logs: Sequence[Log], same_prompts: int) -> list[Log]:
    """The logs with the ids of the first one, where their harness identifies items by more than a number.

    Raises:
        DataError: items of one id are not the same question; names them and what differs.
    """
    first = logs[0]
    keys = Counter(o.key for o in first.outputs)
    by_key = {o.key: o.id for o in first.outputs if o.key is not None and keys[o.key] == 1}
    joined = [first]
    for log in logs[1:]:
        own = Counter(o.key for o in log.outputs)
        renamed = [replace(o, id=by_key[o.key]) if o.key in by_key and own[o.key] == 1 else o for o in log.outputs]
        unique = len({o.id for o in renamed}) == len(renamed)
        joined.append(replace(log, outputs=renamed if unique else log.outputs))
    asked = {o.id: o for o in first.outputs}
    for k, (path, log) in enumerate(zip(paths, joined, strict=True)):
        problems: dict[str, list[str]] = {}
        outputs = []
        for o in log.outputs:
            before = asked.get(o.id, o)
            same = before.identity.keys() & o.identity.keys() - ({"prompt"} if k >= same_prompts else set())
            for name in same:
                if before.identity[name] != o.identity[name]:
                    problems.setdefault(name, []).append(o.id)
            # The same question is of the same task, whatever the file was called.
            outputs.append(replace(o, item={**o.item, "type": before.item["type"]}) if same and before is not o else o)
        if problems:
            said = "; ".join(f"{name} of {some(ids)}" for name, ids in sorted(problems.items()))
            raise DataError(
                f"{paths[0]} and {path} do not ask the same: they differ in {said}. Evaluate both models on the same items, with "
                "the same prompts"
            )
        joined[k] = replace(log, outputs=outputs)
    return joined
