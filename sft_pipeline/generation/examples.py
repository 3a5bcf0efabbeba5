"""Examples from the training split for the prompt of each item: which, and how many of them fit the context."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Comparator, Experiment
from sft_pipeline.model.prompts import prompts as prompts_of
from sft_pipeline.model.prompts import with_examples
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance.hashing import hash_value

SPARE = 32
"""Further examples that are drawn, for the items that the first ones are near to."""

Row = Mapping[str, Any]

_PLACEHOLDER = re.compile(r"\{(examples|instruction|response)\}")


@dataclass
class Asked:
    """The prompt of one item.

    Attributes:
        prompt: None where not even the prompt without an example leaves the room that the base has for its answer.
        tokens: of the prompt.
        examples: positions of the training rows in it, in their order there.
    """

    prompt: str | None = None
    tokens: int = 0
    examples: list[int] = field(default_factory=list)


def fill(template: str, **values: str) -> str:
    """`template` with a text in the place of each placeholder; nothing in the texts is interpreted."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def example_text(spec: Comparator, experiment: Experiment, row: Row) -> str:
    """A training row as it stands in a prompt, with the separator behind it."""
    prompt = experiment.prompt
    template = spec.example or f"{prompt.template}{prompt.response_prefix}{{response}}"
    return fill(template, instruction=row["instruction"], response=row["response"]) + spec.separator


def stops(spec: Comparator, experiment: Experiment) -> tuple[str, ...]:
    """Where an answer ends: as declared for all, and where the base would go on with a further example.

    A chat template ends an answer by a token of its own.
    """
    declared = experiment.generation.stop
    if spec.stop is not None or not spec.examples or experiment.prompt.format == "chat":
        return declared + (spec.stop or ())
    further = (spec.separator + (spec.example or experiment.prompt.template).partition("{instruction}")[0]).rstrip(" ")
    return declared if any(stop in further for stop in declared) else (*declared, further)


def choose(
    name: str, spec: Comparator, experiment: Experiment, train: Sequence[Row], items: Sequence[Row]
) -> tuple[list[Row], list[list[int]], list[str]]:
    """The training rows that may be examples, for each item the positions of its own in the order of the prompt, and notes.

    A row that is near an item (dataset/leakage/pairs.py) is no example for it; the next one takes its place.

    Args:
        name: of the comparator.
        spec: its section of the specification.
        experiment: parameters of the search for leaks and of the shingles.
        train: rows of the training split; their order decides nothing.
        items: rows of the test split.

    Raises:
        DataError: there are fewer rows than examples.
    """
    from sft_pipeline.dataset.leakage.pairs import leaking_pairs

    k = spec.examples
    if not k:
        return [], [[] for _ in items], []
    if len(train) < k:
        raise DataError(
            f"evaluation.comparators.{name}.examples: {k} examples, but the training split has "
            f"{len(train) or 'no'} rows; ask for at most as many"
        )
    pool = sorted(train, key=lambda row: hash_value([spec.seed, row["id"]]))
    pool = pool if spec.choose == "nearest" else pool[: k + SPARE]
    near = leaking_pairs(pool, items, experiment.data)
    notes = list(_near_notes(pool, near))
    if spec.choose == "nearest":
        found = _most_similar(pool, items, near, k, experiment.data.duplicates.ngram)
        if few := sum(len(of) < k for of in found):
            notes.append(
                f"{few} of {len(items)} items share a shingle with fewer than {k} training rows: theirs are filled up with "
                "rows drawn by the seed"
            )
    else:
        found = [[] for _ in items]
    for item, of in zip(items, found, strict=True):
        taken = {*of, *near.get(item["id"], ())}
        free = (position for position in range(len(pool)) if position not in taken)
        of += [position for position, _ in zip(free, range(k - len(of)))]
        if spec.choose == "nearest":
            of.reverse()
    return pool, found, notes


def _near_notes(pool: Sequence[Row], near: Mapping[str, Mapping[int, str]]) -> Iterator[str]:
    if not near:
        return
    item, rows = min(near.items())
    position, tier = min(rows.items())
    row = pool[position]
    yield (
        f"{len({p for of in near.values() for p in of})} training rows are near {len(near)} test items and are not shown to "
        f"these: the first is row {row['id']} ({row['source_file']}, row {row['source_row']}) for item {item} ({tier})"
    )


