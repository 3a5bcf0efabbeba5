"""The mask audit before the first step: which tokens are trained on, and whether the rows can be trained on at all."""

import logging
from collections.abc import Collection
from pathlib import Path

from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Training
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.report.mask_audit import html as mask_html
from sft_pipeline.training import tokenization

SPREAD = 12
"""Samples at even distances over the rows."""

OF_EACH = 2
"""Samples of the rows that are cut, and of those with tokens that would merge at the border."""

logger = logging.getLogger("sft_pipeline.training")


def run(encoded: tokenization.Encoded, tokenizer: CleanTokenizer, training: Training, work: Path, out: Path) -> None:
    """Write mask_audit.txt and mask_audit.html into `out` and refuse rows that cannot be trained on.

    When the rows are refused, the page is left in `work`, which outlives the step, and the error names it.

    Args:
        encoded: the training rows.
        tokenizer: the one that encoded them.
        training: limits and thresholds.
        work: the training's own folder, which is there.
        out: the artifact's folder.

    Raises:
        TrainingError: too many rows are cut or fully masked, none is left, or an end of sequence is not learned
            exactly once.
    """
    found = problems(encoded, training) or misplaced_end(encoded, tokenizer)
    page = mask_html.page(
        mask_html.Audit(
            rows=len(encoded.examples) + len(encoded.masked),
            tokens=sum(encoded.lengths),
            learned=sum(label != tokenization.IGNORED for e in encoded.examples for label in e["labels"]),
            ends=sum(not tokenizer.ends.isdisjoint(e["labels"]) for e in encoded.examples),
            cut=encoded.truncated,
            masked=encoded.masked,
            merged=encoded.merged,
            max_length=training.max_length,
            problems=found,
            samples=samples(encoded, tokenizer),
        )
    )
    if found:
        (work / "mask_audit.html").write_text(page, "utf-8")
        listed = "\n".join(f"- {problem}" for problem in found)
        raise TrainingError(
            f"the rows cannot be trained on:\n{listed}\nWhich tokens are trained on: {work / 'mask_audit.html'}"
        )
    (out / "mask_audit.txt").write_text(plain_text(encoded, tokenizer), "utf-8")
    (out / "mask_audit.html").write_text(page, "utf-8")
    if encoded.truncated:
        logger.warning("%d rows are cut at max_length, %d left out", len(encoded.truncated), len(encoded.masked))
    if encoded.shortened:
        logger.warning("of %d conversations exchanges are left out: prompt.chat.keep_turns", len(encoded.shortened))
    if encoded.merged:
        logger.warning(
            "in %d rows tokens would merge across prompt and response; they are encoded apart", len(encoded.merged)
        )


def problems(encoded: tokenization.Encoded, training: Training) -> list[str]:
    """Why the rows cannot be trained on, each with the numbers, ids and the remedy; none, and they can."""
    total, limit = len(encoded.examples) + len(encoded.masked), training.max_length
    found = []
    if not total:
        return ["there is no training row: look at the manifest of clean_dataset for what dropped them"]
    if _above(encoded.masked, total, training.max_masked_share):
        found.append(
            f"{_share(encoded.masked, total, training.max_masked_share)} are fully masked: their prompt alone reaches "
            f"max_length {limit} ({_some(encoded.masked)}). Raise training.max_length, remove the rows, or allow "
            "training.max_masked_share."
        )
    if _above(encoded.truncated, total, training.max_truncated_share):
        found.append(
            f"{_share(encoded.truncated, total, training.max_truncated_share)} are cut at max_length {limit} "
            f"({_some(encoded.truncated)}). Raise training.max_length, remove the rows, or allow "
            "training.max_truncated_share."
        )
    if not encoded.examples and not found:
        found.append(f"every row is fully masked: every prompt reaches max_length {limit}. Raise training.max_length.")
    return found


def misplaced_end(encoded: tokenization.Encoded, tokenizer: CleanTokenizer) -> list[str]:
    """The first row that does not teach its end exactly once and last, or that is cut and teaches to stop; none, if so."""
    cut = set(encoded.truncated)
    if tokenizer.chat:
        return _misplaced_ends(encoded, tokenizer, cut)
    for name, example in zip(encoded.ids, encoded.examples, strict=True):
        labels = example["labels"]
        places = [place for place, label in enumerate(labels) if label == tokenizer.end]
        if places != ([] if name in cut else [len(labels) - 1]):
            return [
                f"row {name}: the end-of-sequence token is trained on {len(places)} times "
                f"(positions {places[:5]} of {len(labels)} tokens); it must be learned "
                + ("never, because the row is cut." if name in cut else "once, at the end.")
                + " Look for its text in the row, and name it in data.quality.delimiters."
            ]
    return []


