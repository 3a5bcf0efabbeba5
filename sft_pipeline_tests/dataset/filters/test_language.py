"""Rows in another language go; translations, names, numbers and code stay."""

import json

import pytest

from sft_pipeline.dataset.filters.language import language
from sft_pipeline.errors import SpecificationError


@pytest.fixture(scope="module")
def english():
    return language(["en"], 0.9)


def row(instruction: str, response: str) -> dict[str, str]:
    return {"instruction": instruction, "response": response}


@pytest.mark.parametrize(
    ("instruction", "response"),
    [
        ("What is 2 + 2?", "2 + 2 = 4"),
        ("2 + 2 = ?", "4"),
        ("Name a composer.", "Johann Sebastian Bach"),
        ("Name the capital of Malaysia.", "Kuala Lumpur"),
        ("List five African countries.", "Nigeria, Egypt, South Africa, Ethiopia, and Ghana."),
        ("Name five bacteria.", "Escherichia coli, Staphylococcus aureus, Salmonella enterica, Klebsiella pneumoniae"),
        ("Put it in a paragraph.\nlorem ipsum dolor sit amet", "<p>Lorem ipsum dolor sit amet, consectetur elit.</p>"),
        ("Add one.", "def add(x):\n    return x + 1\n\nprint(add(41))"),
        ("As JSON.", '{"nombre": "Ana", "edad": 31, "ids": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}'),
        ("Make a password.", "x9!Kq#7z@Lm2$"),
        ("Reply with emoji only.", "😀🎉🚀" * 20),
        ("Translate to French: Where is the nearest store?", "Où est le magasin le plus proche, s'il vous plaît ?"),
        ("Say how you are in Spanish.", "Estoy muy bien, muchas gracias por preguntar, ¿y usted?"),
        ("Where is it?\nTranslate the text.\nLe chat dort sur le canapé du salon.", "The cat sleeps on the sofa."),
        ("Où est la gare la plus proche, s'il vous plaît ?", "It asks where the nearest train station is."),
        ("", ""),
    ],
)
def test_what_is_english_or_asks_for_another_language_or_is_undecided_stays(english, instruction, response):
    assert english([row(instruction, response)]) == [None]


@pytest.mark.parametrize(
    ("instruction", "response", "code"),
    [
        ("Combien de côtés a un triangle ?", "Un triangle a trois côtés.", "fr"),
        ("Explique como funciona a fotossíntese nas plantas.", "As plantas usam a luz do sol como energia.", "pt"),
        ("Koji je glavni grad Hrvatske?", "Glavni grad Republike Hrvatske je Zagreb.", "hr"),
        ("写一首关于春天的诗。", "春风吹绿了山坡，花儿在阳光下开放。", "zh"),
        (
            "How do plants eat?",
            "Die Pflanze wandelt das Licht der Sonne in Energie um und speichert sie als Zucker.",
            "de",
        ),
        ("How does a plant eat?", "植物通过光合作用把阳光变成养分。", "zh"),
    ],
)
def test_a_row_or_an_unasked_response_in_another_language_is_dropped_and_named(english, instruction, response, code):
    (hit,) = english([row(instruction, response)])
    assert f"in another language: {code}, probability" in hit.reason and response in hit.matched


def test_every_wanted_language_stays_and_the_verdicts_come_in_the_order_of_the_rows():
    rows = [
        row("Wie funktioniert die Photosynthese?", "Die Pflanze wandelt Licht in chemische Energie um."),
        row("Combien de côtés a un triangle ?", "Un triangle a trois côtés."),
        row("How does photosynthesis work?", "The plant turns light into chemical energy."),
        row("Übersetze ins Englische: Das Wetter ist heute sehr schön.", "The weather is very nice today."),
    ]
    assert [bool(hit) for hit in language(["de"], 0.9)(rows)] == [False, True, True, False]
    assert [bool(hit) for hit in language(["de", "en"], 0.9)(rows)] == [False, True, False, False]


def test_a_less_probable_language_is_undecided_under_a_higher_threshold():
    # A list of dishes that the model takes for Aragonese.
    dishes = row("Popular dishes?", "Tacos, burritos, tortillas, enchiladas, tamales, quesadillas, guacamole")
    assert language(["en"], 0.3)([dishes]) != [None] and language(["en"], 0.999)([dishes]) == [None]


def test_an_unknown_code_is_refused_with_the_known_ones():
    with pytest.raises(SpecificationError, match="unknown english; known are .*, en, "):
        language(["english"], 0.9)


def test_a_huge_response_takes_no_longer_than_its_beginning(english):
    assert english([row("Say it often.", "Das ist ein Satz ohne Sinn und Verstand. " * 250_000)])[0]


@pytest.mark.slow
@pytest.mark.real_data
def test_chinese_items_are_found_and_alpaca_stays(real_data, english):
    file = real_data / "decontaminator" / "rephrase" / "sociology_test_chinese_filtered_question.jsonl"
    chinese = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    assert sum(map(bool, english([row(text, text) for text in chinese]))) >= 0.99 * len(chinese) > 190
    alpaca = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text())[:5000]
    hits = english([row(f"{item['instruction']}\n{item['input']}", item["output"]) for item in alpaca])
    assert sum(map(bool, hits)) == 0
