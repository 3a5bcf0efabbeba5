"""inspect_ai: logs as `.eval`, a ZIP archive with one JSON file for each sample, and as `.json`.

Read without inspect: the archive is standard, and who compares two logs need not have installed what wrote them.
"""

import re
import statistics
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from math import comb
from typing import Any

import pyarrow as pa
from pydantic_core import from_json

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, count, digest, names
from sft_pipeline.evaluation.inputs.outputs import Output, ending, item_of, once
from sft_pipeline.evaluation.inputs.rows import Row

SAMPLE = 256 << 20
"""Bytes of a sample's file: the record of an agent that worked for hours."""

_ZSTANDARD = 93
"""What inspect compresses with since 2026, and Python's zipfile reads since 3.14."""

_VALUES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""inspect's value_to_float: correct, incorrect, partial, no answer, and words."""


def recognises(content: Content) -> bool:
    """Whether it is an archive with a log's header, or a JSON object that begins as a log does."""
    if content.is_archive:
        with _archive(content) as archive:
            return not {"header.json", "_journal/start.json"}.isdisjoint(archive.namelist())
    return not content.is_table and isinstance(content.first.get("eval"), dict) and "status" in content.first


def read(contents: Sequence[Content], side: Side) -> Log:
    """The samples of a log that ended in success.

    Raises:
        DataError: the log is damaged, holds no samples, or is of a run that was cancelled or failed.
    """
    [content] = contents
    header, samples = _from_archive(content) if content.is_archive else _from_json(content)
    status, config = header.get("status") or "started", header["eval"].get("config") or {}
    results = header.get("results") or {}
    planned = (header["eval"].get("dataset") or {}).get("samples")
    found = [_output(content, k, header, sample) for k, sample in enumerate(samples, 1)]
    if status != "success":
        error = (header.get("error") or {}).get("message", "")
        raise DataError(
            f"{content.path}: the run did not end ({status}{f': {error:.200}' if error else ''}): {len(found)} samples of a "
            f"dataset of {planned} are logged. Those that end first are a selection; complete it with `inspect eval-retry`"
        )
    if not found:
        said = f"its results say {results.get('total_samples')} samples, but " if results.get("total_samples") else ""
        raise DataError(
            f"{content.path}: {said}the log holds none; run with log_samples on, and copy the log with its samples"
        )
    once(content.path, [(o.id, o.row) for o, _, _ in found])
    notes = []
    if results.get("total_samples") not in (None, len(found)):
        notes.append(f"the log holds {len(found)} samples, its own results are of {results['total_samples']}")
    if errors := sum(bool(o.failure) for o, _, _ in found):
        notes.append(f"{errors} samples ended with an error")
    values = [v for _, _, v in found]
    outputs, counted = _epochs([(o, raw) for o, raw, _ in found], config.get("epochs_reducer"))
    unread = {name for v in values for name in v}
    if unread:
        notes.append(f"scores that are no numbers are not read: {', '.join(sorted(unread))}")
    outputs = [replace(o, scores={n: s for n, s in o.scores.items() if n not in unread}) for o in outputs]
    return Log(outputs, names(o.scores for o in outputs), (*notes, *counted))


FORMAT = Format("inspect", "inspect_ai's logs (.eval, .json)", recognises, read, ("*.eval",))


def _archive(content: Content) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(content.path)
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise DataError(
            f"{content.path}: the archive is damaged or was cut ({error}); copy it once more, or if its run was killed, repair it "
            "with `inspect log recover`"
        ) from error
    try:
        content.check_unpacked(sum(member.file_size for member in archive.infolist()))
    except DataError:
        archive.close()
        raise
    return archive


def _from_archive(content: Content) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    archive = _archive(content)
    members = {member.filename: member for member in archive.infolist()}  # of two with one name, the later one counts
    name = "header.json" if "header.json" in members else "_journal/start.json"
    header = _json(content, archive, members[name])
    wanted = [m for name, m in members.items() if name.startswith("samples/") and name.endswith(".json")]
    return header, (_json(content, archive, member) for member in wanted)


