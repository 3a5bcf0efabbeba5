"""HELM: a run's folder, or its `per_instance_stats.json` with `scenario_state.json` beside it, which holds the texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, digest, names, number
from sft_pipeline.evaluation.inputs.outputs import Output, item_of
from sft_pipeline.evaluation.inputs.rows import Row

_STATS, _STATES, _SPEC = "per_instance_stats.json", "scenario_state.json", "run_spec.json"

_NO_SCORES = (
    "num_",
    "finish_reason_",
    "training_",
    "inference_",
    "batch_size",
    "prompt_truncated",
    "max_prob",
    "predicted_index",
    "logprob",
)
"""Beginnings of the names of statistics that say how an answer was made, and not how good it is."""


def recognises(content: Content) -> bool:
    """Whether the first object is the statistics of an instance."""
    return not content.is_table and "instance_id" in content.first and isinstance(content.first.get("stats"), list)


def read(contents: Sequence[Content], side: Side) -> Log:
    """The instances as they are, without HELM's perturbations of them; those of several trials are a cluster.

    Raises:
        DataError: an instance has no statistics, or the texts beside it cannot be read.
    """
    [content] = contents
    states, group = _states(content.path.with_name(_STATES)), _group(content.path.with_name(_SPEC))
    found: dict[str, Output] = {}
    perturbed = 0
    rows = list(content.objects())
    trials = {row.get("train_trial_index", 0) for _, row in rows}
    splits = {s["name"].get("split") for _, row in rows for s in row.get("stats", ())}
    for place, row in rows:
        if row.get("perturbation"):
            perturbed += 1
            continue
        id, trial = str(row.get("instance_id")), row.get("train_trial_index", 0)
        stats = [
            s
            for s in row.get("stats", ())
            if not s["name"]["name"].startswith(_NO_SCORES) and not s["name"].get("perturbation")
        ]
        split = next((str(s["name"]["split"]) for s in row.get("stats", ()) if "split" in s["name"]), "")
        of_instance = states.get((id, trial), [])
        state = of_instance[0] if of_instance else {}
        chosen = next((s.get("mean") for s in row.get("stats", ()) if s["name"]["name"] == "predicted_index"), None)
        output = Output(
            id=id if trial == 0 else f"{id} (trial {trial})",
            row=place,
            **_texts(of_instance, chosen),
            item=item_of(
                type=f"{group} {split}".strip() if len(splits) > 1 else group,
                instruction=(state.get("instance") or {}).get("input", {}).get("text"),
                group=id if len(trials) > 1 else None,
                answer=_correct(state),
            ),
            settings=Row(content.path, place, _request(state)).settings(),
            scores={s["name"]["name"]: number(s.get("mean")) for s in stats},
        )
        if output.id in found:
            raise DataError(f"{content.path}, row {place}: instance {output.id} stands more than once")
        found[output.id] = output
    notes = [f"{perturbed} perturbed instances are left out"] if perturbed else []
    if not states:
        notes.append(f"{_STATES} is not beside it, so that the answers are not known")
    outputs = list(found.values())
    return Log(outputs, names(o.scores for o in outputs), tuple(notes))


FORMAT = Format("helm", "HELM's per-instance statistics, or the folder of a run", recognises, read, (_STATS,))


def _states(path: Path) -> dict[tuple[str, Any], list[dict[str, Any]]]:
    """What was asked and answered, by instance and trial: one request, or one for each choice that is scored by itself."""
    if not path.is_file():
        return {}
    states = Content(path).first.get("request_states") or []
    plain = [
        s
        for s in states
        if not s["instance"].get("perturbation") and s.get("request_mode", "original") in (None, "original")
    ]
    found: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for s in plain:
        found.setdefault((str(s["instance"].get("id")), s.get("train_trial_index", 0)), []).append(s)
    return found


def _group(path: Path) -> str:
    return (
        str(Content(path).first.get("name", "all")).partition(",model=")[0].partition(":model=")[0]
        if path.is_file()
        else "all"
    )


def _texts(states: Sequence[Mapping[str, Any]], chosen: float | None) -> dict[str, Any]:
    """Answer and what must be the same for both models, as fields of `Output`.

    Args:
        states: the requests of an instance.
        chosen: of choices that were scored by themselves, the likeliest one.
    """
    if not states:
        return {"output": None}
    result, instance = states[0].get("result") or {}, states[0]["instance"]
    completions, references = result.get("completions") or [{}], instance.get("references", ())
    text, tokens = completions[0].get("text"), completions[0].get("tokens")
    if states[0].get("reference_index") is not None:
        text, tokens = (None if chosen is None else references[int(chosen)]["output"].get("text")), None
    mapping = states[0].get("output_mapping") or {}
    expected = [r.get("output") for r in references if "correct" in r.get("tags", ())]
    failed = [r for s in states if not (r := s.get("result") or {}).get("success", True)]
    return {
        "output": None if text is None else printable(text),
        "tokens": len(tokens) if isinstance(tokens, list) else None,
        "failure": str(failed[0].get("error") or "the request failed") if failed else "",
        "identity": {
            "input": digest([instance.get("input"), mapping]),
            "target": digest(expected),
            "prompt": digest([(s.get("request") or {}).get("prompt") for s in states]),
        },
    }


def _correct(state: Mapping[str, Any]) -> str | None:
    """The expected answer where there is one: its letter in a multiple choice, which is what the model has to say."""
    references = (state.get("instance") or {}).get("references", ())
    texts = [r["output"].get("text") for r in references if "correct" in r.get("tags", ())]
    if len(texts) != 1:
        return None
    return next((letter for letter, text in (state.get("output_mapping") or {}).items() if text == texts[0]), texts[0])


def _request(state: Mapping[str, Any]) -> dict[str, Any]:
    request = state.get("request") or {}
    return {
        name: request[name]
        for name in ("model", "temperature", "top_p", "max_tokens", "stop_sequences")
        if name in request
    }
