"""The normal form on which every comparison rests."""

from hypothesis import given
from hypothesis import strategies as st

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
