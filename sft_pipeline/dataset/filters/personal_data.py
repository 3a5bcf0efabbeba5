"""Personal data, by the pattern recognisers of Presidio (the extra `personal-data`): no model, no network.

Presidio's engine wants a spaCy pipeline. A blank one is enough here: it only cuts the text into words, so that a context
word ("phone", "card") before a finding raises its score; names of persons, which need a model, are not looked for.
"""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.experiment import PersonalData

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerResult

# Digits that only look like a number of something: the end of a decimal fraction, a binary number.
_FRACTION = re.compile(r"\d\.$")
_BINARY = re.compile(r"[01\W]+")

_LONG_NUMBER = re.compile(r"\d(?:[\s().\-/]{0,3}\d){6,}")
# What else than a telephone number has seven digits in groups: a fraction, years, a date, a social security number, an IP
# address, two numbers side by side.
_NO_PHONE = re.compile(
    r"\d+[.,]\d+|(?:19|20)\d\d ?[-/–] ?(?:19|20)\d\d|\d{4}[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./]\d{4}"
    r"|\d{3}-\d\d-\d{4}|\d{1,3}(?:\.\d{1,3}){3}|[1-9]\d*[ .-]\d+"
)
_CALCULATED_BEFORE, _CALCULATED_AFTER = re.compile(r"[=$€£*/<>+]\s*$"), re.compile(r"\s*[=<>*/+%-]")
_REGIONS = (
    ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")  # Presidio's
    + ("AU", "NZ", "CH", "AT", "NL", "BE", "ES", "IT", "PL", "SE", "FI", "PT", "IE", "JP", "KR", "MX", "ZA", "TR", "CZ")
)
"""Regions whose way of grouping a number shows that it is one. Eight digits in two groups, as in Denmark, show nothing."""

# The networks' ranges with the lengths of their numbers (ISO/IEC 7812), and Maestro's short numbers.
_CARD = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|222[1-9]|22[3-9]|2[3-6]\d|27[01]|2720)\d+(?<=^.{16})|3[47]\d{13}"
    r"|(?:30[0-59]|36|3[89])\d+(?<=^.{14})|35\d{14,17}|(?:1800|2131)\d{11}|6\d{15,18}|5[06-8]\d{14,17}"
)
_SHORT_CARD = re.compile(r"(?:5[06-8]|6\d|06)\d{10,13}")


def personal_data(settings: PersonalData) -> Filter:
    """A filter that rejects rows in which one of the entities is found with at least `min_score`.

    E-mail addresses of the domains reserved for examples (RFC 2606) and IP addresses that are not global (private,
    loopback, masks; the registries of RFC 6890) are nobody's and do not count.

    Raises:
        DataError: the extra is not installed.
        SpecificationError: an entity that no recogniser finds.
    """
    try:
        recognisers = _recognisers()
    except ModuleNotFoundError as error:
        raise DataError(
            f"data.quality.personal_data looks for personal data with Presidio, but {error.name} is not installed: "
            "pip install 'sft-pipeline[personal-data]'."
        ) from error
    known = {entity for recogniser in recognisers for entity in recogniser.supported_entities}
    if unknown := set(settings.entities) - known:
        raise SpecificationError(
            f"data.quality.personal_data.entities: unknown {', '.join(sorted(unknown))}; "
            f"known are {', '.join(sorted(known))}."
        )
    wanted = [recogniser for recogniser in recognisers if set(recogniser.supported_entities) & set(settings.entities)]
    engine = _engine(wanted)
    entities = list(settings.entities)

    def findings(text: str) -> Iterator[tuple[str, float, str]]:
        # Words are only cut where something is found: context can raise a score but finds nothing by itself.
        if any(recogniser.analyze(text, entities, None) for recogniser in wanted):  # type: ignore[arg-type]
            found = engine.analyze(text, language="en", entities=entities, score_threshold=settings.min_score)
            for one in sorted(found, key=lambda one: (one.start, one.end, one.entity_type)):
                matched = text[one.start : one.end]
                if not _FRACTION.search(text[max(0, one.start - 2) : one.start]) and not _BINARY.fullmatch(matched):
                    yield one.entity_type, one.score, matched

    def check(row: Row) -> Hit | None:
        for field in ("instruction", "response"):
            if found := list(findings(row[field])):
                scores = {entity: max(s for e, s, _ in found if e == entity) for entity, *_ in found}
                names = ", ".join(f"{entity} (score {score:.2f})" for entity, score in scores.items())
                return Hit(f"personal data in the {field}: {names}", "; ".join(matched for *_, matched in found))
        return None

    return lambda rows: [check(row) for row in rows]


