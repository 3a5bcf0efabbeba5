"""The language of a row, by py3langid: naive Bayes over byte n-grams, its model in the wheel, no network, no pickle.

A response in a wanted language makes the row a wanted one, and a translation is no fault where the instruction asks for
it. The response alone is often a name, a list of names or code, so one other language must be probable by itself. The row
as a whole says more: there the probabilities of close relatives (Croatian and Bosnian) are added up.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.errors import SpecificationError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LETTERS = 25
"""Bytes of letters (UTF-8, so that a Chinese character counts three) that a text needs to be judged."""

_CHARACTERS = 2000
"""Characters of a text that are judged: enough for any verdict, and a huge response does not take minutes."""

# No evidence of another language: zxx is text without language. Lists of species, chemical elements, Roman names and
# "lorem ipsum" are found to be Latin, lists of African countries and short English to be Nigerian Pidgin.
_UNDECIDED = frozenset(("zxx", "la", "pcm"))

# What an English instruction says that asks for another language, or for names and titles in one.
_ASKS = re.compile(
    r"translat|locali[sz]|\blanguages?\b|\b(?:Afrikaans|Albanian|Amharic|Arabic|Armenian|Azerbaijani|Basque|Belarusian"
    r"|Bengali|Bosnian|Breton|Bulgarian|Burmese|Cantonese|Catalan|Chinese|Creole|Croatian|Czech|Danish|Dutch|Esperanto"
    r"|Estonian|Farsi|Filipino|Finnish|French|Gaelic|Galician|Georgian|German|Greek|Gujarati|Hausa|Hebrew|Hindi"
    r"|Hungarian|Icelandic|Igbo|Indonesian|Irish|Italian|Japanese|Javanese|Kannada|Kazakh|Khmer|Korean|Kurdish|Kyrgyz"
    r"|Lao|Latin|Latvian|Lithuanian|Luxembourgish|Macedonian|Malagasy|Malay|Malayalam|Maltese|Mandarin|Marathi"
    r"|Mongolian|Nepali|Norwegian|Pashto|Persian|Pidgin|Polish|Portuguese|Punjabi|Quechua|Romanian|Russian|Sanskrit"
    r"|Serbian|Sinhala|Slovak|Slovene|Slovenian|Somali|Spanish|Swahili|Swedish|Tagalog|Tajik|Tamil|Tatar|Telugu|Thai"
    r"|Tibetan|Turkish|Turkmen|Ukrainian|Urdu|Uyghur|Uzbek|Vietnamese|Welsh|Xhosa|Yiddish|Yoruba|Zulu)\b",
    re.IGNORECASE,
)


def language(wanted: Sequence[str], least: float) -> Filter:
    """A filter that rejects rows in another language; what is short, undecided, or hardly letters is kept.

    The response alone is judged only where English is wanted: in instructions of other languages it is unknown
    whether they ask for a translation.

    Args:
        wanted: ISO 639 codes of the languages to keep.
        least: probability of another language from which on a row is rejected.

    Raises:
        SpecificationError: a code that the model does not know.
    """
    identifier = _identifier()
    if unknown := set(wanted) - set(identifier.labels):
        raise SpecificationError(
            f"data.quality.languages: unknown {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(identifier.labels))}."
        )

    def share(found: Mapping[str, float]) -> float:
        return sum(found[code] for code in wanted)

    def other(found: Mapping[str, float]) -> tuple[str, float]:
        """The most probable other language, and the probability of all of them together."""
        others = {code: found[code] for code in found if code not in wanted and code not in _UNDECIDED}
        return max(others, key=others.__getitem__), sum(others.values())

    def check(row: Row) -> Hit | None:
        instruction, response = row["instruction"][:_CHARACTERS], row["response"][:_CHARACTERS]
        if "en" in wanted and _ASKS.search(instruction):
            return None
        if _judged(response):
            found = dict(identifier.rank(response))
            if share(found) >= 0.5:
                return None
            code, others = other(found)
            # No name is written in another script, so there the relatives (Mandarin, Wu, Cantonese) may be added up.
            probability = others if _other_script(response) else found[code]
            if "en" in wanted and probability >= least:
                reason = f"the response is in another language: {code}, probability {probability:.3f}"
                return Hit(f"{reason}, and the instruction does not ask for one", response)
        if not _judged(whole := f"{instruction}\n{response}"):
            return None
        found = dict(identifier.rank(whole))
        code, others = other(found)
        # The sum of many improbable languages says nothing, nor do names in a row whose instruction is as wanted.
        if others < least or found[code] < least / 2 or share(dict(identifier.rank(instruction))) >= 0.5:
            return None
        return Hit(f"the row is in another language: {code}, probability {others:.3f}", whole)

    return lambda rows: [check(row) for row in rows]


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _other_script(text: str) -> bool:
    """Whether most letters are not Latin: these take at least two bytes each."""
    letters = "".join(filter(str.isalpha, text))
    return len(letters.encode()) > 1.6 * len(letters)


def _judged(text: str) -> bool:
    """Whether `text` has enough letters, and at least as many (in bytes) as other visible characters."""
    letters = len("".join(filter(str.isalpha, text)).encode())
    return letters >= _LETTERS and 2 * letters >= len("".join(text.split()).encode(errors="replace"))
