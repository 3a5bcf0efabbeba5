"""LightEval: the Parquet files of --save-details, in the layout since 0.10 and in the one before."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, by_task, digest, names, number
from sft_pipeline.evaluation.inputs.outputs import Output, item_of
from sft_pipeline.evaluation.inputs.rows import Row

_DATE = re.compile(r"_\d{4}-\d\d-\d\dT")


def recognises(content: Content) -> bool:
    """Whether the columns are those of a details file."""
    columns = content.first.keys() if content.is_table else set()
    return {"doc", "metric", "model_response"} <= columns or {"metrics", "predictions", "full_prompt"} <= columns


def read(contents: Sequence[Content], side: Side) -> Log:
    """The answers of all tasks.

    Raises:
        DataError: an item stands twice.
    """
    found: dict[tuple[str, str], Output] = {}
    for content in contents:
        task = _DATE.split(content.path.name.removeprefix("details_"))[0]
        for place, row in content.objects():
            fields = {name: _parsed(value) for name, value in row.items()}
            output = _current(content.path, place, task, fields) if "doc" in fields else _former(place, task, fields)
            if (output.item["type"], output.id) in found:
                raise DataError(
                    f"{content.path}, row {place}: item {output.id} of {output.item['type']} stands more than once"
                )
            found[output.item["type"], output.id] = output
    outputs = by_task(found)
    return Log(outputs, names(o.scores for o in outputs))


FORMAT = Format(
    "lighteval", "LightEval's details (--save-details)", recognises, read, ("details_*.parquet",), several=True
)


def _parsed(value: Any) -> Any:
    """Some versions write a column as JSON text."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value
    except ValueError:
        return value


def _current(path: Path, place: int, task: str, row: Mapping[str, Any]) -> Output:
    doc, response = row["doc"], row["model_response"]
    choices, gold = doc.get("choices") or [], doc.get("gold_index")
    golds = [
        choices[g] for g in (gold if isinstance(gold, list) else [gold]) if isinstance(g, int) and 0 <= g < len(choices)
    ]
    texts, likelihoods = response.get("text") or [], response.get("logprobs") or []
    answer = (
        texts[0]
        if texts
        else choices[likelihoods.index(max(likelihoods))]
        if len(likelihoods) == len(choices) > 0
        else None
    )
    lengths = [len(t) for t in response.get("output_tokens") or [] if isinstance(t, list)]
    return Output(
        id=str(doc["id"]),
        row=place,
        output=None if answer is None else printable(answer),
        tokens=lengths[0] if texts and lengths else None,
        item=item_of(
            type=str(doc.get("task_name") or task),
            instruction=doc["query"],
            answer=golds[0].strip() if len(golds) == 1 else None,
        ),
        scores=_scores(row["metric"]),
        settings=Row(
            path, place, {"max_new_tokens": doc.get("generation_size"), "stop": doc.get("stop_sequences")}
        ).settings(),
        identity={
            "prompt": digest([doc["query"], doc.get("instruction"), choices, doc.get("fewshot_samples")]),
            "input": digest(response.get("input")),
            "target": digest(golds),
        },
    )


def _former(place: int, task: str, row: Mapping[str, Any]) -> Output:
    gold, predictions = row.get("gold"), row["predictions"]
    answer = predictions[0] if isinstance(predictions, list) and predictions else predictions
    golds = gold if isinstance(gold, list) else [gold]
    hashes = row.get("hashes") or {}
    return Output(
        id=str(place),
        row=place,
        output=printable(answer) if isinstance(answer, str) else None,
        item=item_of(
            type=task,
            instruction=row.get("example") or row["full_prompt"],
            answer=golds[0] if len(golds) == 1 else None,
        ),
        scores=_scores(row["metrics"]),
        key=hashes.get("hash_example") or hashes.get("example") or digest(row["full_prompt"]),
        identity={"prompt": digest(row["full_prompt"]), "target": digest(golds)},
    )


def _scores(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    scores = {}
    for name, value in metrics.items():
        try:
            scores[name] = number(value)
        except ValueError:
            continue
    return scores