def _most_similar(
    pool: Sequence[Row], items: Sequence[Row], near: Mapping[str, Mapping[int, str]], k: int, ngram: int
) -> list[list[int]]:
    """For each item at most `k` positions in `pool`, by falling Jaccard similarity; equals in the order of the pool."""
    import numpy as np

    from sft_pipeline.dataset.duplicates.shingles import shingle_sets
    from sft_pipeline.dataset.leakage.overlap import Overlaps

    number = {item["id"]: at for at, item in enumerate(items)}
    out = np.array([number[id] * len(pool) + position for id, of in near.items() for position in of], np.int64)
    overlaps = Overlaps(shingle_sets([item["instruction"] for item in items], ngram))
    best = np.zeros((3, 0))
    for position, held, similarity in overlaps.matches(shingle_sets([row["instruction"] for row in pool], ngram)):
        free = ~np.isin(held * len(pool) + position, out)
        best = np.concatenate([best, np.stack([held[free], -similarity[free], position[free]])], axis=1)
        best = best[:, np.lexsort(best[::-1])]
        best = best[:, np.arange(best.shape[1]) - np.searchsorted(best[0], best[0]) < k]
    found: list[list[int]] = [[] for _ in items]
    for at, _, position in best.T:
        found[int(at)].append(int(position))
    return found


def fit(
    spec: Comparator,
    experiment: Experiment,
    pool: Sequence[Row],
    chosen: Sequence[Sequence[int]],
    items: Sequence[Row],
    tokenizer: CleanTokenizer,
    context: int | None,
) -> list[Asked]:
    """The prompts, with as many of the chosen examples as leave the answer the room that the base has; the longest go first.

    In chat format the examples are exchanges before the item's own.

    Args:
        spec: the comparator.
        experiment: gives the base's own prompt and the limit of new tokens.
        pool: training rows.
        chosen: positions in `pool`, for each item.
        items: rows of the test split.
        tokenizer: of the base.
        context: longest sequence of the model in tokens; None without a limit.
    """
    texts = {position: example_text(spec, experiment, pool[position]) for of in chosen for position in of}
    ask = _asking(spec, experiment, pool, texts, tokenizer)
    plain = plain_tokens(experiment, items, tokenizer, context)
    asked = [Asked(examples=list(of)) for of in chosen]
    left = list(range(len(items)))
    while left:
        prompts = [ask(items[i], asked[i].examples) for i in left]
        lengths = tokenizer.count(prompts)
        over = []
        for i, prompt, length in zip(left, prompts, lengths, strict=True):
            tokens = len(tokenizer.start) + length
            if (
                context is None
                or tokens + max(1, min(experiment.generation.max_new_tokens, context - plain[i])) <= context
            ):
                asked[i].prompt, asked[i].tokens = prompt, tokens
            elif asked[i].examples:
                asked[i].examples.remove(max(asked[i].examples, key=lambda p: len(texts[p])))
                over.append(i)
        left = over
    return asked


def _asking(
    spec: Comparator,
    experiment: Experiment,
    pool: Sequence[Row],
    texts: Mapping[int, str],
    tokenizer: CleanTokenizer,
) -> Callable[[Row, Sequence[int]], str]:
    """What makes the prompt of an item with the examples at these positions."""
    if tokenizer.chat is not None:
        chat = tokenizer.chat
        return lambda item, examples: with_examples(chat, [pool[p] for p in examples], item)
    template = spec.template or "{examples}" + experiment.prompt.template
    return lambda item, examples: fill(
        template, examples="".join(texts[p] for p in examples), instruction=item["instruction"]
    )


def plain_tokens(
    experiment: Experiment, items: Sequence[Row], tokenizer: CleanTokenizer, context: int | None
) -> list[int]:
    """Tokens of each item's prompt as base and fine-tuned model get it."""
    prompts = prompts_of(experiment, tokenizer, items, context)
    return [len(tokenizer.start) + length for length in tokenizer.count(prompts)]
