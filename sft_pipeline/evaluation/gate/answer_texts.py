"""What can be seen in the texts of the answers alone: nothing said, an echo, a cut, another item's answer, an enumeration."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sft_pipeline.dataset.text import words
from sft_pipeline.evaluation.scorers.text import bare, holds

_SPECIAL = re.compile(
    r"</?s>|<\|[^<>|]{1,40}\|>|</?(?:pad|unk|eos|bos|end_of_turn|start_of_turn|endoftext)>|\[(?:PAD|UNK|EOS|BOS|SEP|CLS)\]",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"error\b|\b(?:exception|traceback|timed?[ -]?out|(?:un|not )available|out of memory|failed|failure|denied|limit\w* (?:reached|exceeded)|"
    r"rate.?limit\w*|too many requests|bad gateway|overloaded|max(?:imum)? (?:retries|context length)|quota|unauthori[sz]ed|forbidden|"
    r"connection (?:reset|refused|aborted|error)|(?:http|status)(?: code)? ?[45]\d\d|fehler\w*|erreur|errore|erro|fout|fel|błąd|hata|lỗi)\b"
    r"|ошибк|помилк|错误|錯誤|失败|エラー|오류|خطأ|שגיאה|त्रुटि",
    re.IGNORECASE,
)
"""Words of failure, in the languages of those who run servers."""
_NEXT = re.compile(
    r"\n\s*(?:#+\s*|\*\*)?(?:question|problem|q|instruction|exercise|example|human|user)\b[^\n]{0,20}?[:.)]",
    re.IGNORECASE,
)
"""What a base writes that goes on with another question."""
_LISTED = re.compile(r"(?:(?<=\s)|^)(?:[^\s,;|/]{1,20}\s*[,;|/\n]\s*(?:and |or )?){8,}[^\s,;|/]{1,20}")
_OR = r"(?:or|else|alternatively|otherwise|oder|ou|o|u|oppure|или|либо|或者?|または)(?!\w)"
_MAY_BE = re.compile(
    rf"(?<!\w)(?:{_OR}|(?:maybe|perhaps|possibl[ey]|plausible|unless|might|may|could|also|as well|if not|second|vielleicht|auch|möglich\w*"
    r"|tal vez|quizás?|también|talvez|também|peut-être|aussi|forse|anche|возможно|также|может)(?!\w))|可能|也",
    re.IGNORECASE,
)
"""Words that offer a further answer, in front of it or behind it."""
_RULED_OUT = re.compile(
    r"(?<!\w)(?:not|no|wrong|incorrect|false|neither|nor|rather than|instead of|cannot|never|but|however|nicht|falsch|kein\w*|non|pas|faux|"
    r"falso|incorrect\w+|не|неверн\w*)(?!\w)|n['’]t\b|不|错",
    re.IGNORECASE,
)
_FINISHED = re.compile(r"[.!?…。！？؟।:;)\]}>\"'”’»`*|$\d]$")
_ENDED = re.compile(r"[.!?。！？؟।][)\]\"'”’»`*_]*$")
_BREAKS_OFF = re.compile(r"\w\s?(?:…|\.\.\.)$|[\[(<](?:truncated|cut|…|\.\.\.)[\])>]$", re.IGNORECASE)
_CODE = re.compile(r"^\s{2,}|^(?:return|import|from|print)\b|[=(){}\[\];]|\w_\w")
"""A line of a program, which ends without a mark of a sentence."""

ERROR_LENGTH = 400
"""A longer text is no message of a server."""


def first_part(output: str) -> str:
    """An answer up to where it goes on with another question."""
    found = _NEXT.search(output, 1)
    return output[: found.start()] if found else output


def says_nothing(text: str) -> bool:
    """White space, special tokens, or a run of one sign or of one word."""
    said = _SPECIAL.sub("", text).casefold().split()
    if len(said) >= 8 and len(set(said)) == 1:
        return True
    signs = "".join(said)
    kinds = set(signs)
    return not signs or (len(kinds) <= 2 and len(signs) >= 8 and not any(s.isalnum() for s in kinds)) or (
        len(kinds) == 1 and len(signs) >= 20
    )  # fmt: skip


def echoes(said: list[str], asked: list[str]) -> bool:
    """Whether the words of a text are its instruction's, five at least, once or more often, and hardly anything more."""
    if len(asked) < 5 or not 0.9 * len(asked) <= len(said):
        return False
    times = max(1, round(len(said) / len(asked)))
    if len(set(asked).difference(said)) > 0.1 * len(asked):  # each of these words is missing at least once
        return False
    shared = sum((Counter(said) & Counter(asked * times)).values())
    return shared >= 0.9 * max(len(said), times * len(asked))


