"""The normal form on which every comparison rests."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.dataset import text as rules
from sft_pipeline.dataset.text import (
    jaccard,
    ngrams,
    normalise,
    repeated_share,
    shingles,
    shows,
    trimmed,
    word_count,
    words,
)


def test_normal_form_ignores_case_width_and_space_but_not_punctuation():
    assert normalise("  What IS\n２+2? ") == "what is 2+2?"
    assert normalise("3 > 2") != normalise("3 < 2")
    assert normalise("STRASSE") == normalise("straße")


def test_exponents_and_indices_of_formulas_are_no_plain_digits():
    assert normalise("Compute 2⁵.") != normalise("Compute 25.")
    assert (words("2⁵ x₁"), words("25 x1")) == (["2⁵", "x₁"], ["25", "x1"])
    assert normalise("The ５ᵗʰ ＫＭ²") == "the 5th km²"


def test_words_leave_punctuation_out_and_count_unspaced_scripts_by_character():
    assert words("Don't stop — 3.5 km!") == ["don", "t", "stop", "3", "5", "km"]
    assert words("法国的首都") == list("法国的首都")
    assert words("東京 Tower") == ["東", "京", "tower"]


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_the_same_text_among_others(text):
    assert words(text) == words(f"{text} é")[:-1]


def test_a_text_shorter_than_a_shingle_is_one_shingle():
    assert shingles("Hello there", 3) == {"hello there"}
    assert shingles("a b c d", 3) == {"a b c", "b c d"}


def test_texts_without_words_are_compared_by_their_characters():
    assert shingles("🙂🙂", 3) == {"🙂🙂"} != shingles("🙃", 3)
    assert shingles("", 3) == {""}


def test_ngrams_of_a_short_text_are_none():
    assert ngrams(["a", "b"], 3) == []
    assert ngrams(["a", "b", "c"], 2) == ["a b", "b c"]


def test_jaccard():
    assert jaccard(frozenset("abc"), frozenset("bcd")) == 0.5
    assert jaccard(frozenset("a"), frozenset("a")) == 1


def test_repetition_is_measured_in_words_or_where_none_are_parted_in_characters():
    assert repeated_share("a b c d " * 10) > 0.8 and repeated_share("one two three") == 0
    assert repeated_share("我不知道" * 20) > 0.9 and repeated_share("ผมไม่รู้ครับ" * 20) > 0.8
    assert repeated_share("春天来了，花开了，鸟儿在树上唱歌，孩子们在公园里放风筝，大家都很高兴。") == 0
    assert repeated_share("我 不 知 道 " * 20) == repeated_share("a b c d " * 20)


def test_words_are_guessed_from_characters_where_no_spaces_part_them():
    assert word_count("two words") == 2 and word_count("") == 0
    assert word_count("北京大学") == 2 and word_count("กรุงเทพมหานคร") == 3 and word_count("서울 대학교") == 2


def test_what_does_not_show_is_no_text_and_is_trimmed():
    assert not shows(" \u200b\ufeff\n") and shows("\u200b.")
    assert trimmed("\ufeff a\u200bb \u2060\n") == "a\u200bb"


STAY = {  # pairs of different sentences that differ in a vowel sign or another mark alone
    "Devanagari": ("यह दिन अच्छा है", "यह दान अच्छा है"),
    "Bengali": ("আমি বল খেলি", "আমি বিল খেলি"),
    "Gurmukhi": ("ਇਹ ਦਿਨ ਚੰਗਾ ਹੈ", "ਇਹ ਦਾਨ ਚੰਗਾ ਹੈ"),
    "Gujarati": ("આ દિન સારો છે", "આ દાન સારો છે"),
    "Tamil": ("அவன் படி என்றான்", "அவன் பாடி என்றான்"),
    "Telugu": ("ఇది పాలు", "ఇది పులు"),
    "Kannada": ("ಇದು ಕಲೆ", "ಇದು ಕಾಲೆ"),
    "Malayalam": ("ഇത് കല", "ഇത് കാല"),
    "Sinhala": ("මේ කල", "මේ කාල"),
    "Thai": ("เขามีไม้ใหม่", "เขามีไม่ใหม่"),
    "Lao": ("ລາວມີປາ", "ລາວມີປ່າ"),
    "Khmer": ("គាត់មានកូន", "គាត់មានកាន"),
    "Burmese": ("သူ မာ သည်", "သူ မိ သည်"),
    "Tibetan": ("དེ་རིང་ཡོད", "དེ་རེང་ཡོད"),
    "Arabic": ("كَتَبَ الدرس", "كُتِبَ الدرس"),
    "Hebrew": ("סֵפֶר טוב", "סַפָּר טוב"),
    "Chinese": ("今天天气很好", "今天天气不好"),
    "Japanese": ("ここはきれいです", "ここはぎれいです"),
    "Korean": ("오늘 날씨가 좋다", "오늘 날씨가 춥다"),
    "Vietnamese": ("con ma ở đây", "con má ở đây"),
    "Cyrillic": ("он пьет чай", "он льет чай"),
    "Greek": ("ο νόμος είναι", "ο νομός είναι"),
}
GO = {  # two spellings of the same sentence
    "Devanagari": ("क़लम यहाँ है", "क\u093cलम यहाँ है।"),
    "Bengali": ("সে গো বলে", "সে গ\u09c7\u09be বলে"),
    "Tamil": ("அவன் கொடு", "அவன் க\u0bc6\u0bbeடு"),
    "Thai": ("น้ำใสมาก", "น้\u0e4dาใสมาก"),
    "Lao": ("ນ້ຳດີ", "ນ້\u0ecdາດີ"),
    "Khmer": ("គាត់មានកូន", "គាត់\u200bមាន\u200bកូន"),
    "Arabic": ("الكتاب جديد", "ﺍﻟﻜﺘﺎﺏ جديد"),
    "Hebrew": ("שׁלום", "\ufb2aלום"),
    "Chinese": ("今天天气很好", "今天天气很好。"),
    "Japanese": ("ガラスです", "ｶﾞﾗｽです"),
    "Korean": ("오늘 날씨", unicodedata.normalize("NFD", "오늘 날씨")),
    "Vietnamese": ("con má ở đây", unicodedata.normalize("NFD", "Con Má ở đây!")),
    "Cyrillic": ("Он пьёт чай", unicodedata.normalize("NFD", "он пьёт чай.")),
    "Greek": ("Ο ΝΌΜΟΣ", "ο νόμος"),
    "Latin": ("the capital of France", "the cap\u00adital of Fr\u200bance"),
}


@pytest.mark.parametrize("script", STAY)
def test_texts_that_differ_in_a_mark_are_different_words(script):
    one, other = STAY[script]
    assert words(one) != words(other)
    assert jaccard(shingles(one, 3), shingles(other, 3)) < 0.7


@pytest.mark.parametrize("script", GO)
def test_spellings_of_the_same_text_are_the_same_words(script):
    one, other = GO[script]
    assert words(one) == words(other)


def test_no_character_of_a_word_is_lost():
    for text in (text for pair in (*STAY.values(), *GO.values()) for text in pair):
        kept = normalise(text).translate({ord(c): None for c in " ।་.!。"})
        assert "".join(words(text)) == kept


@pytest.mark.parametrize("text", ["ภาษาไทย", "ພາສາລາວ", "ភាសា", "မြန်မာ", "今天", "きょう"])
def test_scripts_without_spaces_are_counted_by_characters_with_their_marks(text):
    assert len(words(text)) == sum(not unicodedata.category(c).startswith("M") for c in normalise(text))


def test_symbols_and_their_selectors_are_no_words():
    assert words("I ❤️ you 👩\u200d👧") == ["i", "you"]
    assert words("می\u200cخواهم") == ["می\u200cخواهم"]


def test_the_quick_way_to_words_finds_what_the_whole_rule_finds():
    usual = [chr(c) for c in range(0x3000) if rules._USUAL.fullmatch(chr(c))]
    assert {"é", "ß", "λ", "ж", "–", "…", "€", "≤"} <= set(usual) and not {"\u0301", "\u203f", "क", "あ"} & set(usual)
    for folded in filter(rules._USUAL.fullmatch, (rules._fold(f"a{character}b {character}") for character in usual)):
        assert rules._USUAL_WORD.findall(folded) == rules._WORD.findall(folded)


def test_a_line_made_longer_is_the_same_word():
    assert words("كـتـاب") == words("كتاب") and normalise("كـتـاب") == normalise("كتاب")