def _misplaced_ends(encoded: tokenization.Encoded, tokenizer: CleanTokenizer, cut: Collection[str]) -> list[str]:
    """The same of conversations: every answer ends with a token that ends it, but for the last of a row that is cut."""
    for name, example, answers in zip(encoded.ids, encoded.examples, encoded.answers, strict=True):
        learned = [ids for ids, loss in tokenization.runs(example) if loss]
        # A template may mark the line break after it as a part of the answer.
        ends = [not tokenizer.ends.isdisjoint(ids[-2:]) for ids in learned]
        if not (all(ends[:-1]) if name in cut else all(ends) and len(ends) == answers):
            return [
                f"row {name}: it has {answers} answers, and {len(learned)} runs of tokens are trained on, of which {sum(ends)} end "
                "with a token that ends an answer. Look at the chat template."
            ]
    return []


def plain_text(encoded: tokenization.Encoded, tokenizer: CleanTokenizer, samples: int = SPREAD) -> str:
    """The tokens that are trained on, decoded, for a sample spread over the rows, and what was cut or left out."""
    total = len(encoded.examples) + len(encoded.masked)
    loss = sum(label != tokenization.IGNORED for example in encoded.examples for label in example["labels"])
    lines = [
        f"rows: {total:,}",
        f"tokens: {sum(encoded.lengths):,}, of which {loss:,} are trained on",
        f"cut at max_length: {_counted(encoded.truncated)}",
        f"fully masked, left out: {_counted(encoded.masked)}",
        f"tokens would merge across prompt and response, encoded apart: {_counted(encoded.merged)}",
        *([f"exchanges left out: {_counted(encoded.shortened)}"] if encoded.shortened else []),
        "",
        "The tokens between the brackets [[ ]] are trained on.",
    ]
    count = min(samples, len(encoded.examples))
    for index in (i * len(encoded.examples) // count for i in range(count)):
        example = encoded.examples[index]
        start = sum(label == tokenization.IGNORED for label in example["labels"])
        parts = ((tokenizer.decode(ids, special=True), loss) for ids, loss in tokenization.runs(example))
        lines += [
            "",
            f"--- {encoded.ids[index]}: {start} + {len(example['labels']) - start} tokens",
            "".join(f"[[{text}]]" if loss else text for text, loss in parts),
        ]
    return "\n".join(lines) + "\n"


def samples(encoded: tokenization.Encoded, tokenizer: CleanTokenizer) -> list[mask_html.Sample]:
    """Rows to look at: the longest, the shortest, some merged and cut ones, and a dozen spread over all."""
    chosen: dict[int, list[str]] = {}

    def choose(index: int, why: str) -> None:
        chosen.setdefault(index, []).append(why)

    lengths, count = encoded.lengths, len(encoded.examples)
    if count:
        choose(lengths.index(max(lengths)), "longest")
        choose(lengths.index(min(lengths)), "shortest")
    place = {name: index for index, name in enumerate(encoded.ids)}
    for why, names in (("merges at the border", encoded.merged), ("cut", encoded.truncated)):
        for name in [name for name in names if name in place][:OF_EACH]:
            choose(place[name], why)
    for index in (i * count // SPREAD for i in range(SPREAD)) if count > SPREAD else range(count):
        if index not in chosen:
            choose(index, "sample")
    return [
        mask_html.Sample(encoded.ids[index], ", ".join(why), tuple(tokens(encoded.examples[index], tokenizer)))
        for index, why in chosen.items()
    ]


def tokens(example: dict[str, list[int]], tokenizer: CleanTokenizer) -> list[mask_html.Token]:
    """The row token by token, as text; tokens that make a character only together stay together.

    A token's text is what it adds to that of the tokens before it: some decoders take the space off the first one, and
    the bytes of one character may be spread over several.
    """
    ids, labels, special = example["input_ids"], example["labels"], tokenizer.special

    def text(first: int, last: int) -> str:
        return tokenizer.decode(ids[first:last], special=True)

    found: list[mask_html.Token] = []
    before = start = 0
    for end in range(1, len(ids) + 1):
        piece = text(before, end)[len(text(before, start)) :]
        learned = labels[start] != tokenization.IGNORED
        # U+FFFD stands for bytes that are no character yet; never over the border, nor over a special token.
        unfinished = piece.endswith("\ufffd") and end < len(ids) and end - start < 4
        if unfinished and (labels[end] != tokenization.IGNORED) == learned and ids[end] not in special:
            continue
        alone = end - start == 1
        found.append(
            mask_html.Token(
                piece,
                tuple(ids[start:end]),
                learned,
                special=alone and ids[start] in special,
                end=alone and ids[start] in tokenizer.ends,
            )
        )
        before, start = start, end
    return found


def _above(ids: list[str], total: int, limit: float) -> bool:
    return len(ids) / total > limit


def _share(ids: list[str], total: int, limit: float) -> str:
    return f"{len(ids)} of {total} rows ({len(ids) / total:.1%}; allowed {limit:.1%})"


def _counted(ids: list[str]) -> str:
    return f"{len(ids):,}" + (f" ({_some(ids)})" if ids else "")


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