def _without_numbers(text: str) -> str:
    """`text` with 0 for every word that holds a digit, and single spaces."""
    return " ".join("0" if not w.isalpha() and any(map(str.isdecimal, w)) else w for w in text.split())


def error_messages(texts: Sequence[str]) -> list[bool]:
    """Which texts are messages of a server: a word of failure in a text that recurs but for its numbers."""
    few = max(3, 0.02 * len(texts))
    masked = [_without_numbers(t) if len(t) <= ERROR_LENGTH else "" for t in texts]
    counts = Counter(masked)  # what is too long or does not recur need not be searched
    alike = [m if m and counts[m] >= few and _ERROR.search(t) else "" for m, t in zip(masked, texts)]
    counts = Counter(alike)
    return [bool(text) and counts[text] >= few for text in alike]


def cut_without_notice(texts: Sequence[str], tokens: Sequence[int | None], expected: Sequence[str]) -> list[bool]:
    """Which answers were cut although no finish reason says so.

    Each sign counts where over a twentieth of the answers bear it, in answers of eight words or more:

    - they end without the mark of a sentence at one and the same largest number of tokens, words or characters. Not where
      the last word, or the one before it, is the same in most of them, or where the expected answer has as many words;
    - they break off with "…" or "[truncated]";
    - they end inside a word. Then all count whose last line is none of a program and ends in a letter or a comma.
    """
    stripped, sizes = [text.rstrip() for text in texts], [len(text.split()) for text in texts]
    ends = [text.rpartition("\n")[2] for text in stripped]
    open_ended = [
        size >= 8 and not _FINISHED.search(end) and not _CODE.search(end) for end, size in zip(ends, sizes, strict=True)
    ]
    found = [size >= 8 and bool(_BREAKS_OFF.search(text[-16:])) for text, size in zip(stripped, sizes, strict=True)]
    few = max(3, len(texts) / 20)
    found = found if sum(found) > few else [False] * len(texts)
    whole = [
        size < 8 or size == len(e.split()) or bool(_ENDED.search(t)) for t, size, e in zip(stripped, sizes, expected)
    ]
    for lengths in ([t or 0 for t in tokens], sizes, list(map(len, texts))):
        top = max(lengths, default=0)
        at_top = [length == top > 0 and not w for length, w in zip(lengths, whole, strict=True)]
        last = [_last_words(text) for text, a in zip(stripped, at_top, strict=True) if a]
        if len(last) > few and all(2 * Counter(place).most_common(1)[0][1] <= len(last) for place in zip(*last)):
            found = [f or a for f, a in zip(found, at_top, strict=True)]
    if sum(open_ended) > few:
        known: Counter[str] = Counter()
        for text in texts:
            known.update(set(text.casefold().split()[:-1]))
        stems = {word[:k] for word in known for k in range(1, len(word))}
        words_at_end = [
            text.split()[-1].casefold() if o and not text[-1].isspace() else "" for text, o in zip(texts, open_ended)
        ]
        if sum(len(word) > 1 and word not in known and word in stems for word in words_at_end) > few:
            found = [f or o for f, o in zip(found, open_ended)]
    return found


def _last_words(text: str) -> tuple[str, str]:
    """The last word and the one before it, numbers and signs aside."""
    said = [w.casefold() for w in text[-80:].split() if any(c.isalpha() for c in w)]
    return tuple([*said[::-1], "", ""][:2])  # type: ignore[return-value]


class Fit(NamedTuple):
    """How many texts fit their own item, how many another one, and which of them do."""

    own: int
    other: int
    moved: list[int]


