"""Length: the disguises of a scorer that measures it, and honest models that look alike."""

import random
from dataclasses import replace

import pytest

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.gate.pairs import Pair

AGREE = Agreement(n=100, agreed=95, kappa=0.9, interval=(0.8, 1.0), base_n=50, base_agreed=48, sft_n=50, sft_agreed=47)


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


def test_a_heuristic_that_counts_no_characters_acquits_and_is_not_called_a_verifier(decided, reason):
    """`refusal` fails the base's answers: they failed not for their length, and yet nobody knows that they are wrong."""
    detail = reason(decided(rambling(length_free=True, verified=False)), "similar lengths").detail
    assert "in 100 of 100 won pairs it is not for its length" in detail
    assert "known to be wrong" not in detail and "a verifier judged" not in detail


def test_a_right_answer_in_the_wrong_form_is_told(decided, reason, pairs):
    decision = decided(pairs(20, 5, 60, 175) + pairs(won=40, type="u", base_has_answer=True))
    assert decision.verdict == "pass"
    assert "in 40 of 100 won pairs" in reason(decision, "answer in the output").detail
    assert "counted as a success, the lift would be +18.3 points" in reason(decision, "answer in the output").detail


def test_a_lift_that_is_all_form_is_refused(decided, reason, pairs):
    """A base that never stops fails an exact match although its first line is right; a stop string would do as well."""
    rightly = pairs(20, 5, 4, 171, verified=True)
    decision = decided(rightly + pairs(won=100, type="u", base_has_answer=True, verified=True))
    assert (reason(decision, "answer in the output").outcome, decision.verdict) == ("refused", "refused")
    assert "same stop strings" in reason(decision, "answer in the output").detail


def test_a_base_that_holds_the_answer_where_the_adapter_errs_counts_as_a_loss(decided, reason, pairs):
    """Left aside, such pairs would vanish, and only the adapter's wins would remain."""
    table = pairs(20, 5, 40, 35) + pairs(won=60, type="u", base_has_answer=True)
    assert decided(table).verdict == "pass"
    decision = decided(table + pairs(neither=100, type="v", base_has_answer=True, sft_has_answer=False))
    assert reason(decision, "answer in the output").outcome == "refused"
    assert "40 won, 105 lost" in reason(decision, "answer in the output").detail


def test_the_adapters_own_answers_in_the_wrong_form_count_as_well(decided, reason, pairs):
    table = pairs(20, 5, 4, 141) + pairs(won=100, type="u", base_has_answer=True)
    assert decided(table).verdict == "refused"
    decision = decided(table + pairs(neither=30, type="v", base_has_answer=False, sft_has_answer=True))
    assert "34 won, 5 lost" in reason(decision, "answer in the output").detail
    assert decision.verdict == "pass"


def test_answers_found_by_accident_in_fewer_than_half_of_the_wins_refuse_nothing(decided, reason, pairs):
    table = pairs(20, 5, 60, 115) + pairs(won=40, type="u", base_has_answer=True)
    decision = decided(table + pairs(neither=60, type="v", base_has_answer=True))
    assert "60 won, 65 lost" in reason(decision, "answer in the output").detail
    assert (reason(decision, "answer in the output").outcome, decision.verdict) == ("info", "pass")


def test_a_lift_that_is_gone_when_both_answers_are_cut_is_refused(decided, reason, pairs):
    """Fewer than half of the wins are form, and still nothing is left of the lift."""
    known = {"verified": True, "base_cut_success": False, "sft_cut_success": False}
    table = pairs(60, 40, 60, 80, **known) + pairs(won=50, type="u", **known | {"base_cut_success": True})
    decision = decided(table)
    assert (reason(decision, "form or substance").outcome, decision.verdict) == ("refused", "refused")
    assert "50 failed answers of the base and 0 of the fine-tuned model" in reason(decision, "form or substance").detail
    assert decided(pairs(60, 40, 110, 80, **known)).verdict == "pass"


def by_a_limit(**known):
    """Success is at most 100 characters, within the base too; further fields of the won pairs as given."""
    table = [Pair(f"a{k}", "t", True, True, 60 + k, 60 + k) for k in range(30)]
    table += [Pair(f"b{k}", "t", False, False, 200 + k, 200 + k) for k in range(30)]
    return table + [Pair(f"c{k}", "t", False, True, 200 + k, 40 + k % 50, **known) for k in range(200)]


@pytest.mark.parametrize("known", [{"base_has_answer": False}, {"length_free": True, "verified": True}])
def test_what_is_known_of_the_wins_acquits_only_if_the_winning_answer_is_right(decided, known):
    assert decided(by_a_limit(**known)).verdict == "pass"
    assert "score and length" in refused(decided(by_a_limit(sft_has_answer=False, **known)))


def test_empty_answers_are_no_rule_of_length(decided):
    rng = random.Random(9)
    table = [Pair(f"a{k}", "t", False, True, 0, rng.randint(30, 60)) for k in range(150)]
    table += [Pair(f"b{k}", "t", k < 100, True, *(rng.randint(30, 60) for _ in "bs")) for k in range(110)]
    assert decided(table).length.artefact is None


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
