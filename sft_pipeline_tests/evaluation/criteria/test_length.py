"""Length: the disguises of a scorer that measures it, and honest models that look alike."""

import random
from dataclasses import replace

import pytest

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.pair import Pair

AGREE = Agreement(n=100, agreed=95, kappa=0.9, interval=(0.8, 1.0))


def by_length(n, base, sft, success, type="t", **fields):
    """`n` pairs with lengths from the two functions, of which `success` judges each."""
    made = []
    for k in range(n):
        lengths = base(k), sft(k)
        made.append(Pair(f"{type}{k}", type, *map(success, lengths), *lengths, **fields))
    return made


def refused(decision):
    return {r.criterion for r in decision.reasons if r.outcome == "refused"}


@pytest.mark.parametrize("unit", ["words", "tokens"])
def test_a_limit_in_words_or_in_tokens_is_found_where_characters_blur_it(decided, reason, unit):
    rng = random.Random(5)
    table = []
    for k in range(300):
        lengths = [rng.randint(40, 200), rng.randint(20, 100)]
        characters = [round(length * rng.uniform(3, 7)) for length in lengths]
        counted = {f"base_{unit}": lengths[0], f"sft_{unit}": lengths[1]}
        table.append(Pair(str(k), "t", lengths[0] <= 128, lengths[1] <= 128, *characters, **counted))
    decision = decided(table)
    assert min(decision.length.rules[0].recalls) < 0.95
    assert decision.length.artefact.unit == unit
    assert "score and length" in refused(decision)


def test_a_verifier_that_counts_characters_is_refused_all_the_same(decided):
    rng = random.Random(6)
    table = by_length(
        300, lambda k: rng.randint(100, 900), lambda k: rng.randint(50, 400), lambda n: n <= 500, verified=True
    )
    assert "score and length" in refused(decided(table))
    # Labels may have been taken from the short answers only.
    assert "score and length" in refused(decided(table, agreement=AGREE))


def test_a_type_whose_score_is_length_does_not_hide_among_others(decided, reason):
    rng = random.Random(7)
    bad = by_length(
        100, lambda k: rng.randint(100, 900), lambda k: rng.randint(50, 400), lambda n: n <= 500, type="essay"
    )
    rest = []
    for k in range(300):
        base = rng.random() < 0.5
        rest.append(Pair(f"r{k}", "sum", base, base != (k < 12), rng.randint(20, 60), rng.randint(20, 60)))
    decision = decided(bad + rest)
    assert decision.length.artefact is None
    assert "score and length by type" in refused(decision)
    assert "essay" in reason(decision, "score and length by type").detail

    better = [replace(p, sft=True) if k < 200 else p for k, p in enumerate(rest)]
    decision = decided(bad + better)
    assert (reason(decision, "score and length by type").outcome, decision.verdict) == ("info", "pass")


def rambling(**won):
    """A base that is right and brief, or rambles and fails; a model that is brief and right. A third of both fail briefly."""
    table = [Pair(f"a{k}", "t", True, True, 20, 20) for k in range(100)]
    table += [Pair(f"b{k}", "t", False, False, 20, 20) for k in range(100)]
    return table + [Pair(f"c{k}", "t", False, True, 400, 20, **won) for k in range(100)]


def test_a_lift_that_is_absent_at_similar_length_needs_a_reason_to_be_believed(decided, reason):
    decision = decided(rambling())
    assert refused(decision) == {"similar lengths"}
    assert decision.length.artefact is None and decision.length.survives == "no"
    for support in ({"base_has_answer": False}, {"verified": True}):
        assert decided(rambling(**support)).verdict == "pass"
    assert decided(rambling(), agreement=AGREE).verdict == "pass"
    assert "similar lengths" in refused(decided(rambling(base_has_answer=True, verified=True)))


def test_a_right_answer_in_the_wrong_form_is_told(decided, reason, pairs):
    decision = decided(pairs(20, 5, 60, 175) + pairs(won=40, type="u", base_has_answer=True))
    assert decision.verdict == "pass"
    assert "in 40 of 100 won pairs" in reason(decision, "form or substance").detail
    assert "Without those pairs the lift is +21.2 points" in reason(decision, "form or substance").detail


def test_a_lift_that_is_all_form_is_refused(decided, reason, pairs):
    """A base that never stops fails an exact match although its first line is right; a stop string would do as well."""
    rightly = pairs(20, 5, 4, 171, verified=True)
    decision = decided(rightly + pairs(won=100, type="u", base_has_answer=True, verified=True))
    assert (reason(decision, "form or substance").outcome, decision.verdict) == ("refused", "refused")
    assert "same stop strings" in reason(decision, "form or substance").detail


def test_a_scorer_of_length_that_errs_at_times_leaves_no_lift_at_similar_length(decided):
    rng = random.Random(8)
    table = by_length(
        300,
        lambda k: rng.randint(100, 900),
        lambda k: rng.randint(50, 450),
        lambda n: (n <= 500) != (rng.random() < 0.1),
    )
    assert refused(decided(table)) == {"similar lengths"}


def test_without_the_answers_a_lift_is_refused_and_its_absence_fails(pairs, decided, reason):
    assert decided(pairs(20, 5, 100, 175), texts_known=False).verdict == "refused"
    assert decided(pairs(20, 50, 50, 175), texts_known=False).verdict == "fail"
