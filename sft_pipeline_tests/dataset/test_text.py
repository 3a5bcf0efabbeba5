"""The normal form on which every comparison rests."""

from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.dataset.text import jaccard, ngrams, normalise, shingles, words


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
