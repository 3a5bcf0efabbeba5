"""The one clean tokenizer: the only module that loads a base model's tokenizer.

A base model becomes an instruct model as soon as somebody's chat template or special tokens slip into its input. Here
the template is removed, text is encoded with `add_special_tokens=False`, and a chat-template token at any input
position is an error. Under `prompt.format: chat` that template is kept apart (chat_template.py), and its tokens may stand in
what it rendered, and nowhere else.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Prompt
from sft_pipeline.model.chat_template import ChatTemplate, Rendered, open_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MARKER = re.compile(r"<\|[^|<>\s]+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>")
"""Spellings of chat-template tokens: ChatML and Llama 3, Llama 2, Gemma."""

_PLAIN_END = re.compile(
    r"</s>|[<\[][|｜]?(?:\w+:)?(?:eos|eod|end.?of.?(?:text|document|sentence|sequence)|\w*pad\w*)[|｜]?[>\]]",
    re.IGNORECASE,
)
"""Spellings of tokens that end or pad a text of the pretraining: a base has them, whether it ships a template or not."""


_MARKUP = re.compile(r"[<\[{|｜].+[>\]}|｜]", re.DOTALL)
"""An added token that looks like a marker. Line breaks, runs of spaces and words are text, whatever a template writes."""


@dataclass(frozen=True)
class CleanTokenizer:
    """A tokenizer without chat template that encodes text as it is.

    Attributes:
        inner: the Hugging Face tokenizer, its chat template removed.
        template_tokens: id → text of the tokens that only a chat template uses.
        had_template: whether the files on disk carried a chat template.
        start: ids that begin every sequence: that of the beginning-of-sequence token under `model.bos: always`.
        allowed: ids of `model.allowed_template_tokens`: they are text, in a prompt as in an answer.
        beyond: id → text of the tokens for which the model's embedding has no row.
        chat: the template of `prompt.format: chat`.
    """

    inner: "PreTrainedTokenizerBase"
    template_tokens: dict[int, str]
    had_template: bool
    start: tuple[int, ...] = ()
    allowed: frozenset[int] = frozenset()
    beyond: Mapping[int, str] = field(default_factory=dict)
    chat: ChatTemplate | None = None

    def encode(self, text: str) -> list[int]:
        """Token ids of one prompt; see `encode_all`."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt after the declared start; a batch is many times faster than one by one.

        Raises:
            ModelError: a text holds a chat-template token, the end of sequence, or a beginning of its own.
        """
        encoded = self.continuations(texts)
        for text, ids in zip(texts, encoded, strict=True):
            if self.inner.eos_token_id in ids and not isinstance(text, Rendered):
                raise ModelError(
                    f"end-of-sequence token {self.inner.eos_token} in the input {text[:120]!r}: the model reads it as the "
                    "end of a text. Remove it from the data (data.quality.delimiters finds such rows) or from the prompt."
                )
            if self.start and tuple(ids[: len(self.start)]) == self.start:
                raise ModelError(
                    f"{self.inner.bos_token} begins the input {text[:120]!r}, and model.bos: always adds it once more. "
                    "Remove it from the data or from the prompt's template."
                )
        return [[*self.start, *ids] for ids in encoded]

    def sequences(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text after the declared start, be it a prompt or a prompt with its response.

        Raises:
            ModelError: a text holds a chat-template token.
        """
        return [[*self.start, *ids] for ids in self.continuations(texts)]

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, nothing added.

        Raises:
            ModelError: a text holds a chat-template token, or one that the model has no embedding for.
        """
        if not texts:
            return []
        encoded = self.inner(list(texts), add_special_tokens=False)["input_ids"]
        for text, ids in zip(texts, encoded, strict=True):
            if not isinstance(text, Rendered) and (found := self.template_tokens.keys() & set(ids)):
                names = ", ".join(sorted(self.template_tokens[i] for i in found))
                raise ModelError(
                    f"chat-template token {names} in the input {text[:120]!r}: a base model must not see it. Remove it from "
                    "the data (data.quality.delimiters finds such rows) or from the prompt; where it is a marker of your own "
                    "format (such as <think>), declare model.allowed_template_tokens."
                )
            if self.beyond and (found := self.beyond.keys() & set(ids)):
                names = ", ".join(sorted(self.beyond[i] for i in found))
                raise ModelError(
                    f"token {names} in the input {text[:120]!r}: the model's embedding has no row for it (vocab_size in "
                    "config.json). Take tokenizer and weights from the same revision, or remove the token from the text."
                )
        return encoded

    def count(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text; template tokens are counted, not refused: this only measures."""
        return [len(ids) for ids in self.inner(list(texts), add_special_tokens=False)["input_ids"]] if texts else []

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids` without tidying of spaces, and without special tokens unless `special` or allowed."""
        if self.allowed and not special:
            ids, special = [i for i in ids if i in self.allowed or i not in self.special], True
        text = self.inner.decode(list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        return cast(str, text)

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """First character of each token of `continuations`, and the one after its last."""
        found = self.inner(list(texts), add_special_tokens=False, return_offsets_mapping=True)
        return cast("list[list[tuple[int, int]]]", found["offset_mapping"])

    def answer(self, ids: Sequence[int]) -> str:
        """The text of an answer, without what a chat template writes before every answer."""
        opening = self._opening
        return self.decode(ids[len(opening) :] if opening and list(ids[: len(opening)]) == opening else ids)

    def save(self, folder: Path) -> None:
        """Save the tokenizer, with the chat template that it is used with, where it is used with one."""
        self.inner.save_pretrained(folder)
        if self.chat:
            (folder / "chat_template.jinja").write_text(self.chat.text, "utf-8")

    @cached_property
    def _opening(self) -> list[int]:
        return self.inner(self.chat.opening, add_special_tokens=False)["input_ids"] if self.chat else []

    @cached_property
    def added(self) -> frozenset[int]:
        """Ids of the tokens that divide a text before it is encoded."""
        return frozenset(self.inner.added_tokens_decoder)

    @cached_property
    def special(self) -> set[int]:
        """Ids of the tokens that the tokenizer calls special."""
        added = self.inner.added_tokens_decoder.items()
        return {i for i, token in added if token.special} | set(self.inner.all_special_ids)

    @cached_property
    def end(self) -> int:
        """Id of the token that ends an answer: of the end of sequence, or the chat template's."""
        return self.chat.end if self.chat else self.inner.eos_token_id

    @cached_property
    def ends(self) -> frozenset[int]:
        """Ids of all tokens that end an answer: a chat template may end a tool call, or an earlier turn, by another."""
        return frozenset([*(self.chat.ends if self.chat else ()), self.inner.eos_token_id])

    @cached_property
    def default_start(self) -> str:
        """What the tokenizer's own default puts before a text: tokens as text, empty where nothing."""
        plain, special = (self.inner("a", add_special_tokens=add)["input_ids"] for add in (False, True))
        return "".join(self.inner.convert_ids_to_tokens(special[: -len(plain)] if plain else special))


def load_tokenizer(folder: Path, spec: BaseModelSpec | None = None, prompt: Prompt | None = None) -> CleanTokenizer:
    """Load the tokenizer in `folder` as its files say, its chat template apart from it.

    AutoTokenizer would look at the model's architecture and put that family's pre-tokenizer in the place of the one in
    tokenizer.json: the model would silently see other tokens than it was trained on.

    Args:
        folder: the tokenizer's files.
        spec: declares the beginning of every sequence and the allowed template tokens; None is the default of both.
        prompt: whether its format is that of a chat template, and of which; None is plain.

    Raises:
        ModelError: there is no tokenizer, it has no end-of-sequence token, or not the tokens that `spec` declares; or
            there is no chat template that can be used.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; it is to hold a tokenizer (tokenizer.json).")
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        tokenizer = kind.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder}: the tokenizer cannot be loaded: {error}. It needs tokenizer.json.") from error
    template = tokenizer.chat_template
    templates = list(template.values()) if isinstance(template, dict) else [template or ""]
    tokenizer.chat_template = None
    if tokenizer.eos_token_id is None:
        raise ModelError(f"{folder}: the tokenizer has no eos_token; name it in tokenizer_config.json.")
    beyond = _beyond_embedding(folder, tokenizer)
    if tokenizer.eos_token_id in beyond:
        raise ModelError(
            f"{folder}: the end-of-sequence token {tokenizer.eos_token} has no row in the model's embedding (vocab_size in "
            "config.json). Take tokenizer and weights from the same revision."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in beyond:
        tokenizer.pad_token = tokenizer.eos_token
    start: tuple[int, ...] = ()
    if spec and spec.bos == "always":
        if tokenizer.bos_token_id is None:
            raise ModelError(f"{folder}: model.bos is always, but the tokenizer has no bos_token. Declare bos: none.")
        start = (tokenizer.bos_token_id,)
    allowed = spec.allowed_template_tokens if spec else ()
    if unknown := sorted(set(allowed) - tokenizer.get_vocab().keys()):
        raise ModelError(f"model.allowed_template_tokens: the tokenizer has no token {', '.join(unknown)}.")
    control = _template_tokens(tokenizer, templates, allowed)
    return CleanTokenizer(
        tokenizer,
        control,
        any(templates),
        start,
        frozenset(tokenizer.convert_tokens_to_ids(list(allowed))),
        beyond,
        open_template(tokenizer, template, prompt, control) if prompt and prompt.format == "chat" else None,
    )


def _beyond_embedding(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> dict[int, str]:
    """Id → text of the tokens that the model in `folder` has no embedding for; none where there is no model."""
    file = folder / "config.json"
    rows = json.loads(file.read_text("utf-8")).get("vocab_size") if file.is_file() else None
    if not rows or max(len(tokenizer) - 1, *tokenizer.added_tokens_decoder, 0) < rows:
        return {}
    return {i: token for token, i in tokenizer.get_vocab().items() if i >= rows}


def shipped_ids(folder: Path, texts: Sequence[str]) -> list[list[int]] | None:
    """Token ids of each text by tokenizer.json alone, without transformers; None where there is no such file."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(file))
    # Settings of whoever saved the file, which no loader applies unasked.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [e.ids for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def _template_tokens(
    tokenizer: "PreTrainedTokenizerBase", templates: Sequence[str], allowed: Collection[str]
) -> dict[int, str]:
    """Single tokens that only a chat template uses: known spellings, and added markers that the template names."""
    plain = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.unk_token, *allowed}
    found: dict[int, str] = {}
    for token_id, token in tokenizer.added_tokens_decoder.items():
        text = token.content
        named = (token.special or _MARKUP.fullmatch(text)) and text.strip() and any(text in t for t in templates)
        if text not in plain and (_MARKER.fullmatch(text) or named):
            found[token_id] = text
    # An instruct tokenizer often names a template token as its end of sequence: then it is one all the same.
    for text in (tokenizer.eos_token, tokenizer.pad_token):
        if _PLAIN_END.fullmatch(text):
            continue
        if _MARKER.fullmatch(text) or any(text in t for t in templates):
            found[tokenizer.convert_tokens_to_ids(text)] = text
    return found
