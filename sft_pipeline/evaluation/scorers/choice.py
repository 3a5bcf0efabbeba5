"""The answer names one of several declared choices, and the right one.

The choice that an answer means is looked for in this order, and the first rule that finds one decides:

1. It says so: "the answer is (B)", "Answer: b", "La respuesta correcta es B", "答案是B", \\boxed{B}, #### B, <answer>B</answer>.
2. It begins with the choice ("B) because option C …", "Yes, there is no doubt"), or its last line is the choice alone.
3. It names one choice only, besides those that it rules out ("not A", "A is wrong").
4. It prefers one in other words: "I would choose B", "B is the correct option".

What a rule finds twice and differently is undecided. Only what the model wrote for its own question counts: without a
draft in <think>, up to a special token or to the next question.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sft_pipeline.dataset.text import UNSPACED
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt, folded, own_part, places, stands

OPTIONS = {
    "choices": "List of the choices, for all items of the type.",
}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response. One of the choices, or its letter.",
    "choices": "List of at least two choices; it comes before the option.",
}
VERIFIER = True

SEVERAL = "several_choices"
"""The label of an answer that names the right choice and others, and does not say which of them is its answer."""

# Words for "answer", by language; those of Chinese, Japanese, Korean and Thai need no border.
_ENGLISH = r"(?<![\w</\[])(?:answer|(?:correct|right|best|most \w+) (?:choice|option))(?!\w)"
_OTHERS = unicodedata.normalize(
    "NFKC",
    r"(?<![\w</\[])(?:respuestas?|(?:opción|alternativa|opção|opcion|opcao) (?:correct[ao]|corret[ao])|la correcta|lo correcto"
    r"|resposta|réponse|reponse|risposta|antwort|lösung|richtig(?= ist| wäre)|antwoord|svaret|svar|vastaus|odpowied[źz]|odpověď"
    r"|odpoveď|răspunsul|raspunsul|válasz|cevap|cevabı|yanıt|ответом|ответ|(?:правильный|верный) вариант|відповідь|отговорът|отговор"
    r"|απάντηση|đáp án|trả lời|jawabannya|jawaban|jibu|ìdáhùn|idáhùn|idahun|àdáhùn|उत्तर|जवाब|উত্তরঃ?|الإجابة|إجابة|الجواب|جواب|پاسخ"
    r"|תשובה|התשובה|பதில்|సమాధానం)(?!\w)"
    r"|答案|正确选项|正確選項|正确的|正確的|答复|答曰|答え|回答|解答|正解|答|정답|답변|답|คำตอบ(?:ที่ถูกต้อง)?",
)
_ANSWER = f"{_ENGLISH}|{_OTHERS}"
_TITLES = (
    r"(?<![\w</\[])(?:correct|choice|ans|conclusion|verdict|result|solution|prediction|label|selection|decision|category|class"
    r"|sentiment)[*_\"']{0,3}\s?(?:[:：=]|(?<=ans)\.)"
)
_IS = unicodedata.normalize(
    "NFKC",
    r"(?:is|was|must be|should be|would be|will be|es|sería|será|fue|é|seria|est|serait|è|sarebbe|ist|lautet|wäre|luidt|är|er"
    r"|on|to|brzmi|jest|je|este|είναι|это|является|будет|є|е|هي|هو|היא|הוא|adalah|là|ni|है|হল|হলো)(?!\w)",
)
_LABEL = unicodedata.normalize(
    "NFKC",
    r"(?:the|la|el|las|los|le|les|il|l[’']|die|der|das|den|a|o|option|choice|letter|answer|correct|opción|opcion|letra|inciso"
    r"|opção|alternativa|respuesta|resposta|option|lettre|réponse|opzione|lettera|risposta|buchstabe|antwort|möglichkeit|optie"
    r"|вариант|буква|под буквой|пункт|ответ|选项|選項|選択肢|选|應選|选择|선택지|câu|đáp án|pilihan|seçenek|şıkkı|الخيار|ตัวเลือก|ข้อ)",
)
_MARKS = r"(?:(?!\\text)[\W_]){0,6}(?:\\(?:text|mathrm|mathbf|textbf)\w*\W{1,3})?"
_OPENING = re.compile(_MARKS, re.IGNORECASE)
_LABELLED = re.compile(rf"{_LABEL}(?:(?<=[’'])|(?<=[{UNSPACED}])|(?=[^\w\n])){_MARKS}", re.IGNORECASE)
"""What may stand between the words that announce a choice and the choice: signs, and words such as "option"."""
_WORDS_BETWEEN = r"(?: (?:choice|option|letter|to [^.:\n]{1,80}?)|[ ](?!not\b|n[o']|isn|cannot)[^\W\d_]{2,20}){0,2}"
_ANNOUNCED = re.compile(
    rf"(?:{_ANSWER})[*_\"'”»]{{0,3}}(?:{_WORDS_BETWEEN}(?:[*_]{{0,3}} {_IS}|[*_\"'”» ]{{0,4}}(?:[:：=]|ist:|—|–|-))"
    r"|\s?(?:应该|应当|應該)?(?:是|为|為|选|選)|は|[은는이]|คือ|\s?เป็น)|\\boxed\{|####|[<\[]answer[>\]]|" + _TITLES,
    re.IGNORECASE,
)
"""What comes before the choice where an answer says which one it means."""
_ALONE = (
    (re.compile(rf"(?:{_ENGLISH}) {{0,2}}", re.IGNORECASE), re.compile(r"[\W_]*(?:\n|$)")),
    (re.compile(rf"(?:{_OTHERS}) {{0,2}}", re.IGNORECASE), re.compile(r"[*_)\]\"'”»]{0,3}(?:[.,;:。，]|\s*(?:\n|$))")),
)
"""The same without a verb or colon, and what must follow then: "Final answer B" at the end of a line, "Ответ B, …"."""
_PREFERRED = re.compile(
    r"\b(?:(?:I|we)(?:['’]ll| will|['’]d| would)? (?:choose|chose|pick|select|go with|say)|(?:it|that|this)(?: is|['’]s| must be)|elijo|escojo|je choisis|ich wähle|scelgo|escolho"
    r"|выбираю)(?!\w)|(?:故|应|應|我|因此)?[选選][择擇]?",
    re.IGNORECASE,
)
_IS_CORRECT = re.compile(
    r"[\W_]{0,4} ?(?:is|es|est|ist|è|é|är|er|—|–|-|是)[ ]?(?:the |la |le |el |die |a |o )?(?:only |most |clearly )?"
    r"(?:correct|right|best|answer|respuesta|réponse|antwort|risposta|resposta|ответ|richtig|bonne|juste|giusta|corret|верн|правильн|正确|正確)",
    re.IGNORECASE,
)
_OR = re.compile(
    r"[^\w\n]{0,4}(?:(?:(?:or|alternatively|otherwise|else|maybe|perhaps|possibly|if not|oder|vielleicht|o|u|ou|oppure|ili|или|либо)"
    r"(?!\w)|或者?|または|또는)[^\w\n]{0,4}){1,3}(?:(?:option|choice|letter|answer)(?!\w)[^\w\n]{0,3})?",
    re.IGNORECASE,
)
_AND = re.compile(r"[)\]*\"'”’ ]{0,4}(?:[,/;|&+、，／]|(?:and|und|y|e|et|и)(?!\w)|和|と)[^\w\n]{0,4}", re.IGNORECASE)
_CLOSES = re.compile(r"[)\]}*_\"'”’ ]{0,4}(?:[.,;/|&+。、，；]|\n|$|(?:or|and|und|oder|y|e|o|ou|et|и|или)(?!\w))")
"""What joins two choices of one statement: "A or B", "B. Or else C"; "A, B" and "A and B" unless B begins a new clause."""

_REASON = r"(?:because|as|and|but|due|for|is|or|since|which|with)\b"
_ARTICLE = re.compile(rf" (?!{_REASON})[a-z]")
"""What makes an article of the A of "Answer: A": in "A river" it may well be choice B."""
_AFTER_LEADING = re.compile(
    r"[\W_]*$|[)\]}*_\"'”’]{0,4}(?:[.,:;!)\]…。，、：；！）】]| ?[—–-]|\n|$| ?\n| (?:because|since|as|due|for|porque|ya que|car|parce|weil|da"
    r"|denn|perché|потому|так как|karena|omdat)(?!\w)|因为|因為)",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?<!\w)(?:not|rather than|instead of|nicht|kein|pas|et non|y no|non|não|niet|nie|не|ні|inte|ikke|ei|nem|ne|nu|bukan|không phải"
    r"|όχι|וליא|ולא|وليس|ليس)(?: (?:the|la|el|die|option|choice|letter|answer))?[ ]\W{0,2}$|(?:不是|而非|而不是|不选|ไม่ใช่) ?\W{0,2}$",
    re.IGNORECASE,
)
_WRONG = re.compile(
    r"[)\]*_\"'”’]{0,4}(?:,? (?:is|was|are|es|est|ist|è|é|är|er|jest)(?:n['’]t\b| (?:not|no|wrong|incorrect|false|clearly wrong|falsch"
    r"|nicht|faux|fausse|pas|falsa|falso|incorrecta|sbagliata|errada|incorreta|fel|forkert|feil|fout))\b"
    r"| (?:неверн|не верн|неправильн|yanlış|sai\b|salah|गलत|değil|नहीं|ist falsch)|错|不对|不正确|不正確|错误|錯|は誤り|ではな|は違)",
    re.IGNORECASE,
)
_ELISION = re.compile(r"[A-Z]['’][a-zà-ÿ]|I(?= [a-z])")
"""Letters that are no choice: of "C'est" and "I'm", and the pronoun."""

_SO = re.compile(
    r"(?:[\W_]{0,6}(?:so|therefore|thus|hence|final|finally|result|por tanto|also|donc|итак|所以|因此|故)(?!\w))?",
    re.IGNORECASE,
)
_LIST_SIGNS = frozenset(".):-–—")
_LINE_START = re.compile(r"[\W_]{0,6}")
_LISTED = r"^[ \t]*[-*•]?[ \t]*[(\[]?([A-Z])[)\].:][ \t]+(\S[^\n]*?)[ \t]*$"

_ALIKE = "AАΑأঅ BВΒبব CСϹجড DДدঢ EЕΕ HНΗ IІΙ JЈ KКΚ MМΜ NΝ OОΟ PРΡ SЅ TТΤ XХΧ YУΥ ZΖ"
"""Letters that look like a Latin one or stand for it in lists of choices: Cyrillic, Greek; Arabic and Bengali."""


class _Found(NamedTuple):
    """Choices that a text names together ("A or B"), and where that ends."""

    choices: tuple[str, ...]
    end: int


class _Names(NamedTuple):
    """How the choices are called: each by a letter, or each by words; name → declared choice.

    Attributes:
        letters: by capital letter.
        loose: by other signs for these letters: small ones, look-alikes, those of other scripts.
        words: by normalised words, the longest first.
    """

    letters: dict[str, str]
    loose: dict[str, str]
    words: dict[str, str]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, pairs: tuple[tuple[str, str], ...]) -> "_Names":
        """Those of names with their choices."""
        names = dict(pairs)
        letters = {name: choice for name, choice in names.items() if len(name) == 1 and name.upper() != name.lower()}
        loose: dict[str, str] = {}
        for letter, choice in letters.items():
            alike = next((group for group in _ALIKE.split() if letter.upper() in group), letter.upper())
            loose |= {sign: choice for a in alike for sign in (a, a.lower()) if sign not in letters}
        words = {name: choice for name, choice in names.items() if name not in letters}
        longest_first = sorted(words, key=len, reverse=True)
        return cls(letters, loose, {unicodedata.normalize("NFKC", name): words[name] for name in longest_first})


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """The answer must mean exactly one choice; the choices are reference["choices"] or the scorer's option.

    A choice is a letter ("A", "(A)", "A."), words ("yes", "New York"), or both ("A. Paris"). Where the instruction lists the
    choices ("(A) Paris"), the other of letter and words is understood too, if the answer holds none of the declared ones.

    In running text a single letter counts only as a capital: the article "a" does not name choice A. A choice that is part
    of a longer one ("York", "New York") is not named by the longer one.

    Raises:
        DataError: there are fewer than two choices, or the expected answer is none of them.
    """
    choices = item.reference.get("choices", options.get("choices"))
    if (
        not isinstance(choices, list | tuple)
        or len(choices) < 2
        or not all(isinstance(c, str) and c.strip() for c in choices)
    ):
        raise item.wrong("reference.choices", "must be a list of at least two texts, here or as the option `choices`")
    choices = tuple(choices)
    letters, words = _called(choices, item.instruction)
    right = next((c for c in choices if _bare(c) == _bare(item.answer)), None) or letters.get(
        _bare(item.answer).upper()
    )
    if right is None:
        raise item.wrong("reference.answer", f"{excerpt(item.answer)!r} is none of the choices {', '.join(choices)}")

    found: list[str] = []
    for names in (letters, words) if _are_letters(choices) else (words, letters):
        chosen, named = _read(output, _Names.of(tuple(names.items()))) if names else ((), [])
        if chosen == (right,):
            return Score(True)
        if len(chosen) == 1:
            return Score(False, f"chose {chosen[0]!r}, expected {right!r}")
        if chosen:
            return Score(False, f"says that it means {len(chosen)} choices: {', '.join(chosen)}")
        found = found or named
    if not found:
        return Score(False, "names none of the choices", readable=False)
    return Score(False, f"names {len(found)} choices: {', '.join(found)}", (SEVERAL,) if right in found else ())


def _called(choices: tuple[str, ...], instruction: str) -> tuple[dict[str, str], dict[str, str]]:
    """The choices by letter and by words, as far as they or the list in the instruction have both."""
    alone = [_bare(choice) for choice in choices]
    if _are_letters(choices):
        letters = dict(zip((_cased(a, c) for a, c in zip(alone, choices)), choices))
        listed = {letter: text for letter, text in re.findall(_LISTED, instruction, re.MULTILINE) if letter in letters}
        return letters, {listed[a]: c for a, c in letters.items()} if len(listed) == len(letters) else {}
    parts = [re.match(_LISTED, choice.strip()) for choice in choices]
    if all(parts) and len({part[1] for part in parts if part}) == len(choices):
        both = [(part[1], part[2], choice) for part, choice in zip(parts, choices) if part]
        return {letter: choice for letter, _, choice in both}, {text: choice for _, text, choice in both}
    by_text = {_bare(text): letter for letter, text in re.findall(_LISTED, instruction, re.MULTILINE)}
    letters = {by_text[a]: c for a, c in zip(alone, choices) if a in by_text}
    return letters if len(letters) == len(choices) else {}, dict(zip(choices, choices))


@lru_cache(maxsize=256)
def _are_letters(choices: tuple[str, ...]) -> bool:
    return all(
        len(_bare(choice)) == 1 and _bare(choice).isalpha() and not _is_unspaced(_bare(choice)) for choice in choices
    )


_bare = lru_cache(maxsize=4096)(bare)  # of the few choices of many items


def _is_unspaced(character: str) -> bool:
    return re.match(f"[{UNSPACED}]", character) is not None


def _cased(letter: str, choice: str) -> str:
    return letter if letter in choice else letter.upper()


def _read(output: str, names: _Names) -> tuple[tuple[str, ...], list[str]]:
    """The choices that an answer means (none where it leaves that open), and all that it names."""
    text = own_part(unicodedata.normalize("NFKC", output), lambda part: bool(_named(part, names)))
    named = _named(text, names)
    announced = {found.choices for found in _announced(text, names)}
    if len(announced) == 1:
        return announced.pop(), named
    if announced:
        return (), named or sorted({choice for choices in announced for choice in choices})
    alone = {found.choices for line in dict.fromkeys(text.split("\n")) if (found := _alone(line, names))}
    ends = {found for found in (_leading(text, names), _last_line(text, names)) if found} if len(alone) < 2 else set()
    if len(ends) == 1 and len(end := ends.pop()) == 1:
        return end, named
    if len(named) == 1:
        return (named[0],), named
    if ends:
        return (), named
    preferred = {found.choices for found in _preferred(text, names)}
    return (preferred.pop() if len(preferred) == 1 else ()), named


def _named(text: str, names: _Names) -> list[str]:
    """The choices that a text names and does not only rule out, in the order of the letters, or the longest first."""
    named = []
    for letter, choice in names.letters.items():
        found = (at for at in places(text, letter) if not _ELISION.match(text, at))
        if any(not _ruled_out(text, at, at + 1) for at in found):
            named.append(choice)
    words = folded(text) if names.words else ""
    for name, choice in names.words.items():
        parts, end, meant, name = [], 0, False, folded(name)
        for start in places(words, name):
            parts.append(words[end:start])
            end = start + len(name)
            meant = meant or not _ruled_out(words, start, end)
        if parts:
            named += [choice] if meant else []
            words = "\0".join([*parts, words[end:]])
    return named


def _ruled_out(text: str, start: int, end: int) -> bool:
    """Whether what stands there is said not to be the answer: "not A", "A is wrong"."""
    return bool(_WRONG.match(text, end) or _NOT.search(text[max(0, start - 25) : start]))


def _announced(text: str, names: _Names) -> Iterator[_Found]:
    for said in _ANNOUNCED.finditer(text):
        if found := _begun_after(text, said.end(), names):
            yield found
    for words, follows in _ALONE:
        for said in words.finditer(text):
            found = _begun_after(text, said.end(), names)
            if found and follows.match(text, found.end) and "\n" not in text[said.end() : found.end]:
                yield found


def _preferred(text: str, names: _Names) -> Iterator[_Found]:
    for said in _PREFERRED.finditer(text):
        if found := _begun_after(text, said.end(), names):
            yield found
    for name, choice in (*names.letters.items(), *names.words.items()):
        for place in places(text, name):
            if _IS_CORRECT.match(text, place + len(name)):
                yield _Found((choice,), place + len(name))


def _begun_after(text: str, at: int, names: _Names) -> _Found | None:
    """The choices that begin here, or after what may open one."""
    at = _end(_OPENING, text, at)
    for _ in range(4):
        if found := _begun(text, at, names):
            return found
        at = _end(_LABELLED, text, at)
    return None


def _begun(text: str, at: int, names: _Names) -> _Found | None:
    """The choice that begins at this place, with those that are joined to it."""
    first = _one(text, at, names)
    if first is None:
        return None
    found, end = {first[0]}, first[1]
    while joined := _OR.match(text, end) or _AND.match(text, end):
        other = _one(text, _end(_OPENING, text, joined.end()), names)
        if other is None or (joined.re is _AND and not _CLOSES.match(text, other[1])):
            break
        found.add(other[0])
        end = other[1]
    return _Found(tuple(sorted(found)), end)


def _one(text: str, at: int, names: _Names) -> tuple[str, int] | None:
    """The choice that stands in the text at this place, and where it ends."""
    sign, end = text[at : at + 1], at + 1
    choice = names.letters.get(sign)
    if choice and stands(text, at, sign) and not (sign in "AI" and _ARTICLE.match(text, end)):
        return choice, end
    choice = names.loose.get(sign)
    if choice and re.match(
        r"(?!\w)(?!['’]\w)" if sign in "bcdefgh" else r"[\W_]*(?:\n|$)|[)\].:,;*}]", text[end : end + 40]
    ):
        return choice, end
    for name, called in names.words.items():
        end = at + len(name)
        if text[at:end].lower() == name.lower() and stands(text, at, name):
            return called, end
    return None


def _leading(text: str, names: _Names) -> tuple[str, ...]:
    """The choices that an answer begins with, unless it goes through a list of them."""
    start = re.match(r"[\W_]*", text)
    found = _begun_after(text, start.end() if start else 0, names)
    if found is None or not _AFTER_LEADING.match(text, found.end):
        return ()
    if _other_lines(text[found.end :], found.choices, names):
        return ()
    after = text[found.end : found.end + 2].strip()[:1]
    if after in _LIST_SIGNS:  # "A) a river, B) a lake"
        others = "|".join(re.escape(letter) for letter, choice in names.letters.items() if choice not in found.choices)
        reason = re.match(r"\W{1,3}(?:because|since)\b", text[found.end :])
        if (
            others
            and not reason
            and re.search(rf"(?<!\w)(?<!not )(?<!no )(?:{others})\s?{re.escape(after)}(?!\w)", text)
        ):
            return ()
    return found.choices


def _other_lines(text: str, choices: tuple[str, ...], names: _Names) -> bool:
    """Whether a line behind the first begins with another choice, as those of a list do."""
    for line in dict.fromkeys(text.split("\n")[1:]):  # some models repeat a line without end
        other = _begun(line, _end(_LINE_START, line, 0), names)
        if other and other.choices != choices and _AFTER_LEADING.match(line, other.end):
            return True
    return False


def _alone(line: str, names: _Names) -> _Found | None:
    found = _begun_after(line, 0, names)
    return found if found and not re.search(r"\w", line[found.end :]) else None


def _last_line(text: str, names: _Names) -> tuple[str, ...]:
    """The choices of a last line that holds nothing else, or behind its letter some words ("B) a lake")."""
    before, _, line = text.rstrip().rpartition("\n")
    found = _begun_after(line, _end(_SO, line, 0), names)
    if found is None:
        return ()
    rest = line[found.end :]
    if re.search(r"\w", rest):
        marked = before and re.match(r"[)\].:]{1,2} ", rest) and not _named(rest, names)
        return found.choices if marked and not _other_lines("\n" + before, found.choices, names) else ()
    return found.choices


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
