"""What can be seen in the texts of the answers alone: nothing said, an echo, a cut, another item's answer, an enumeration."""

import re
from collections import Counter
from collections.abc import Sequence

from sft_pipeline.dataset.text import words
from sft_pipeline.evaluation.scorers.text import bare, holds

_SPECIAL = re.compile(
    r"</?s>|<\|[^<>|]{1,40}\|>|</?(?:pad|unk|eos|bos|end_of_turn|start_of_turn|endoftext)>|\[(?:PAD|UNK|EOS|BOS|SEP|CLS)\]",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"\b(?:error|exception|traceback|timed?[ -]?out|unavailable|rate.?limit\w*|too many requests|bad gateway|overloaded|"
    r"connection (?:reset|refused|aborted)|quota|unauthori[sz]ed|forbidden|(?:http|status)(?: code)? ?[45]\d\d)\b",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"\S*\d\S*")
_NEXT = re.compile(
    r"\n\s*(?:#+\s*|\*\*)?(?:question|problem|q|instruction|exercise|example|human|user)\b[^\n]{0,20}?[:.)]",
    re.IGNORECASE,
)
"""What a base writes that goes on with another question."""
_LISTED = re.compile(r"(?:(?<=\s)|^)(?:[^\s,;|/]{1,20}\s*[,;|/\n]\s*(?:and |or )?){8,}[^\s,;|/]{1,20}")
_HEDGE = (
    r"\b(?:or|else|alternatively|otherwise|maybe|perhaps|possibly|unless)\b\W+(?:else\W+)?"
    r"(?:(?:maybe|perhaps|possibly|it|is|could|might|may|be|also|the|option|choice|answer)\W+){0,4}"
)
_FINISHED = re.compile(r"[.!?…。！？؟।:;)\]}>\"'”’»`*|$\d]$")
_CODE = re.compile(r"^\s{2,}|^(?:return|import|from|print)\b|[=(){}\[\];]|\w_\w")
"""A line of a program, which ends without a mark of a sentence."""

ERROR_LENGTH = 400
"""A longer text is no message of a server."""


def first_part(output: str) -> str:
    """An answer up to where it goes on with another question."""
    found = _NEXT.search(output, 1)
    return output[: found.start()] if found else output


def says_nothing(text: str) -> bool:
    """White space, special tokens, or a run of one sign."""
    signs = "".join(_SPECIAL.sub("", text).split())
    kinds = set(signs)
    return not signs or (len(kinds) <= 2 and len(signs) >= 8 and not any(s.isalnum() for s in kinds)) or (
        len(kinds) == 1 and len(signs) >= 20
    )  # fmt: skip


def echoes(text: str, instruction: str) -> bool:
    """Whether a text is its instruction and nothing more, of at least five words."""
    said, asked = words(text), words(instruction)
    if not len(asked) >= 5 or not 0.9 * len(asked) <= len(said) <= 1.2 * len(asked):
        return False
    shared = sum((Counter(said) & Counter(asked)).values())
    return shared >= 0.9 * max(len(said), len(asked))


def error_messages(texts: Sequence[str]) -> list[bool]:
    """Which texts are messages of a server: a word of failure in a text that recurs but for its numbers."""
    alike = [_DIGITS.sub("0", t) if len(t) <= ERROR_LENGTH and _ERROR.search(t) else "" for t in texts]
    counts = Counter(alike)
    return [bool(text) and counts[text] >= max(3, 0.02 * len(texts)) for text in alike]


