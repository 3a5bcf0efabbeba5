"""Judgements of a language model: alpaca_eval's annotations, MT-Bench's pairs and grades, LLMBar's results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, digest, names, number
from sft_pipeline.evaluation.inputs.outputs import Output, item_of, once


def _judgement(id: str, place: int, won: bool | None, tie: bool, **fields: Any) -> Output:
    """An answer that a judge compared with another one: a tie is a success of neither."""
    labels = ("tie",) if tie else ()
    scores = {"preferred": None if won is None else float(won)}
    return Output(id=id, row=place, scores=scores, labels=labels, **fields)


# --------------------------------------------------------------------------------------------------- alpaca_eval


def _is_alpaca(content: Content) -> bool:
    return {"instruction", "output_1", "output_2", "preference"} <= content.first.keys()


def _read_alpaca(contents: Sequence[Content], side: Side) -> Log:
    """One of the two models: preferred is a preference beyond the middle (1.5, or 0 in old files), as `discrete_win_rate` counts.

    Where each side has a file of its own, both were compared with a third model, and `output_2` is the one meant.
    """
    [content] = contents
    rows = list(content.objects())
    models = [_of_all(content, rows, f"generator_{k}") for k in (1, 2)]
    model = side.choose(content.path, models) if side.shared or side.model else models[1]
    own = models.index(model) + 1
    other = models[2 - own]
    outputs = []
    for place, row in rows:
        given = row.get("preference")
        preference = None if given == "" else number(given)  # nothing or NaN: the judge's reply could not be read
        if isinstance(given, bool) or not (preference is None or preference == 0 or 1 <= preference <= 2):
            raise DataError(f"{content.path}, row {place}, field preference: must be from 1 to 2, is {given!r:.60}")
        middle = preference in (0, 1.5)
        share = None if preference is None else 0.5 if middle else preference - 1 if own == 2 else 2 - preference
        identity = {"instruction": digest(row["instruction"])}
        if not side.shared:
            identity[f"answer of {other}"] = digest(row[f"output_{3 - own}"])
        output = _judgement(
            digest([row.get("dataset"), row["instruction"]]),
            place,
            None if share is None else share > 0.5,
            middle,
            output=printable(str(row[f"output_{own}"])),
            item=item_of(type=str(row.get("dataset") or "all"), instruction=str(row["instruction"])),
            identity=identity,
            compared=side.shared,
        )
        outputs.append(replace(output, scores={**output.scores, "preference": share}))
    once(content.path, [(o.id, o.row) for o in outputs])
    return Log(outputs, names(o.scores for o in outputs), (f"{model} was compared with {other}",))


def _of_all(content: Content, rows: Sequence[tuple[int, Mapping[str, Any]]], field: str) -> str:
    found = {str(row.get(field)) for _, row in rows}
    if len(found) > 1:
        raise DataError(
            f"{content.path}, field {field}: names {len(found)} models ({', '.join(sorted(found)[:4])}); split the file"
        )
    return found.pop()


# ------------------------------------------------------------------------------------------------------ MT-Bench


def _is_pair(content: Content) -> bool:
    return {"question_id", "model_1", "model_2", "g1_winner", "g2_winner"} <= content.first.keys()


def _read_pairs(contents: Sequence[Content], side: Side) -> Log:
    """One of two models that were judged in both orders: it is preferred where both verdicts say so, as FastChat counts.

    Verdicts that change with the order are a tie; one that is an error leaves the question without a judgement.
    """
    [content] = contents
    rows = list(content.objects())
    models = list(dict.fromkeys(str(row.get(m)) for m in ("model_1", "model_2") for _, row in rows))
    model = side.choose(content.path, models)
    against = {place: _opponent(row, model) for place, row in rows if model in (row["model_1"], row["model_2"])}
    direct = {name for name in against.values() if name in side.others}
    if len(meant := direct or set(against.values())) > 1:
        raise DataError(
            f"{content.path}: judges {model} against {len(meant)} models ({', '.join(sorted(meant)[:4])}); split the file, or name "
            "two models that were judged against each other (--models)"
        )
    compared = side.shared and (bool(direct) or len(models) == 2)
    outputs = []
    for place, row in rows:
        if against.get(place) not in meant:
            continue
        first, second = row["g1_winner"], row["g2_winner"]
        if unknown := {str(first), str(second)} - {"model_1", "model_2", "tie", "error"}:
            raise DataError(
                f"{content.path}, row {place}: the winner must be model_1, model_2, tie or error, is {unknown.pop()!r:.40}"
            )
        own = "model_1" if row["model_1"] == model else "model_2"
        decided = first == second and first != "tie"
        won = None if "error" in (first, second) else decided and first == own
        outputs.append(
            _judgement(
                _turn(row),
                place,
                won,
                won is not None and not decided,
                output=_answer(row.get("g1_user_prompt"), "A" if own == "model_1" else "B"),
                item=item_of(type="all", instruction=_asked(row.get("g1_user_prompt")), group=str(row["question_id"])),
                compared=compared,
            )
        )
    once(content.path, [(o.id, o.row) for o in outputs])
    return Log(
        outputs, names(o.scores for o in outputs), ("judged in both orders; a verdict that changes with them is a tie",)
    )


def _opponent(row: Mapping[str, Any], model: str) -> str:
    return str(row["model_2"] if row["model_1"] == model else row["model_1"])


def _turn(row: Mapping[str, Any]) -> str:
    return f"{row['question_id']} (turn {row.get('turn', 1)})"


def _answer(prompt: Any, assistant: str) -> str | None:
    """The judged answer, as the judge was shown it: FastChat's judgements hold no other copy."""
    name = f"Assistant {assistant}" if assistant else "Assistant(?: A)?"
    one = rf"\[The Start of {name}'s Answer\]\n(.*?)\n\[The End of {name}'s Answer\]"
    turns = rf"### {name}:\n(.*?)\n\n(?=### User:|<\|The End of {name}'s)"
    found = re.findall(one, str(prompt), re.DOTALL) or re.findall(turns, str(prompt), re.DOTALL)
    return printable(found[-1]) if found else None


