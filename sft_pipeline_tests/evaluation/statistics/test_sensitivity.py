"""What the report shows where judgements are missing or tied."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.evaluation.statistics.paired import paired
from sft_pipeline.evaluation.statistics.sensitivity import sensitivity
from sft_pipeline.experiment import Gate

BASE = [True, False, None, False, None, True, False, False]
SFT = [True, True, False, None, None, False, True, False]


def test_each_treatment_of_missing_judgements_counts_as_its_name_says():
    rows = {row.name: (row.n, row.base_successes, row.sft_successes) for row in sensitivity(BASE, SFT, Gate())}
    assert rows == {
        "missing pairs left out": (5, 2, 3),
        "missing answers as failures": (8, 2, 3),
        "missing answers as successes": (8, 4, 5),
        "missing answers as bad for the fine-tuned model as can be": (8, 4, 3),
        "missing answers as good for the fine-tuned model as can be": (8, 2, 5),
    }


def test_nothing_missing_and_nothing_tied_leaves_nothing_to_show():
    assert sensitivity([True, False], [False, False], Gate()) == ()
    assert sensitivity([], [], Gate()) == ()


def test_ties_as_half_won_and_half_lost_keep_the_lift_and_weaken_the_evidence():
    base, sft = [False] * 20, [True] * 9 + [False] * 11
    left_out, halves = sensitivity(base, sft, Gate(), ties=[False] * 9 + [True] * 7 + [False] * 4)
    assert (halves.base_successes, halves.sft_successes) == (3, 12)
    assert halves.lift == left_out.lift
    assert halves.p > left_out.p


def test_the_specified_test_gives_the_p_value():
    exact, midp = (sensitivity(BASE, SFT, Gate(test=test))[0].p for test in ("exact", "midp"))
    result = paired("x", [True, False, True, False, False], [True, True, False, True, False])
    assert (exact, midp) == (result.p_exact, result.p_midp)


@given(st.lists(st.tuples(*[st.sampled_from([True, False, None])] * 2), min_size=1, max_size=30))
@settings(max_examples=100)
def test_no_treatment_leaves_the_range_between_worst_and_best_case(rows):
    rows = [*rows, (None, True)]
    found = sensitivity([base for base, _ in rows], [sft for _, sft in rows], Gate())
    lifts = [row.lift * row.n for row in found]  # in items: the pairs left out count for nothing
    assert min(lifts) == lifts[3] and max(lifts) == lifts[4]
