"""Toxic rows: by profanex's word list (the extra `toxicity`), and by a text classifier that the specification names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.errors import DataError, ModelError, SpecificationError
from sft_pipeline.experiment import Toxicity
from sft_pipeline.specification import expand_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Words of the list that instruction data uses in their plain sense: of 19 hits on Alpaca's 52,002 rows, 14 were of these
# (Maine Coon, great tits, a Cortex-A55, bloody wars, anatomy, the news).
_PLAIN: tuple[str, ...]
_PLAIN = ("a55", "anus", "bestial", "bloody", "chink", "clitoris", "cocks", "coon", "coons", "dink", "dinks", "dookie")
_PLAIN += ("ejaculate", "ejaculated", "ejaculates", "ejaculating", "ejaculation", "rape", "date rape", "tits")

# Plurals that the list lacks.
_LACKING = ("niggers", "niggas")

# Names that classifiers give to the class of harmless texts, without case and punctuation.
_NEUTRAL = frozenset(("neutral", "nontoxic", "nottoxic", "normal", "clean", "safe", "benign", "none", "ok", "neither"))
_NEUTRAL |= frozenset(("nothate", "nonhate", "notoffensive", "nonoffensive", "nothatespeech", "nonhatespeech"))

_BATCH = 32
"""Windows of text per forward pass."""

_WINDOW = 512
"""Tokens of a text that the classifier sees at a time, where it does not allow for fewer."""

_UNSEEN = (-1.0, "", "")
"""Probability, label and text of a window before any was judged."""

Find = Callable[[Sequence[str]], list[tuple[str, str] | None]]
"""For each text None, or why it is toxic and the words that say so."""


def toxicity(settings: Toxicity, root: Path) -> Filter:
    """A filter that rejects rows whose instruction or response is toxic; the words are looked for first.

    Args:
        settings: what is wanted.
        root: folder that the classifier's path starts from.

    Raises:
        DataError: the extra is not installed.
        ModelError: the folder holds no classifier with safetensors weights.
        SpecificationError: neither words nor a classifier are wanted, or the labels that count are unknown.
    """
    finders: list[Find] = []
    if settings.words:
        finders.append(_words())
    if settings.classifier is not None:
        finders.append(_classifier(settings, expand_path(settings.classifier, root)))
    if not finders:
        raise SpecificationError("data.quality.toxicity: words is false and there is no classifier; set one of them.")

    def judged(rows: Sequence[Row]) -> list[Hit | None]:
        hits: list[Hit | None] = [None] * len(rows)
        for find in finders:
            for field in ("instruction", "response"):
                rest = [i for i, hit in enumerate(hits) if hit is None]
                for i, found in zip(rest, find([rows[i][field] for i in rest])):
                    if found:
                        hits[i] = Hit(f"the {field} {found[0]}", found[1])
        return hits

    return judged


def _words() -> Find:
    try:
        from profanex import Filter, FilterConfig
    except ModuleNotFoundError as error:
        raise DataError(
            "data.quality.toxicity looks for words with profanex, which is not installed: "
            "pip install 'sft-pipeline[toxicity]', or set data.quality.toxicity.words to false."
        ) from error
    # Digits are not read as letters: where A55 is the same word as "ass", neither could be allowed by itself.
    words = Filter(FilterConfig(extra_allowlist=_PLAIN, extra_banned=_LACKING, normalize_leet=False))

    def find(texts: Sequence[str]) -> list[tuple[str, str] | None]:
        return [
            (f"has the word {found[0].text!r}", text[max(0, found[0].start - 100) : found[0].start + 100])
            if found
            else None
            for text, found in zip(texts, words.find_many(texts))
        ]

    return find


def _classifier(settings: Toxicity, folder: Path) -> Find:
    import torch

    model, tokenizer = _load(folder)
    counted = _counted(model, settings.labels, settings.classifier)
    # A model with several labels that may hold at once, or with a single one, gives each its own probability.
    several = model.config.problem_type == "multi_label_classification" or len(model.config.id2label) == 1
    window = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", _WINDOW), _WINDOW)

    def find(texts: Sequence[str]) -> list[tuple[str, str] | None]:
        # A long text is judged in windows, the worst of which decides: what a model cannot see at once is not lost.
        windows = tokenizer(
            list(texts), truncation=True, max_length=window, return_overflowing_tokens=True, add_special_tokens=True
        )
        of = windows["overflow_to_sample_mapping"]
        # Windows of like length share a batch, so that little of it is padding.
        filled = [k for k, ids in enumerate(windows["input_ids"]) if ids]
        order = sorted(filled, key=lambda k: (len(windows["input_ids"][k]), k))
        worst: dict[int, tuple[float, str, str]] = {}
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            batch = tokenizer.pad({"input_ids": [windows["input_ids"][k] for k in chosen]}, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**batch).logits
            shares = torch.sigmoid(logits) if several else torch.softmax(logits, dim=-1)
            for k, share in zip(chosen, shares.tolist()):
                label = max(counted, key=share.__getitem__)
                seen = tokenizer.decode(windows["input_ids"][k], skip_special_tokens=True)
                worst[of[k]] = max(worst.get(of[k], _UNSEEN), (share[label], model.config.id2label[label], seen))
        return [
            (f"is {label}, probability {share:.3f} by {settings.classifier}", seen)
            if share > settings.max_score
            else None
            for share, label, seen in (worst.get(i, _UNSEEN) for i in range(len(texts)))
        ]

    return lambda texts: find(texts) if texts else []


def _load(folder: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The classifier and its tokenizer: from the folder alone, safetensors, no code of its own."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"data.quality.toxicity.classifier: {folder} holds no *.safetensors; save the classifier there with "
            "save_pretrained. Pickled weights are not read."
        )
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"data.quality.toxicity.classifier: {folder} cannot be loaded: {error}") from error
    if missing := sorted(info["missing_keys"]):
        # transformers would fill them with random numbers.
        raise ModelError(
            f"data.quality.toxicity.classifier: {folder} has no weights for {', '.join(missing[:3])}: "
            "it is no sequence-classification model."
        )
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise ModelError(f"data.quality.toxicity.classifier: {folder} needs a tokenizer.json and a padding token.")
    return model.float().eval(), tokenizer


def _counted(model: "PreTrainedModel", labels: Sequence[str], classifier: str | None) -> list[int]:
    """Positions of the labels that count: the declared ones, or all but the neutral one."""
    names = model.config.id2label
    known = f"{classifier} has {', '.join(names.values())}"
    if labels:
        if unknown := set(labels) - set(names.values()):
            raise SpecificationError(f"data.quality.toxicity.labels: unknown {', '.join(sorted(unknown))}; {known}.")
        return [position for position, name in names.items() if name in labels]
    toxic = [p for p, name in names.items() if "".join(filter(str.isalnum, name)).casefold() not in _NEUTRAL]
    independent = model.config.problem_type == "multi_label_classification" or len(names) == 1
    if not toxic or (len(toxic) == len(names) and not independent):
        raise SpecificationError(f"data.quality.toxicity.labels: say which labels are toxic; {known}.")
    return toxic