def _asked(prompt: Any) -> str | None:
    """The question of the turn that is judged."""
    first = re.search(r"\[(?:User )?Question\]\n(.*?)\n\n\[The Start", str(prompt), re.DOTALL)
    turns = re.findall(r"### User:\n(.*?)\n\n### Assistant", str(prompt), re.DOTALL)
    return first[1] if first else turns[-1] if turns else None


def _is_grades(content: Content) -> bool:
    return {"question_id", "model", "score", "judge"} <= content.first.keys()


def _read_grades(contents: Sequence[Content], side: Side) -> Log:
    """One model's grades from 1 to 10; both turns of a question are a cluster, and -1 is a grade that could not be read."""
    outputs = []
    rows = [(content, place, row) for content in contents for place, row in content.objects()]
    model = side.choose(contents[0].path, list(dict.fromkeys(str(row.get("model")) for _, _, row in rows)))
    for _, place, row in rows:
        if row.get("model") != model:
            continue
        score = None if row["score"] == -1 else number(row["score"])
        outputs.append(
            Output(
                id=_turn(row),
                row=place,
                output=_answer(row.get("user_prompt"), ""),
                item=item_of(
                    type=f"turn {row.get('turn', 1)}",
                    instruction=_asked(row.get("user_prompt")),
                    group=str(row["question_id"]),
                ),
                scores={"score": score},
            )
        )
    once(contents[0].path, [(o.id, o.row) for o in outputs])
    return Log(outputs, ("score",))


# -------------------------------------------------------------------------------------------------------- LLMBar


def _is_llmbar(content: Content) -> bool:
    return {"input", "output_1", "output_2", "label", "results"} <= content.first.keys()


def _read_llmbar(contents: Sequence[Content], side: Side) -> Log:
    """A judge against gold labels: right where its winner is the labelled answer. Both orders of an item are a cluster."""
    [content] = contents
    outputs = []
    for place, row in content.objects():
        final = row["results"][-1]  # after a synthesis of both orders
        for order, verdict in final.items():
            winner = verdict.get("winner")
            outputs.append(
                Output(
                    id=f"{place} ({order})",
                    row=place,
                    output=str(winner),
                    item=item_of(type=order, instruction=str(row["input"]), group=str(place), answer=str(row["label"])),
                    asked={"outputs": digest([row["output_1"], row["output_2"]])},
                    scores={
                        "right": None if winner not in ("1", "2", 1, 2) else float(str(winner) == str(row["label"]))
                    },
                    identity={
                        "outputs": digest([row["input"], row["output_1"], row["output_2"]]),
                        "label": digest(row["label"]),
                    },
                )
            )
    return Log(outputs, ("right",))


ALPACA = Format("alpaca-eval", "alpaca_eval's annotations", _is_alpaca, _read_alpaca)
PAIRS = Format("mt-bench-pair", "MT-Bench's judgements of pairs (FastChat)", _is_pair, _read_pairs)
GRADES = Format("mt-bench-single", "MT-Bench's grades (FastChat)", _is_grades, _read_grades, several=True)
LLMBAR = Format("llmbar", "LLMBar's judgements against gold labels", _is_llmbar, _read_llmbar)
