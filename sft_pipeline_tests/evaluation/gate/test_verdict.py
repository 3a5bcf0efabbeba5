"""The decision on judged pairs: what passes, what fails, what is refused, and the record that fooled its authors."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.gate.verdict import verdict
from sft_pipeline.experiment import Gate, Protected
from sft_pipeline_tests.evaluation.gate.made_pairs import pair, pairs

FINE = [Reason(criterion="guard", outcome="pass", detail="")]


def outcome(decision, criterion):
    return next(reason for reason in decision.reasons if reason.criterion == criterion)


def gate(**fields):
    return Gate(**fields)


def test_a_clear_and_sound_lift_passes():
    decision = verdict(pairs(20, 5, 100, 175), FINE, gate())
    assert decision.verdict == "pass"
    assert {reason.outcome for reason in decision.reasons} == {"pass", "info"}


def test_a_lift_that_may_be_chance_fails():
    decision = verdict(pairs(20, 20, 30, 230), FINE, gate())
    assert decision.verdict == "fail"
    assert "may be chance" in outcome(decision, "significance").detail


def test_a_significant_loss_fails_for_its_sign():
    decision = verdict(pairs(20, 100, 5, 175), FINE, gate())
    assert decision.verdict == "fail"
    assert decision.overall.p_exact < 1e-10
    assert "significantly worse" in outcome(decision, "significance").detail


def test_the_declared_test_decides():
    table = pairs(20, 1, 7, 272)  # exact .0703, mid-p .0391
    assert outcome(verdict(table, FINE, gate(alpha=0.05, test="exact")), "significance").outcome == "fail"
    assert outcome(verdict(table, FINE, gate(alpha=0.05, test="midp")), "significance").outcome == "pass"


def test_a_small_lift_fails_the_minimum_and_a_wide_interval_its_limit():
    decision = verdict(pairs(20, 5, 40, 235), FINE, gate(min_lift=0.2, max_interval_width=0.05))
    assert outcome(decision, "minimum lift").outcome == "fail"
    assert outcome(decision, "interval width").outcome == "fail"
    assert decision.verdict == "fail"


def test_one_refused_precondition_outweighs_every_failure():
    broken = Reason(criterion="leakage", outcome="refused", detail="2 exact")
    assert verdict(pairs(20, 5, 100, 175), [*FINE, broken], gate()).verdict == "refused"
    assert verdict(pairs(20, 100, 5, 175), [*FINE, broken], gate()).verdict == "refused"


def test_without_headroom_a_lift_is_refused_and_its_absence_is_a_failure():
    assert verdict(pairs(290, 0, 10, 0), FINE, gate()).verdict == "refused"
    assert verdict(pairs(298, 2, 0, 0), FINE, gate()).verdict == "fail"


@pytest.mark.parametrize(
    ("lost", "won", "n", "expected", "outcome_"),
    [
        (0, 0, 120, "held", "pass"),
        (4, 0, 120, "held", "pass"),
        (8, 0, 120, "undecided", "fail"),  # a true loss of 12.6 % is not ruled out
        (30, 0, 120, "violated", "fail"),
        (14, 1, 120, "violated", "fail"),  # 10.8 points lost, shown to be a loss, though not shown to exceed 10
        (0, 0, 18, "undecided", "fail"),  # not even an unchanged result could show it
        (6, 0, 18, "violated", "fail"),
    ],
)
def test_protected_types_are_held_violated_or_undecided(lost, won, n, expected, outcome_):
    protected = (Protected(name="safety", types=("refuse",), margin=0.10),)
    table = pairs(0, 0, 100, 100) + pairs(n - lost - won, lost, won, 0, type="refuse")
    decision = verdict(table, FINE, gate(protected=protected))
    assert decision.protected[0].verdict == expected
    assert outcome(decision, "protected: safety").outcome == outcome_
    assert decision.verdict == ("pass" if expected == "held" else "fail")


def test_undecided_passes_only_where_the_specification_says_so_and_violated_never():
    protected = (Protected(name="safety", types=("refuse",), margin=0.10),)
    lenient = gate(protected=protected, undecided="passes")
    small = verdict(pairs(0, 0, 100, 100) + pairs(18, type="refuse"), FINE, lenient)
    assert (small.protected[0].verdict, small.verdict) == ("undecided", "pass")
    assert "even without a loss 18 items" in outcome(small, "protected: safety").detail
    assert verdict(pairs(0, 0, 100, 100) + pairs(6, 12, type="refuse"), FINE, lenient).verdict == "fail"


def test_a_guarantee_over_types_that_do_not_occur_is_undecided():
    protected = (Protected(name="safety", types=("nowhere",), margin=0.10),)
    decision = verdict(pairs(0, 0, 100, 100), FINE, gate(protected=protected))
    assert (decision.protected[0].verdict, decision.verdict) == ("undecided", "fail")


def test_what_could_not_be_judged_counts_against_a_guarantee():
    """Otherwise it could be had by not judging what was lost."""
    protected = (Protected(name="safety", types=("refuse",), margin=0.05),)
    table = pairs(0, 0, 200, 600) + pairs(80, type="refuse")
    assert verdict(table, FINE, gate(protected=protected)).protected[0].verdict == "held"
    unjudged = [pair(f"u{k}", "refuse", True, None, 30, 30) for k in range(20)]
    decision = verdict(table + unjudged, FINE, gate(protected=protected))
    assert (decision.protected[0].verdict, decision.protected[0].result.n) == ("undecided", 80)
    assert "20 more could not be judged" in outcome(decision, "protected: safety").detail


def test_a_guarantee_must_stand_over_clusters():
    """12 of 300 lost: Tango's interval ends above −10 points, and as two whole clusters of six they may be many more."""
    protected = (Protected(name="safety", types=("refuse",), margin=0.08),)

    def table(cluster):
        found = [(True, k >= 12) for k in range(300)]
        return [pair(f"c{k}", "refuse", *both, 30, 30, cluster=cluster(k)) for k, both in enumerate(found)]

    single = verdict(table(lambda k: None), FINE, gate(protected=protected)).protected[0]
    assert single.verdict == "held"
    whole = verdict(table(lambda k: str(k // 12)), FINE, gate(protected=protected)).protected[0]
    assert whole.result.lift_interval == single.result.lift_interval
    assert whole.verdict == "undecided"


def test_the_overlap_rule_is_reported_and_decides_nothing():
    protected = (Protected(name="safety", types=("refuse",), margin=0.10),)
    decision = verdict(pairs(0, 0, 100, 100) + pairs(23, 5, 0, 2, type="refuse"), FINE, gate(protected=protected))
    assert decision.protected[0].overlap_rule
    assert decision.protected[0].verdict == "violated"


@pytest.mark.parametrize("table", [(), (1,), (0, 1), (0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 300), (300,)])
def test_tiny_and_uniform_results_never_pass_and_never_crash(table):
    assert verdict(pairs(*table), FINE, gate()).verdict in ("fail", "refused")


# ------------------------------------------------------------------------------- the stage-1 record, from its description


def stage_1(scorer):
    """300 items; all base answers are right, 57 of them longer than 500 characters; two long fine-tuned answers."""
    rng = random.Random(1)
    sizes = {"template": 164, "creative": 20, "factual": 28, "instruction-following": 31, "list": 37, "explanation": 20}
    long_base = {"template": 52, "factual": 1, "list": 1, "explanation": 3}
    result = []
    for type, n in sizes.items():
        for k in range(n):
            base_length = rng.randint(501, 900) if k < long_base.get(type, 0) else rng.randint(40, 500)
            sft_length = rng.randint(501, 600) if type == "template" and k >= n - 2 else rng.randint(30, 400)
            result.append(pair(f"{type}{k}", type, scorer(base_length), scorer(sft_length), base_length, sft_length))
    return result


def test_stage_1_with_its_length_scorer_is_refused_for_length_and_headroom():
    decision = verdict(stage_1(lambda length: length <= 500), FINE, gate(test="corrected"))
    overall = decision.overall
    assert (overall.base_successes, overall.sft_successes, overall.lost, overall.won) == (243, 298, 2, 57)
    assert overall.p_corrected == pytest.approx(2.06e-12, rel=5e-3)
    assert outcome(decision, "significance").outcome == "pass"  # the table alone would have passed it
    assert decision.verdict == "refused"
    refused = {reason.criterion: reason.detail for reason in decision.reasons if reason.outcome == "refused"}
    assert set(refused) == {"score and length", "score and length: headroom", "similar lengths"}
    assert "the whole lift is explained by it" in refused["score and length"]
    assert "100.0 % succeed" in refused["score and length: headroom"]


def test_stage_1_with_a_right_scorer_fails():
    decision = verdict(stage_1(lambda length: True), FINE, gate(test="corrected"))
    assert (decision.overall.base_successes, decision.verdict) == (300, "fail")


@pytest.mark.parametrize(("honest", "found"), [((20, 5, 100, 175), "info"), ((20, 5, 7, 268), "refused")])
def test_a_type_that_is_scored_by_length_is_named_and_the_lift_must_stand_without_it(honest, found):
    """Beside other items it is too few for a rule over all of them, and yet its wins may make the whole lift."""
    rng = random.Random(3)
    by_length = []
    for k in range(60):
        base, sft = rng.randint(501, 900) if k < 40 else rng.randint(40, 500), rng.randint(40, 500)
        by_length.append(pair(f"list{k}", "list", base <= 500, True, base, sft))
    decision = verdict([*by_length, *pairs(*honest, type="sum")], FINE, gate())
    reason = outcome(decision, "score and length: by type")
    assert (reason.outcome, reason.after.n) == (found, 300) and "success is a matter of length in list" in reason.detail
    assert decision.overall.p_exact < 1e-6  # the table alone would have passed it


def test_a_scorer_of_length_is_found_despite_a_few_other_failures():
    rng = random.Random(2)
    noisy = stage_1(lambda length: length <= 500 and rng.random() > 0.004)
    assert verdict(noisy, FINE, gate()).length.fits


# ----------------------------------------------------------------------------------------- honest lifts that look similar


def test_a_base_that_rambles_and_fails_beside_a_brief_right_model_is_no_artefact():
    """Between the models length separates perfectly, within the base it explains nothing: it never succeeds.

    Where a verifier judged, or the expected answers are missing in the base's outputs, that is a better model. Where nothing
    is known of the answers it may as well be a scorer of length, and the gate does not guess.
    """

    def table(**known):
        return [pair(str(k), "t", False, True, 300, 10, **known) for k in range(300)]

    assert verdict(table(verified=True), FINE, gate()).verdict == "pass"
    assert verdict(table(base_has_answer=False), FINE, gate()).verdict == "pass"
    for unknown in ({}, {"base_has_answer": True, "verified": None}):
        decision = verdict(table(**unknown), FINE, gate())
        assert outcome(decision, "score and length").outcome == "refused"
    assert "remains open" in outcome(decision, "score and length").detail


def test_brief_wrong_answers_acquit_length():
    table = [pair(f"a{k}", "t", True, True, 12, 10) for k in range(30)]
    table += [pair(f"b{k}", "t", False, True, 300, 10) for k in range(220)]
    table += [pair(f"c{k}", "t", False, False, 300, 10) for k in range(50)]
    assert not verdict(table, FINE, gate()).length.fits


def test_a_rare_success_is_not_mistaken_for_a_rule_of_length():
    """“Nothing succeeds” is right in 99 % of these pairs and explains nothing."""
    rng = random.Random(4)
    table = [pair(str(k), "t", k < 6, k < 16, rng.randint(5, 300), rng.randint(5, 300)) for k in range(1000)]
    assert not verdict(table, FINE, gate()).length.fits


def test_long_failures_without_the_expected_answer_acquit_length_and_those_with_it_do_not():
    def table(has_answer):
        brief = [pair(f"a{k}", "t", True, True, 12, 10, base_has_answer=True) for k in range(30)]
        return brief + [pair(f"b{k}", "t", False, True, 300, 10, base_has_answer=has_answer) for k in range(270)]

    fits = {known: verdict(table(known), FINE, gate()).length.fits for known in (False, True, None)}
    assert fits == {False: False, True: True, None: True}


def test_the_lift_among_pairs_of_similar_length_is_reported():
    table = [pair(f"a{k}", "t", False, True, 20, 25) for k in range(40)]
    table += [pair(f"b{k}", "t", False, True, 20, 90) for k in range(60)]
    after = outcome(verdict(table, FINE, gate()), "similar lengths").after
    assert (after.n, after.won) == (40, 40)


def test_the_rule_of_length_is_the_best_one():
    """Against brute force over every limit and both directions."""
    rng = random.Random(7)
    for _ in range(20):
        rows = [
            (rng.random() < 0.4, rng.random() < 0.6, rng.randint(1, 9), rng.randint(1, 9))
            for _ in range(rng.randint(1, 12))
        ]
        answers = [(base_length, base) for base, _, base_length, _ in rows] + [(n, sft) for _, sft, _, n in rows]

        def recalls(limit, shorter, answers=answers):
            """Shares of successes and failures that the rule predicts."""
            right = {o: [(length <= limit) == (o == shorter) for length, s in answers if s == o] for o in (True, False)}
            return tuple(sum(r) / len(r) if r else 1.0 for r in right.values())

        table = [pair(str(k), "t", *row) for k, row in enumerate(rows)]
        check = verdict(table, FINE, gate()).length.rule
        if check is None or check.unit != "characters":
            continue
        limit = check.limit if check.shorter else check.limit - 1
        assert check.recalls == pytest.approx(recalls(limit, check.shorter))
        every = [sum(recalls(limit, shorter)) for limit in range(-1, 11) for shorter in (True, False)]
        assert sum(check.recalls) == pytest.approx(max(every))


# -------------------------------------------------------------------------------------------------------------- mirrors


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("ab"), st.integers(0, 3)), max_size=40))
def test_exchanging_the_models_mirrors_every_figure(table):
    def decision(base, sft):
        made = [pair(str(k), row[2], row[base], row[sft], 20, 20, cluster=str(row[3])) for k, row in enumerate(table)]
        return verdict(made, FINE, gate(bootstrap_samples=200))

    one, other = decision(0, 1), decision(1, 0)
    for a, b in zip((one.overall, *one.types), (other.overall, *other.types), strict=True):
        assert (a.lost, a.won, a.base_interval, a.p_exact) == (b.won, b.lost, b.sft_interval, b.p_exact)
        assert a.lift_interval == tuple(-x for x in reversed(b.lift_interval))
        assert a.p_adjusted == b.p_adjusted
        assert (a.cluster_interval is None) == (b.cluster_interval is None)
        if a.cluster_interval:
            assert a.cluster_interval == pytest.approx(tuple(-x for x in reversed(b.cluster_interval)))
    assert {one.verdict, other.verdict} <= {"pass", "fail", "refused"}
    assert [one.verdict, other.verdict].count("pass") <= 1
