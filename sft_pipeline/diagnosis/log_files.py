"""Finds the log of a run and reads its records: trainer states, JSON and CSV exports, JSON lines and text logs."""

import ast
import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.diagnosis.log import KEYS, canonical
from sft_pipeline.errors import DataError

Records = list[dict[str, Any]]

READABLE = (
    "give a trainer_state.json (or the folder of a run), JSON lines such as trainer_log.jsonl, a W&B export (CSV or JSON), "
    "or a text log whose lines name step and loss (of a Hugging Face trainer, torchtune, Megatron, mlx-lm, nanoGPT)"
)

LOGS = ("trainer_log.jsonl", "training_log.jsonl", "log_history.json")
"""Logs in the folder of a run that has no trainer_state.json, in the order in which they are looked for."""

_STEP = re.compile(r"\b(global[ _]step|step|iter|iteration)\b[\s:#=]*(\d+)", re.IGNORECASE)
_FIGURE = re.compile(
    r"(?<![\w/.-])(?:reduced_)?((?:(?:train(?:ing)?|val(?:id(?:ation)?)?|eval(?:uation)?|dev|lm)[ _/])?loss(?: train)?|learning[ _]rate|lr|"
    r"(?:global[ _])?grad(?:ient)?[ _]norm|epoch)\s*[:=]?\s*(-?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf(?:inity)?))(?=[\s,;|)]|$)",
    re.IGNORECASE,
)
_JSON = re.compile(r"\s*(?:\{|\[\s*[\]{])")  # a line of text may begin with a time in brackets
_PRINTED = re.compile(r"\{['\"][^{}]*\}")
_NON_FINITE = re.compile(r"(?<=[:\s])(-?(?:nan|inf))(?=\s*[,}])")


def log_history(path: Path) -> Records:
    """The log records in `path`, a file or the folder of a run (see `state_file`).

    Raises:
        DataError: there is no log, it is in no format that is known, it is empty, or it has no key that a log must have.
    """
    file = state_file(path)
    text = _text(file)
    records = _records(file, text)
    if not records:
        raise DataError(f"{file}: the log is empty; set logging_steps below the number of steps and train again")
    if not all(isinstance(record, dict) for record in records):
        return records  # `read` names the record that is none
    keys = {key for record in canonical(records) for key in record}
    if not keys & {"step", "epoch", "loss", "eval_loss"}:
        raise DataError(
            f"{file}: no record has a training loss ({', '.join(KEYS['loss'])}), a dev loss, a step or an epoch; the keys "
            f"are {', '.join(sorted(map(str, keys))[:12]) or 'none'}. This is not the log of a training; {READABLE}"
        )
    return records


def state_file(path: Path) -> Path:
    """The file that `path` stands for: itself, or in the folder of a run the state of the latest step.

    That is its own trainer_state.json, or the one of the newest checkpoint-N folder where the own one ended at an earlier
    step: it is then left over from before the training was resumed. Without either it is one of `LOGS`.

    Raises:
        DataError: the folder holds none of them, or its own trainer_state.json cannot be read.
    """
    if not path.is_dir():
        return path
    numbered = {
        int(state.parent.name[11:]): state
        for state in path.glob("checkpoint-*/trainer_state.json")
        if state.parent.name[11:].isdigit()
    }
    newest, own = max(numbered, default=None), path / "trainer_state.json"
    if own.is_file():
        state = _json(own, _text(own))
        reached = state.get("global_step") if isinstance(state, dict) else None
        return numbered[newest] if newest is not None and isinstance(reached, int) and reached < newest else own
    if newest is not None:
        return numbered[newest]
    for name in LOGS:
        if (path / name).is_file():
            return path / name
    raise DataError(
        f"{path}: no trainer_state.json in this folder or in a checkpoint-N folder of it, and no {', '.join(LOGS)}; {READABLE}"
    )


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); {READABLE}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not a text file ({error}); {READABLE}") from error
    if text.startswith("version https://git-lfs"):
        raise DataError(f"{file}: a pointer of Git LFS, not the file; run git lfs pull and try again")
    return text


def _json(file: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); {READABLE}") from error


def _records(file: Path, text: str) -> Records:
    """The records of a file, by its content: the ending of its name decides nothing that the content does not."""
    lines = text.splitlines()
    if _JSON.match(text):
        filled = [line for line in lines if line.strip()]
        if len(filled) > 1 and _is_object(filled[0]):
            return _json_lines(file, lines)
        if not _PRINTED.match(filled[0].strip()) or _is_object(filled[0]):
            return _from_json(file, _json(file, text))
    if found := max(_lines(lines), _printed(lines), key=len):
        return found
    table = None if text.lstrip().startswith(("{", "[")) else _csv(file, lines)
    if table is None:
        raise DataError(f"{file}: no training log in a known format; {READABLE}")
    return table


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _json_lines(file: Path, lines: Sequence[str]) -> Records:
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if not _is_object(line):
            raise DataError(
                f"{file}, line {number}: not a JSON object: {line.strip()!r:.60}; remove the line (a trainer that was killed "
                "leaves an incomplete one)"
            )
        records.append(json.loads(line))
    return _without_gaps(records)


