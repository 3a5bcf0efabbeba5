"""Personal data by Presidio's recognisers; numbers, examples and private addresses are nobody's."""

import json
import socket
import sys

import pytest

from sft_pipeline.dataset.filters.personal_data import personal_data
from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.experiment import PersonalData


@pytest.fixture(scope="module", autouse=True)
def presidio():
    """Imported here, not by every process that collects the tests: it brings torch with it."""
    pytest.importorskip("presidio_analyzer", reason="needs the extra personal-data")


def row(text: str) -> dict[str, str]:
    return {"instruction": "Say something.", "response": text}


@pytest.fixture(scope="module")
def judge():
    return personal_data(PersonalData())


@pytest.mark.parametrize(
    ("text", "entity", "matched"),
    [
        ("Write to jane.doe@gmail.com today.", "EMAIL_ADDRESS", "jane.doe@gmail.com"),
        ("Post: j_d+x@mail.uni-koeln.de", "EMAIL_ADDRESS", "j_d+x@mail.uni-koeln.de"),
        ("Please call me at (732) 830-9763.", "PHONE_NUMBER", "(732) 830-9763"),
        ("My phone number is +44 20 7946 0958", "PHONE_NUMBER", "+44 20 7946 0958"),
        ("Then (212) 684-4700 answered.", "PHONE_NUMBER", "(212) 684-4700"),  # valid, and grouped as there
        ("Ruf an: +49 30 901820", "PHONE_NUMBER", "+49 30 901820"),
        ("Appelez le 01 42 68 53 00.", "PHONE_NUMBER", "01 42 68 53 00"),
        ("Card: 4111 1111 1111 1111", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("Use 2223 0031 2200 3222.", "CREDIT_CARD", "2223 0031 2200 3222"),  # Mastercard's second range
        ("Use 3530 1113 3330 0000.", "CREDIT_CARD", "3530 1113 3330 0000"),  # JCB
        ("Use 213176828496175.", "CREDIT_CARD", "213176828496175"),  # JCB, fifteen digits
        ("Use 4131034282458809939.", "CREDIT_CARD", "4131034282458809939"),  # Visa, nineteen digits
        ("Use 6759 6498 2643 8453.", "CREDIT_CARD", "6759 6498 2643 8453"),  # Maestro
        ("My card is 501864667909.", "CREDIT_CARD", "501864667909"),  # Maestro, twelve digits
        ("Use 3782-822463-10005.", "CREDIT_CARD", "3782-822463-10005"),  # American Express
        ("Pay to DE89 3704 0044 0532 0130 00 please", "IBAN_CODE", "DE89 3704 0044 0532 0130 00"),
        ("Her social security number is 536-22-8726.", "US_SSN", "536-22-8726"),
        ("The login came from 59.187.84.127", "IP_ADDRESS", "59.187.84.127"),
    ],
)
def test_each_entity_is_found_named_and_shown(judge, text, entity, matched):
    (hit,) = judge([row(text)])
    assert hit.reason.startswith(f"personal data in the response: {entity} (score ") and hit.matched == matched
    (asked,) = judge([{"instruction": text, "response": "Yes."}])
    assert asked.reason.startswith(f"personal data in the instruction: {entity} ")


@pytest.mark.parametrize(
    "text",
    [
        "Write to john@example.com or to anyone@mail.example.org.",  # reserved for examples
        "user@localhost, a@b, @name, name@",
        "The router has 192.168.0.1, the mask is 255.255.255.0, this host is 127.0.0.1.",
        "reversed = text[::-1]",
        "The hypotenuse is 6.4031242374328485.",  # passes the checksum of a card
        "The binary notation of 12707 is 11000000011111.",
        "Pi is 3.1415926535 and the Great Fire was in 1666, that of Salem in 1692-1693.",
        "The binary phone number is 0101011000",
        "DE89 3704 0044 0532 0130 01 has a wrong checksum, 4111 1111 1111 1112 too.",
        "Order 666-00-0000 was shipped.",
        "Order 501864667909 was shipped.",  # twelve digits that pass the checksum
        "60000 - 10800 = 49200, 960-480-120=360, 18.3333333, 2019-2020, 2020-01-30, 30.01.2020",
        "The restaurant is at 17151 2450 Crown St, by 12.5.2400.1.",
        "",
    ],
)
def test_what_only_looks_like_personal_data_stays(judge, text):
    assert judge([row(text)]) == [None]


def test_several_findings_are_reported_together_once_each(judge):
    (hit,) = judge([row("Email: a.b@gmail.com or c.d@gmail.com, phone: 212-555-0187")])
    assert hit.reason.count("EMAIL_ADDRESS") == 1 and "PHONE_NUMBER" in hit.reason
    assert hit.matched == "a.b@gmail.com; c.d@gmail.com; 212-555-0187"


@pytest.mark.slow
def test_only_the_wanted_entities_count_and_only_from_the_wanted_score():
    texts = [row("a.b@gmail.com"), row("The login came from 59.187.84.127"), row("Then 2126844700 answered.")]
    found = [bool(hit) for hit in personal_data(PersonalData(entities=("IP_ADDRESS",)))(texts)]
    assert found == [False, True, False]
    # The digits of a phone number without a word such as "phone" before them have a score of 0.4.
    assert [bool(hit) for hit in personal_data(PersonalData())(texts)] == [True, True, False]
    assert [bool(hit) for hit in personal_data(PersonalData(min_score=0.4))(texts)] == [True, True, True]


def test_an_unknown_entity_is_refused_with_the_known_ones():
    with pytest.raises(SpecificationError, match="unknown PERSON; known are CREDIT_CARD, .*EMAIL_ADDRESS"):
        personal_data(PersonalData(entities=("EMAIL_ADDRESS", "PERSON")))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(DataError, match=r"pip install 'sft-pipeline\[personal-data\]'"):
        personal_data(PersonalData())


def test_no_network_is_asked_for(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert personal_data(PersonalData())([row("jane.doe@gmail.com")])[0]


def test_a_long_text_of_dots_takes_no_quadratic_time(judge):
    assert judge([row("a." * 100_000 + "@")]) == [None]  # Presidio's own pattern runs into its timeout of a minute


@pytest.mark.slow
@pytest.mark.real_data
def test_alpaca_holds_what_was_read(real_data, judge):
    items = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text())[:8000]
    hits = judge([{"instruction": f"{i['instruction']}\n{i['input']}", "response": i["output"]} for i in items])
    assert [i for i, hit in enumerate(hits) if hit] == [1403, 3235, 3652, 4177, 6910, 7313]