def _json(content: Content, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> dict[str, Any]:
    try:
        if member.compress_type == _ZSTANDARD:
            data = _zstandard(archive, member)
        else:
            with archive.open(member) as file:
                data = file.read(SAMPLE + 1)
        if len(data) > SAMPLE:
            raise DataError(f"{content.path}, {member.filename}: is longer than {SAMPLE >> 20} MiB")
        found = from_json(data)  # twice as fast as json, and samples are long
    except (ValueError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error, EOFError, pa.ArrowException) as e:
        raise DataError(f"{content.path}, {member.filename}: cannot be read: {e}; copy the log once more") from e
    if not isinstance(found, dict):
        raise DataError(f"{content.path}, {member.filename}: is no JSON object")
    return found


def _zstandard(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a member: behind its local header of 30 bytes, its name and its extra field."""
    assert archive.fp is not None
    archive.fp.seek(member.header_offset + 26)
    lengths = archive.fp.read(4)
    archive.fp.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), 1)
    packed = pa.BufferReader(archive.fp.read(member.compress_size))
    return pa.input_stream(packed, compression="zstd").read(SAMPLE + 1)


def _from_json(content: Content) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    samples = content.first.get("samples") or []
    if not isinstance(samples, list) or not all(isinstance(sample, dict) for sample in samples):
        raise DataError(f"{content.path}: samples is no list of objects")
    return content.first, iter(samples)


def _output(
    content: Content, place: int, header: Mapping[str, Any], sample: Mapping[str, Any]
) -> tuple[Output, dict[str, Any], set[str]]:
    """The answer; its scores as they were written, by metric; and the metrics that are no numbers."""
    if "id" not in sample or "input" not in sample:
        raise DataError(f"{content.path}, sample {place}: is no sample of inspect: id or input is missing")
    spec, attached = header["eval"], sample.get("attachments") or {}
    raw: dict[str, Any] = {}
    unread: set[str] = set()
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value") if isinstance(score, dict) else score
        for name, part in (
            {f"{scorer}/{k}": v for k, v in value.items()} if isinstance(value, dict) else {scorer: value}
        ).items():
            raw[name] = part
            if not _convertible(part):
                unread.add(name)
    output = sample.get("output") or {}
    choice = (output.get("choices") or [{}])[0]
    text = output.get("completion") or _text((choice.get("message") or {}).get("content"), attached)
    asked, target, choices = _text(sample["input"], attached), sample.get("target"), sample.get("choices")
    lettered = "".join(f"\n{chr(65 + k)}) {c}" for k, c in enumerate(choices or ()))
    error = (sample.get("error") or {}).get("message", "")
    if sample.get("invalidation"):
        raw, error = {}, "the sample was invalidated"
    epoch = int(sample.get("epoch") or 1)
    finish = choice.get("stop_reason")
    settings = {**(spec.get("model_generate_config") or {}), **((header.get("plan") or {}).get("config") or {})}
    return (
        Output(
            id=str(sample["id"]) if epoch == 1 else f"{sample['id']} (epoch {epoch})",
            row=place,
            output=None if error and not text else printable(_attached(text, attached)),
            tokens=count((output.get("usage") or {}).get("output_tokens")),
            **ending(finish),
            item=item_of(
                type=str(spec.get("task") or "all").rpartition("/")[2],
                instruction=asked + lettered,
                answer=target[0] if isinstance(target, list) and len(target) == 1 else target,
            ),
            settings=Row(content.path, place, settings | {"model": spec.get("model")}).settings(),
            scores={name: _float(value) for name, value in raw.items() if name not in unread},
            identity={"input": digest([asked, choices]), "target": digest(target)}
            | _prompt(sample, attached)
            | _graders(sample),
            failure=error if not raw else "",
        ),
        raw,
        unread,
    )


def _prompt(sample: Mapping[str, Any], attached: Mapping[str, str]) -> dict[str, str]:
    """What the model was given at first: the input as system messages and templates of the solver made it."""
    before = takewhile(
        lambda m: m.get("role") != "assistant" or m.get("source") == "input", sample.get("messages") or ()
    )
    asked = [[m.get("role"), _text(m.get("content"), attached)] for m in before]
    return {"prompt": digest(asked)} if asked else {}


def _graders(sample: Mapping[str, Any]) -> dict[str, str]:
    """Who graded, by scorer: without another one named, inspect lets every model grade itself."""
    graded = {
        name: (score.get("metadata") or {}).get("grading")
        for name, score in (sample.get("scores") or {}).items()
        if isinstance(score, dict)
    }
    return {
        f"grader of {name}": str(messages[-1]["model"])
        for name, messages in graded.items()
        if isinstance(messages, list) and messages and isinstance(messages[-1], dict) and "model" in messages[-1]
    }


def _text(value: Any, attached: Mapping[str, str]) -> str:
    """The text of an input or a message: text, messages, or parts of content."""
    if isinstance(value, str):
        return _attached(value, attached)
    if isinstance(value, dict):
        return _text(value.get("content", value.get("text", "")), attached)
    return "\n".join(filter(None, (_text(part, attached) for part in value or ())))


def _attached(text: str, attached: Mapping[str, str]) -> str:
    """inspect keeps long texts once, and refers to them."""
    return attached.get(text.removeprefix("attachment://"), text) if text.startswith("attachment://") else text


def _convertible(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and _word(value) is not None)


def _word(value: str) -> float | None:
    if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", value, re.IGNORECASE):
        return float(value)
    return _VALUES.get(value, _VALUES.get(value.lower()))


def _float(value: Any) -> float | None:
    """A score as inspect converts it; None where the sample is unscored, which inspect writes as null or NaN."""
    if value is None or value != value:
        return None
    return _word(value) if isinstance(value, str) else float(value)


def _epochs(rows: Sequence[tuple[Output, Mapping[str, Any]]], reducers: Any) -> tuple[list[Output], list[str]]:
    """The answers as inspect counts them where a sample ran several times.

    Under the mean each epoch is an observation, and those of a sample are a cluster: the rate is the same, and the test knows
    that they are no independent ones. Any other reducer makes one outcome of them, whose answer is the first with that outcome.
    """
    by_sample: dict[str, list[tuple[Output, Mapping[str, Any]]]] = {}
    for output, raw in rows:
        by_sample.setdefault(re.sub(r" \(epoch \d+\)$", "", output.id), []).append((output, raw))
    if max(map(len, by_sample.values()), default=1) == 1:
        return [replace(o, identity={**o.identity, "epochs": "1"}) for o, _ in rows], []
    reducer = (reducers[0] if isinstance(reducers, list) else reducers) if reducers else "mean"
    if reducer == "mean":
        return [
            replace(o, item={**o.item, "group": printable(sample)}, identity={**o.identity, "epochs": "1"})
            for sample, members in by_sample.items()
            for o, _ in members
        ], ["the epochs of a sample are one cluster"]
    found = []
    for sample, members in by_sample.items():
        scores = {n: _reduced(reducer, [raw.get(n) for _, raw in members]) for n in names(raw for _, raw in members)}
        first = next(iter(scores), None)
        like = [o for o, _ in members if first and o.scores.get(first) == scores[first]] or [members[0][0]]
        identity = {**like[0].identity, "epochs": f"{reducer} of {len(members)}"}
        found.append(replace(like[0], id=sample, row=members[0][0].row, scores=scores, identity=identity))
    return found, [f"the epochs of a sample are one outcome by inspect's reducer {reducer}"]


def _reduced(reducer: str, raw: Sequence[Any]) -> float | None:
    """One score from those of the epochs, as inspect's reducers define it (inspect_ai/scorer/_reducer); unscored ones left out.

    Raises:
        DataError: the reducer is not known.
    """
    values = [(v, number) for v in raw if (number := _float(v)) is not None]
    scored = [number for _, number in values]
    if not scored:
        return None
    if reducer == "mode":
        return _float(Counter(v for v, _ in values).most_common(1)[0][0])
    if reducer in ("median", "max"):
        return statistics.median(scored) if reducer == "median" else max(scored)
    if not (match := re.fullmatch(r"(at_least|pass_at|pass_k)_(\d+)", reducer)):
        raise DataError(
            f"inspect's reducer {reducer} of epochs is not known; evaluate with one epoch, or with the mean"
        )
    k, n, right = int(match[2]), len(scored), sum(s >= 1 for s in scored)
    if match[1] == "at_least":
        return float(right >= k)
    if n < k:
        return None
    return comb(right, k) / comb(n, k) if match[1] == "pass_k" else 1 - comb(n - right, k) / comb(n, k)