def _recognisers() -> "list[EntityRecognizer]":
    """Presidio's own recognisers for English, with other rules for four.

    An e-mail or IP address must be somebody's. A telephone number counts by itself where phonenumbers calls it valid and it
    is written with its country code, or grouped as its region does; otherwise a word such as "phone" before it has to raise
    its score. Cards are those of all networks, with their lengths and the checksum.
    """
    from phonenumbers import Leniency, PhoneNumberMatcher
    from presidio_analyzer import Pattern, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NoOpNlpEngine
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IpRecognizer,
        PhoneRecognizer,
    )
    from tldextract import TLDExtract

    # The list of top-level domains in the package; by default it would be fetched from the network.
    domains = TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Email(EmailRecognizer):
        def validate_result(self, pattern_text: str) -> bool:
            domain = domains(pattern_text).top_domain_under_public_suffix
            return domain not in ("", "example.com", "example.net", "example.org")

    class Ip(IpRecognizer):
        def invalidate_result(self, pattern_text: str) -> bool:
            return (
                bool(super().invalidate_result(pattern_text)) or not ipaddress.ip_interface(pattern_text).ip.is_global
            )

    class Phone(PhoneRecognizer):
        def analyze(self, text: str, *arguments: Any, **named: Any) -> "list[RecognizerResult]":
            # Some region calls nearly every year a number; most texts hold no longer one, which saves the time.
            if not _LONG_NUMBER.search(text):
                return []
            found = [
                one for one in super().analyze(text, *arguments, **named) if _digits(text[one.start : one.end]) > 6
            ]
            for region in (None, *_REGIONS):
                leniency = Leniency.STRICT_GROUPING if region else Leniency.VALID
                for match in PhoneNumberMatcher(text, region, leniency=leniency):
                    if _is_grouped(match.raw_string) and not _is_calculated(text, match.start, match.end):
                        found.append(self._get_recognizer_result(match, text, region, None))
                        found[-1].score = 0.75
            return self.remove_duplicates(found)

    class Card(CreditCardRecognizer):
        def validate_result(self, pattern_text: str) -> Any:
            digits = re.sub("[ -]", "", pattern_text)
            if not super().validate_result(pattern_text):
                return False
            # One in ten numbers of twelve digits passes the checksum: there a word such as "card" has to be near.
            return True if _CARD.fullmatch(digits) else None if _SHORT_CARD.fullmatch(digits) else False

    # Presidio's pattern with the lengths that RFC 5321 allows: without them the time grows with the square of a text.
    bounded = (
        r"\b[!#$%&'*+\-/=?^_`{|}~\w](?:[!#$%&'*+\-/=?^_`{|}~.\w]{0,62}[!#$%&'*+\-/=?^_`{|}~\w])?"
        r"@(?:\w(?:[\w-]{0,61}\w)?\.){1,10}\w(?:[\w-]{0,61}\w)?\b"
    )
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(
        languages=["en"], nlp_engine=NoOpNlpEngine([{"lang_code": "en", "model_name": ""}])
    )
    card = Pattern("card", r"\b\d{4}(?:[ -]?\d{3,6}){2,4}\b", 0.3)
    own = (EmailRecognizer, IpRecognizer, PhoneRecognizer, CreditCardRecognizer)
    kept = [one for one in registry.recognizers if not isinstance(one, own)]
    return [*kept, Email(patterns=[Pattern("E-mail", bounded, 0.5)]), Ip(), Phone(), Card(patterns=[card])]


def _is_grouped(number: str) -> bool:
    """Whether a number is written in groups of seven digits and more, as dates and fractions are not."""
    return not number.strip().isdigit() and _digits(number) > 6 and not _NO_PHONE.fullmatch(number.strip())


def _is_calculated(text: str, start: int, end: int) -> bool:
    return bool(_CALCULATED_BEFORE.search(text[max(0, start - 4) : start]) or _CALCULATED_AFTER.match(text[end:]))


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _engine(recognisers: "Sequence[EntityRecognizer]") -> "AnalyzerEngine":
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, NoOpNlpEngine

    class Words(NoOpNlpEngine):
        def process_text(self, text: str, language: str) -> NlpArtifacts:
            words = blank.make_doc(text)
            lemmas = [word.lower_ for word in words]
            return NlpArtifacts([], words, [word.idx for word in words], lemmas, self, language, [])

    blank: Any = spacy.blank("en")
    blank.max_length = 2**31
    registry = RecognizerRegistry(list(recognisers), supported_languages=["en"])
    return AnalyzerEngine(registry, Words([{"lang_code": "en", "model_name": ""}]))
