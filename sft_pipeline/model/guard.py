"""The base-model guard: is the base model really a base model, as loaded and as prompted here?

Structural checks look at the tokenizer, sentinels at behaviour. Every sentinel runs on its raw text and, unless it says
otherwise, in the training prompt's format: a base that fails raw and succeeds in the format leaves little to learn, and
a gate over it measures the format.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sft_pipeline.artifacts import GuardReport, ModelSnapshot, SentinelResult
from sft_pipeline.experiment import BaseModelSpec, Prompt, Sentinel
from sft_pipeline.model import loader
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer, shipped_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "In 1987, Zoë's 23 friends paid $4.50 (or so)... didn't they?\n\n  THEN: 東京 → naïve_case 007!"
"""Text in which tokenizers differ: digits, contractions, accents, spaces, line breaks, other scripts."""


def inspect(base: ModelSnapshot, spec: BaseModelSpec, prompt: Prompt, out: Path) -> GuardReport:
    """Run all checks on the snapshot and write `guard.json` and `guard.txt` to `out`."""
    from sft_pipeline.model.generate import complete

    tokenizer = load_tokenizer(base.root, spec)
    modes: dict[bool, tuple[Literal["raw", "format"], ...]] = {True: ("raw", "format"), False: ("raw",)}
    cases = [
        (sentinel, mode, sentinel.prompt if mode == "raw" else prompt.render(sentinel.prompt))
        for sentinel in spec.sentinels
        for mode in modes[sentinel.in_format]
    ]
    texts = [PROBE, *(text for _, _, text in cases)]
    shipped = shipped_ids(base.root, texts)
    checks = structural_checks(tokenizer, texts, spec.allow_bos, shipped)
    results = []
    # Behaviour is only looked at when the input is clean: an answer to a contaminated prompt tells nothing.
    if cases and not any(checks.values()):
        model = loader.load_model(base.root, spec)
        answers = complete(model, tokenizer, [text for _, _, text in cases], max_new_tokens=spec.sentinel_new_tokens)
        results = [
            judge(sentinel, mode, text, answer.text, spec.format_may_follow)
            for (sentinel, mode, text), answer in zip(cases, answers, strict=True)
        ]
    report: dict[str, Any] = {
        "checks": checks,
        "sentinels": [r.model_dump() for r in results],
        "loader": loader.provenance(tokenizer, spec, base.source, base.revision) | _tokenizer(tokenizer, shipped),
    }
    (out / "guard.json").write_text(json.dumps(report, indent=2, ensure_ascii=False))
    (out / "guard.txt").write_text(_text(report, results))
    return GuardReport.finalize(out, checks=checks, sentinels=tuple(results), loader=report["loader"])


def structural_checks(
    tokenizer: CleanTokenizer, texts: list[str], allow_bos: bool, shipped: list[list[int]] | None = None
) -> dict[str, str]:
    """Template, token-id, end, delta and tokenizer check; an empty string means that the check passed.

    The delta check compares the tokens of each text with and without special tokens: a difference means that some
    other code path would feed the model something else than this one. The tokenizer check compares them with `shipped`,
    what tokenizer.json alone makes of the texts: libraries replace parts of it by what they know of the architecture.
    """
    inner = tokenizer.inner
    plain = inner(texts, add_special_tokens=False)["input_ids"]
    special = inner(texts, add_special_tokens=True)["input_ids"]
    template_ids = sorted({i for ids in plain for i in ids} & tokenizer.template_tokens.keys())
    delta = ""
    for text, short, long in zip(texts, plain, special, strict=True):
        if (allow_bos or tokenizer.start) and long[:1] == [inner.bos_token_id]:
            long = long[1:]
        if short != long:
            added = [inner.convert_ids_to_tokens(i) for i in long if i not in short]
            remedy = (
                "Declare model.bos: always to begin every prompt with it, as Gemma's and Llama's bases were trained, or "
                "model.allow_bos: true to go without."
                if long[1:] == short and long[0] == inner.bos_token_id
                else "A text goes to the base as it is: take what adds them out of tokenizer.json (post_processor)."
            )
            delta = f"{text[:60]!r} has {len(short)} tokens without and {len(long)} with special tokens (added: {added}). {remedy}"
            break
    other = next((t for t, a, b in zip(texts, plain, shipped or plain, strict=True) if a != b), None)
    # It is appended to every response: as the last input of a row the base would see a template's token after all.
    end = tokenizer.template_tokens.get(tokenizer.end)
    return {
        "tokenizer_as_shipped": ""
        if other is None
        else f"{other[:60]!r} is encoded otherwise than tokenizer.json says: another pre-tokenizer or other merges",
        "chat_template_disabled": _template_in_force(inner),
        "no_template_token_ids": ""
        if not template_ids
        else "chat-template tokens in the input: " + ", ".join(tokenizer.template_tokens[i] for i in template_ids),
        "no_template_end": ""
        if end is None
        else f"the end-of-sequence token is the chat template's {end}: such a model was trained to chat. Take the base "
        "model, or name its own end in tokenizer_config.json (eos_token).",
        "no_special_token_delta": delta,
    }


def _tokenizer(tokenizer: CleanTokenizer, shipped: list[list[int]] | None) -> dict[str, str]:
    """What was looked at of the tokenizer, and whether it keeps a text: some drop line breaks, case or accents."""
    text = tokenizer.decode(tokenizer.inner(PROBE, add_special_tokens=False)["input_ids"], special=True)
    return {
        "tokenizer_compared": str(shipped is not None).lower(),
        "tokenizer_round_trip": "exact" if text.strip() == PROBE else text,
    }


def _template_in_force(inner: "PreTrainedTokenizerBase") -> str:
    """Why a conversation would still be put into a template; an empty string where that is refused."""
    if inner.chat_template is not None:
        return "the tokenizer still has a chat template"
    try:  # some classes (Mistral's) bring a template of their own, whatever the attribute says
        rendered = inner.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    except ValueError:
        return ""
    return f"the tokenizer's class brings a chat template: the message 'x' becomes {rendered!r}"


def judge(
    sentinel: Sentinel, mode: Literal["raw", "format"], prompt: str, answer: str, format_may_follow: bool
) -> SentinelResult:
    """Whether the answer matches the sentinel's pattern, and whether that is as it should be.

    A success that was not expected stops the run raw; in the training format it stops it unless the specification
    accepts a base that follows the format.
    """
    succeeded = re.search(sentinel.matches, answer, re.IGNORECASE) is not None
    passed = succeeded == (sentinel.expect == "works")
    blocking = mode == "raw" or (sentinel.expect == "fails" and not format_may_follow)
    return SentinelResult(
        name=sentinel.name,
        mode=mode,
        expect=sentinel.expect,
        prompt=prompt,
        answer=answer,
        succeeded=succeeded,
        passed=passed,
        blocking=blocking,
    )


def _text(report: dict[str, Any], results: list[SentinelResult]) -> str:
    lines = ["Base-model guard", ""]
    lines += [f"  {'ok  ' if not problem else 'STOP'} {name} {problem}" for name, problem in report["checks"].items()]
    for r in results:
        mark = "ok  " if r.passed else "STOP" if r.blocking else "note"
        lines.append(f"  {mark} {r.name} [{r.mode}] {'succeeded' if r.succeeded else 'failed'}: {r.answer!r}")
    if report["loader"]["template_found"] == "true":
        lines.append(
            "  note the model's files carry a chat template: it was removed, its tokens are refused in any text"
        )
    if report["loader"]["bos"] == "always":
        lines.append(
            f"  note every prompt begins with the beginning-of-sequence token; the tokenizer's own default puts "
            f"{report['loader']['tokenizer_default_start']} there"
        )
    elif (own := report["loader"]["tokenizer_default_start"]) != "nothing":
        lines.append(f"  note the tokenizer's own default begins a text with {own}: it is left out (model.bos: none)")
    if (text := report["loader"]["tokenizer_round_trip"]) != "exact":
        lines.append(f"  note the tokenizer does not give a text back as it was: {PROBE!r} becomes {text!r}")
    if report["loader"]["tokenizer_compared"] != "true":
        lines.append("  note there is no tokenizer.json: that the tokenizer is the shipped one was not checked")
    if not results:
        why = "a check above failed" if any(report["checks"].values()) else "the specification names none"
        lines.append(f"  note no sentinel was run: {why} (model.sentinels)")
    lines += ["", *(f"  {key}: {value}" for key, value in report["loader"].items()), ""]
    return "\n".join(lines)