def cut_without_notice(texts: Sequence[str], tokens: Sequence[int | None]) -> list[bool]:
    """Which answers were cut although nothing says so.

    Over a twentieth of the answers end unfinished at one and the same largest number of tokens, words or characters, or
    inside a word. Then those that do, and of the latter kind all that end unfinished, count as cut. An answer is unfinished
    that has eight words or more and whose last line is none of a program and ends in a letter or a comma.
    """
    ends = [text.rstrip().rpartition("\n")[2] for text in texts]
    open_ended = [
        not _FINISHED.search(end) and not _CODE.search(end) and len(text.split()) >= 8
        for end, text in zip(ends, texts, strict=True)
    ]
    found = [False] * len(texts)
    few = max(3, len(texts) / 20)
    for sizes in ([t or 0 for t in tokens], [len(t.split()) for t in texts], list(map(len, texts))):
        top = max(sizes, default=0)
        at_top = [size == top > 0 and o for size, o in zip(sizes, open_ended, strict=True)]
        last = Counter(text.split()[-1] for text, a in zip(texts, at_top, strict=True) if a)
        if (
            last.total() > few and 2 * last.most_common(1)[0][1] <= last.total()
        ):  # one last word is a phrase, and no cut
            found = [f or a for f, a in zip(found, at_top, strict=True)]
    if sum(open_ended) > few:
        known: Counter[str] = Counter()
        for text in texts:
            known.update(set(text.casefold().split()[:-1]))
        stems = {word[:k] for word in known for k in range(1, len(word))}
        ends = [
            text.split()[-1].casefold() if o and not text[-1].isspace() else "" for text, o in zip(texts, open_ended)
        ]
        if sum(bool(word) and word not in known and word in stems for word in ends) > few:
            found = [f or o for f, o in zip(found, open_ended)]
    return found


def fits_others(texts: Sequence[str], questions: Sequence[str], expected: Sequence[str]) -> tuple[int, int]:
    """How many texts fit their own item, and how many fit another one and not their own.

    A text fits an item by the words of its question, and by its expected answer, that at most three of all items have: its
    own by one of them, another one by two. Besides, where by one shift of all texts, or in reversed order, far more give
    the expected answer of that item than of their own, these fit others.
    """
    holders: dict[str, list[int]] = {}
    for k, (question, answer) in enumerate(zip(questions, expected, strict=True)):
        rare = {word for word in words(question) if any(c.isalpha() for c in word)}
        for word in rare | ({f"= {bare(answer)}"} if answer.strip() else set()):
            holders.setdefault(word, []).append(k)
    own = other = 0
    stated = [f"= {_stated(text)}" for text in texts]
    for k, text in enumerate(texts):
        fit = Counter(
            j for word in {*words(first_part(text)), stated[k]} if len(held := holders.get(word, ())) <= 3 for j in held
        )
        mine, best = fit.pop(k, 0), max(fit.values(), default=0)
        own += mine >= max(1, best)
        other += not mine and best >= 2
    # An answer that many items expect, such as a choice, tells no item from another.
    few = max(3, len(texts) // 50)
    places = [(k, held) for k, answer in enumerate(stated) if len(held := holders.get(answer, ())) <= few]
    right = sum(k in held for k, held in places)
    shifts = Counter(j - k for k, held in places for j in held if j != k)
    sums = Counter(j + k for k, held in places for j in held if j != k)
    most = max((*shifts.values(), *sums.values()), default=0)
    return own, other + (most if most > max(2 * right, 10, len(texts) / 10) else 0)


def _stated(text: str) -> str:
    """What a text gives as its answer: its last number, or its last line."""
    line = first_part(text).rstrip().rpartition("\n")[2]
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", line)
    return bare(numbers[-1].replace(",", "")) if numbers else bare(line)


def enumerates(text: str, expected: str) -> bool:
    """Whether the expected answer stands in a list of eight short things or more."""
    return any(holds(found[0], expected) for found in _LISTED.finditer(text))


def hedges(text: str, choices: Sequence[str]) -> bool:
    """Whether the end of a text offers another choice beside the one it gives: "B. Or else C."."""
    end = text.strip()[-80:]
    named = "|".join(re.escape(choice) for choice in choices if choice)
    return bool(named and re.search(rf"{_HEDGE}[(\[\"']?(?:{named})\b[)\]\"']?\W*$", end, re.IGNORECASE))


def same_but_for_addition(texts: Sequence[tuple[str, str]]) -> list[bool]:
    """Which pairs of texts are one text: equal words, or one is the other with an addition that recurs.

    An addition recurs where five pairs or more have it, but for numbers, at one end.
    """
    plain = [(" ".join(words(a)), " ".join(words(b))) for a, b in texts]
    added = [_added(*pair) for pair in plain]
    counts = Counter(addition for addition in added if addition)
    return [bool(a) and (a == b or counts[addition] >= 5) for (a, b), addition in zip(plain, added)]


def _added(a: str, b: str) -> str:
    short, long = sorted((a, b), key=len)
    if not short or short == long:
        return ""
    if long.startswith(short + " "):
        return "… " + _DIGITS.sub("0", long[len(short) :])
    return _DIGITS.sub("0", long[: -len(short)]) + " …" if long.endswith(" " + short) else ""