def fits_others(texts: Sequence[str], questions: Sequence[str], expected: Sequence[str]) -> Fit:
    """Whether texts fit their own items, or other ones and not their own.

    A text fits an item by the words of its question, and by its expected answer, that at most three of all items have: its
    own by one of them, another one by two. Besides, where by one shift of all texts, or in reversed order, far more give
    the expected answer of that item than of their own, these fit others; and so where the expected answers that few items
    have are nearly all given, but hardly ever to their own items.
    """
    holders: dict[str, list[int]] = {}
    for k, (question, answer) in enumerate(zip(questions, expected, strict=True)):
        rare = {word for word in words(question) if any(c.isalpha() for c in word)}
        for word in rare | ({f"= {bare(answer)}"} if answer.strip() else set()):
            holders.setdefault(word, []).append(k)
    own, moved = 0, []
    stated = [f"= {_stated(text)}" for text in texts]
    for k, text in enumerate(texts):
        fit = Counter(
            j for word in {*words(first_part(text)), stated[k]} if len(held := holders.get(word, ())) <= 3 for j in held
        )
        mine, best = fit.pop(k, 0), max(fit.values(), default=0)
        own += mine >= max(1, best)
        if not mine and best >= 2:
            moved.append(k)
    # An answer that many items expect, such as a choice, tells no item from another.
    few = max(3, len(texts) // 50)
    places = [(k, held) for k, answer in enumerate(stated) if len(held := holders.get(answer, ())) <= few]
    right = sum(k in held for k, held in places)
    shifts = Counter(j - k for k, held in places for j in held if j != k)
    sums = Counter(j + k for k, held in places for j in held if j != k)
    most = max((*shifts.values(), *sums.values()), default=0)
    other = len(moved) + (most if most > max(2 * right, 10, len(texts) / 10) else 0)
    rare_answers = {answer: len(held) for answer, held in holders.items() if answer.startswith("= ") and len(held) <= 3}
    there = sum((Counter(stated) & Counter(rare_answers)).values())
    if there >= max(20, 0.6 * sum(rare_answers.values())) and right <= 0.1 * there:
        other = max(other, there)
    return Fit(own, other, moved)


def _stated(text: str) -> str:
    """What a text gives as its answer: its last number, or its last line."""
    line = first_part(text).rstrip().rpartition("\n")[2]
    numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", line)
    return bare(numbers[-1].replace(",", "")) if numbers else bare(line)


def enumerates(text: str, expected: str, others: Sequence[str]) -> bool:
    """Whether the expected answer is offered among others.

    It stands in a list of eight short things or more; an "or" joins it to another number, or to the answer of another item;
    or three words such as "maybe" come before it.
    """
    if any(holds(found[0], expected) for found in _LISTED.finditer(text)):
        return True
    plain = bare(expected)
    here = text.casefold().find(plain) if plain else -1
    if here < 0:
        return False
    if len(_MAY_BE.findall(text[max(0, here - 200) : here])) >= 3:
        return True
    other = r"\d[\d.,]*" if plain[-1:].isdigit() else "|".join(re.escape(o) for o in others if o)
    joined = rf"\W{{1,3}}{_OR}\W{{1,3}}"
    own = re.escape(plain)
    return bool(other) and bool(
        re.search(rf"(?<!\w)(?:(?:{other}){joined}{own}|{own}{joined}(?:{other}))(?!\w)", text, re.IGNORECASE)
    )


def hedges(text: str, choices: Sequence[str]) -> bool:
    """Whether the end of a text offers another choice beside the one it gives: "B. Or else C.", "B. C may be right as well."."""
    end = text.strip()[-100:]
    named = "|".join(re.escape(choice) for choice in choices if choice)
    found = re.search(rf"^(.*)(?<!\w)(?:{named})(?!\w)([^\n]{{0,32}})$", end, re.DOTALL) if named else None
    if not found or not found[1].strip():
        return False
    around = found[1][-32:].rpartition("\n")[2], found[2]
    return any(map(_MAY_BE.search, around)) and not any(map(_RULED_OUT.search, around))


def same_but_for_addition(plain: Sequence[tuple[str, str]]) -> list[bool]:
    """Which pairs of texts, given as their words, are one text: equal, or one is the other with an addition that recurs.

    An addition recurs where five pairs or more have it, but for numbers, before, behind, or around.
    """
    added = [_added(*pair) for pair in plain]
    counts = Counter(addition for addition in added if addition)
    return [bool(a) and (a == b or counts[addition] >= 5) for (a, b), addition in zip(plain, added)]


def _added(a: str, b: str) -> str:
    short, long = sorted((a, b), key=len)
    before, found, after = f" {long} ".partition(f" {short} ")
    added = _without_numbers(f"{before} … {after}")
    return added if short and found and any(c.isalpha() for c in added) else ""
