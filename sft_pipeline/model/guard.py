"""The base-model guard: is the base model really a base model, as loaded and as prompted here?

Structural checks look at the tokenizer, sentinels at behaviour. Every sentinel runs on its raw text and, unless it says
otherwise, in the training prompt's format: a base that fails raw and succeeds in the format leaves little to learn, and
a gate over it measures the format.

For `model.role: instruct` it is the other way round: the model must follow instructions, asked in the chat template that it
ships, and that template must end an answer by the token that the model was trained to end with.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sft_pipeline.artifacts import GuardReport, ModelSnapshot, SentinelResult
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Prompt, Sentinel
from sft_pipeline.model import loader
from sft_pipeline.model.chat_template import ChatTemplate, Rendered, Unfit
from sft_pipeline.model.conversation import Conversation
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer, shipped_ids
from sft_pipeline.provenance.hashing import hash_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = "In 1987, Zoë's 23 friends paid $4.50 (or so)... didn't they?\n\n  THEN: 東京 → naïve_case 007!"
"""Text in which tokenizers differ: digits, contractions, accents, spaces, line breaks, other scripts."""


def inspect(base: ModelSnapshot, spec: BaseModelSpec, prompt: Prompt, out: Path) -> GuardReport:
    """Run all checks on the snapshot and write `guard.json` and `guard.txt` to `out`."""
    from sft_pipeline.model.generate import complete

    tokenizer, instruct = load_tokenizer(base.root, spec, prompt), spec.role == "instruct"
    modes: dict[bool, tuple[Literal["raw", "format"], ...]] = {True: ("raw", "format"), False: ("raw",)}
    cases = [
        (sentinel, mode, sentinel.prompt if mode == "raw" else _in_format(tokenizer, prompt, sentinel))
        for sentinel in spec.sentinels
        for mode in (("format",) if instruct else modes[sentinel.in_format])
    ]
    # What a chat template writes holds its tokens, and is encoded as it is.
    texts = [PROBE, *(text for _, _, text in cases if not isinstance(text, Rendered))]
    shipped = shipped_ids(base.root, texts)
    checks = structural_checks(tokenizer, texts, spec.allow_bos, shipped)
    if tokenizer.chat and instruct:
        del checks["no_template_end"], checks["no_special_token_delta"]
        checks |= instruct_checks(tokenizer.chat, base.root, spec)
    results = []
    # Behaviour is only looked at when the input is clean: an answer to a contaminated prompt tells nothing.
    if cases and not any(checks.values()):
        model = loader.load_model(base.root, spec)
        answers = complete(model, tokenizer, [text for _, _, text in cases], max_new_tokens=spec.sentinel_new_tokens)
        results = [
            judge(sentinel, mode, text, answer.text, spec.format_may_follow and not instruct, always=instruct)
            for (sentinel, mode, text), answer in zip(cases, answers, strict=True)
        ]
    chat = {"chat_template": hash_bytes(tokenizer.chat.text.encode()), "role": spec.role} if tokenizer.chat else {}
    report: dict[str, Any] = {
        "checks": checks,
        "sentinels": [r.model_dump() for r in results],
        "loader": loader.provenance(tokenizer, spec, base.source, base.revision)
        | _tokenizer(tokenizer, shipped)
        | chat,
    }
    (out / "guard.json").write_text(json.dumps(report, indent=2, ensure_ascii=False))
    (out / "guard.txt").write_text(_text(report, results))
    return GuardReport.finalize(out, checks=checks, sentinels=tuple(results), loader=report["loader"])


def _in_format(tokenizer: CleanTokenizer, prompt: Prompt, sentinel: Sentinel) -> str:
    if tokenizer.chat is None:
        return prompt.render(sentinel.prompt)
    asked = [{"role": "user", "content": sentinel.prompt}, {"role": "assistant", "content": ""}]
    try:
        return tokenizer.chat.prompt(Conversation(asked))
    except Unfit as reason:
        raise ModelError(f"model.sentinels: {sentinel.name}: {reason}") from reason


def instruct_checks(template: ChatTemplate, folder: Path, spec: BaseModelSpec) -> dict[str, str]:
    """What an instruct model is asked instead of a base; an empty string means that the check passed."""
    config, own, generation = (
        json.loads((folder / name).read_text("utf-8")) if (folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "config.json", "generation_config.json")
    )
    file = folder / "chat_template.jinja"
    two = "chat_template" in config and file.is_file() and config["chat_template"] != file.read_text("utf-8")
    # As a token's id, or its text.
    eos = config.get("eos_token")
    declared: set[Any] = {eos.get("content") if isinstance(eos, dict) else eos}
    for part in (own, generation):
        ids = part.get("eos_token_id")
        declared |= set(ids if isinstance(ids, list) else [ids])
    end = template.ends[template.end]
    return {
        "one_shipped_template": "chat_template.jinja and tokenizer_config.json carry different templates: leave one"
        if two
        else "",
        "template_end": ""
        if not declared.isdisjoint({end, template.end})
        else f"the template ends an answer with {end}, and the model's files name {sorted(map(str, declared - {None}))} as "
        "its end: it was not trained with this template. Take template and model from the same revision.",
        "asked_to_follow": ""
        if any(sentinel.expect == "works" for sentinel in spec.sentinels)
        else "no sentinel shows that the model follows instructions: declare one with expect: works (model.sentinels)",
    }


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
    # By it a plain prompt's response ends: as the last input of a row the base would see a template's token after all.
    end = tokenizer.template_tokens.get(inner.eos_token_id)
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
    sentinel: Sentinel,
    mode: Literal["raw", "format"],
    prompt: str,
    answer: str,
    format_may_follow: bool,
    *,
    always: bool = False,
) -> SentinelResult:
    """Whether the answer matches the sentinel's pattern, and whether that is as it should be.

    A success that was not expected stops the run raw; in the training format it stops it unless the specification
    accepts a base that follows the format. What an instruct model does in its format stops it `always`.
    """
    succeeded = re.search(sentinel.matches, answer, re.IGNORECASE) is not None
    passed = succeeded == (sentinel.expect == "works")
    blocking = always or mode == "raw" or (sentinel.expect == "fails" and not format_may_follow)
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
    if "chat_template" in report["loader"]:
        lines.append("  note conversations are written by the chat template; its tokens are refused in every message")
    elif report["loader"]["template_found"] == "true":
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
