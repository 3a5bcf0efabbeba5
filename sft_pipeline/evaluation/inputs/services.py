"""What services and prompt testers write: OpenAI-style batch outputs, promptfoo's results."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.dataset.source.items import printable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.evaluation.inputs.log import Format, Log, Side, count, digest, names, number
from sft_pipeline.evaluation.inputs.outputs import Output, ending, item_of, once
from sft_pipeline.evaluation.inputs.rows import Row
from sft_pipeline.provenance.hashing import canonical_json


def _is_batch(content: Content) -> bool:
    return not content.is_table and "custom_id" in content.first and not {"response", "error"}.isdisjoint(content.first)


def _read_batch(contents: Sequence[Content], side: Side) -> Log:
    """The answers of chat, completion and responses endpoints. A request that failed has none, and is left out for both models."""
    outputs = []
    for content in contents:
        for place, row in content.objects():
            if "custom_id" not in row:
                raise DataError(f"{content.path}, row {place}, field custom_id: is missing")
            body = (row.get("response") or {}).get("body") or {}
            error = row.get("error") or body.get("error")
            failed = _message(error) if error or (row.get("response") or {}).get("status_code", 200) != 200 else ""
            text, finish, tokens = (None, None, None) if failed else _completion(content, place, body)
            outputs.append(
                Output(
                    id=str(row["custom_id"]),
                    row=place,
                    output=None if text is None else printable(text),
                    tokens=count(tokens),
                    **ending(finish),
                    settings=Row(content.path, place, {"model": body.get("model")}).settings(),
                    failure=failed or ("" if text is not None else "the response holds no text"),
                )
            )
    once(contents[0].path, [(o.id, o.row) for o in outputs])
    lost = sum(bool(o.failure) for o in outputs)
    return Log(outputs, notes=(f"{lost} requests failed",) if lost else ())


def _message(error: Any) -> str:
    return (
        str(error.get("message") or error.get("code") or "the request failed")
        if isinstance(error, dict)
        else "the request failed"
    )


def _completion(content: Content, place: int, body: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Text, reason of the end, and tokens of a response."""
    usage = body.get("usage") or {}
    tokens = usage.get("completion_tokens", usage.get("output_tokens"))
    if isinstance(body.get("choices"), list):
        if len(body["choices"]) > 1:
            raise DataError(
                f"{content.path}, row {place}: holds {len(body['choices'])} completions; ask for one (n: 1)"
            )
        choice = body["choices"][0] if body["choices"] else {}
        text = None if not choice else _said(choice.get("message") or {"content": choice.get("text")})
        return text, choice.get("finish_reason"), tokens
    if isinstance(body.get("output"), list):  # /v1/responses
        messages = [
            part for item in body["output"] if item.get("type") == "message" for part in item.get("content") or ()
        ]
        cut = (body.get("incomplete_details") or {}).get("reason")
        return _parts(messages), cut or ("stop" if body.get("status") == "completed" else None), tokens
    raise DataError(
        f"{content.path}, row {place}: the response is no answer of a model (fields: {', '.join(list(body)[:8])})"
    )


def _said(message: Mapping[str, Any]) -> str:
    """The answer: its text, else the refusal or the calls of tools that stand for it; empty where nothing was said."""
    calls = message.get("tool_calls") or message.get("function_call")
    return _parts(message.get("content")) or str(message.get("refusal") or (canonical_json(calls) if calls else ""))


def _parts(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or part.get("refusal") or "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


BATCH = Format(
    "openai-batch", "output files of OpenAI-style batches", _is_batch, _read_batch, several=True, own_ids=True
)


def _results(content: Content) -> list[dict[str, Any]]:
    """The rows of a document, or those of a JSON Lines file."""
    if "results" not in content.first:
        return [row for _, row in content.objects()]
    found = content.first["results"]
    found = found.get("results") if isinstance(found, dict) else found
    return found if isinstance(found, list) and all(isinstance(r, dict) for r in found) else []


def _is_promptfoo(content: Content) -> bool:
    if content.is_table:
        return False
    rows = _results(content) if "results" in content.first else [content.first]
    return bool(rows) and {"vars", "success", "provider"} <= rows[0].keys()


def _read_promptfoo(contents: Sequence[Content], side: Side) -> Log:
    """One provider's answers. A test without assertions is not judged; one that ended with an error could not be."""
    [content] = contents
    rows = _results(content)
    model = side.choose(content.path, sorted({_provider(row) for row in rows}))
    rows = [row for row in rows if _provider(row) == model]
    tests = Counter(digest([row.get("vars"), _prompt(row)]) for row in rows)
    prompts = {_template(row) for row in rows}
    outputs, errors, seen = [], 0, Counter[str]()
    for place, row in enumerate(rows, 1):
        test, grading = digest([row.get("vars"), _prompt(row)]), row.get("gradingResult")
        seen[test] += 1
        failed = row.get("failureReason") == 2 or (bool(row.get("error")) and not grading)
        errors += failed
        asserted = (row.get("testCase") or {}).get("assert", True)
        response = row.get("response") or {}
        output = response.get("output") if isinstance(response, dict) else response
        text = output if isinstance(output, str | None) else canonical_json(output)
        scored = {"success": float(bool(row["success"])), "score": row.get("score"), **(row.get("namedScores") or {})}
        usage, finish = response.get("tokenUsage") or {}, response.get("finishReason")
        outputs.append(
            Output(
                id=f"{row.get('testIdx', place)}" + (f" (prompt {_template(row)[:40]})" if len(prompts) > 1 else ""),
                row=place,
                output=None if text is None or failed else printable(text),
                tokens=count(usage.get("completion")),
                **ending(finish),
                item=item_of(type="all", instruction=_prompt(row), group=test if tests[test] > 1 else None),
                asked={"vars": canonical_json(row.get("vars"))},
                settings=Row(content.path, place, {"model": model}).settings(),
                scores={}
                if not asserted and not failed
                else {n: None if failed else number(v) for n, v in scored.items()},
                key=f"{test} {seen[test]}",
                identity={"vars": digest(row.get("vars")), "prompt": digest(_prompt(row))},
                failure=str(row.get("error") or "error") if failed else "",
            )
        )
    once(content.path, [(o.id, o.row) for o in outputs])
    notes = (f"{errors} tests ended with an error",) if errors else ()
    return Log(outputs, names(o.scores for o in outputs), notes)


def _provider(row: Mapping[str, Any]) -> str:
    provider = row["provider"]
    return str(provider.get("label") or provider.get("id")) if isinstance(provider, dict) else str(provider)


def _prompt(row: Mapping[str, Any]) -> str:
    prompt = row.get("prompt")
    return str(prompt.get("raw")) if isinstance(prompt, dict) else str(prompt)


def _template(row: Mapping[str, Any]) -> str:
    prompt = row.get("prompt")
    return str(prompt.get("label") or "") if isinstance(prompt, dict) and "testIdx" in row else ""


PROMPTFOO = Format("promptfoo", "promptfoo's results (--output results.json or .jsonl)", _is_promptfoo, _read_promptfoo)