def _from_json(file: Path, state: Any) -> Records:
    if isinstance(state, list):
        return _without_gaps(state) if all(isinstance(record, dict) for record in state) else state
    if isinstance(state, dict) and "log_history" in state:
        if not isinstance(state["log_history"], list):
            raise DataError(f"{file}: log_history is {type(state['log_history']).__name__}, not a list; {READABLE}")
        return state["log_history"]
    columns = state if isinstance(state, dict) else {}
    if columns and all(isinstance(column, dict) for column in columns.values()):  # pandas writes a table so
        rows: dict[str, dict[str, Any]] = {}
        for key, column in columns.items():
            for index, value in column.items():
                rows.setdefault(index, {})[key] = value
        return _without_gaps(list(rows.values()))
    if columns and all(isinstance(column, list) for column in columns.values()):
        return _without_gaps([dict(zip(columns, row)) for row in zip(*columns.values())])
    if columns and {key for row in canonical([columns]) for key in row} & {"loss", "eval_loss"}:
        return [columns]
    raise DataError(f"{file}: no field log_history, so it is not the state of a Hugging Face trainer; {READABLE}")


def _lines(lines: Sequence[str]) -> Records:
    """Lines that name a step and a loss: torchtune's `Step 3 | loss:1.2 lr:0.0003`, Megatron's `iteration 10/ 500 | … | lm
    loss: 2.3E+00`, mlx-lm's `Iter 10: Train loss 2.345, Learning Rate 1e-05`, nanoGPT's `iter 10: loss 2.3456`."""
    records = []
    for line in lines:
        steps, figures = {name.lower()[0]: number for name, number in _STEP.findall(line)}, {}
        for name, value in _FIGURE.findall(line):
            if name.lower() == "epoch" and "." not in value:
                continue  # the number of an epoch is not how many passes there were
            name = name.lower().removesuffix(" train").replace(" ", "_").replace("/", "_").removeprefix("lm_")
            figures["eval_loss" if name.startswith(("val", "eval", "dev")) else name] = value
        if steps and figures.keys() & {"loss", "train_loss", "training_loss", "eval_loss"}:
            # that of the run, not of an epoch, where a line has both
            records.append({"step": int(steps.get("g") or steps.get("s") or steps["i"]), **figures})
    return records


def _printed(lines: Sequence[str]) -> Records:
    """Dictionaries as Python prints them, one or several to a line, behind a progress bar or not."""
    records = []
    for printed in (text for line in lines for text in _PRINTED.findall(line)):
        try:
            record = ast.literal_eval(_NON_FINITE.sub(r"'\1'", printed))
        except (ValueError, SyntaxError):
            continue
        if isinstance(record, dict) and canonical([record])[0].keys() & {"loss", "eval_loss", "train_runtime"}:
            records.append(record)
    return records


def _csv(file: Path, lines: Sequence[str]) -> Records | None:
    """A table with a header, such as W&B's export of a run or of a chart; None where it is no table.

    Raises:
        DataError: the columns belong to several runs.
    """
    header = lines[0] if lines else ""
    delimiter: Callable[[str], int] = header.count
    reader = csv.DictReader(lines, delimiter="\t" if delimiter("\t") > delimiter(",") else ",")
    columns = [column for column in reader.fieldnames or () if not column.endswith(("__MIN", "__MAX"))]
    if len(columns) < 2:
        return None
    runs = sorted({column.rpartition(" - ")[0] for column in columns if " - " in column})
    if len(runs) > 1:
        raise DataError(f"{file}: the columns belong to several runs ({', '.join(runs)}); export one run alone")
    rows = [{column.rpartition(" - ")[2]: row[column] for column in columns} for row in reader]
    return _without_gaps(rows)


def _without_gaps(records: Records) -> Records:
    """Leaves out what a table writes where there is nothing: NaN for the training loss of an evaluation, or the reverse.

    A loss that is NaN while the other one is there was not measured in that record; alone, it is what happened.
    """
    kept = []
    for record in records:
        plain = canonical([record])[0]
        losses = [key for key in ("loss", "eval_loss") if key in plain]
        gaps = len(losses) == 2 and sum(map(_is_nan, (plain[key] for key in losses))) == 1
        kept.append({key: value for key, value in record.items() if not (gaps and _is_nan(value))})
    return kept


def _is_nan(value: Any) -> bool:
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError):
        return False
