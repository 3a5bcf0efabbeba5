"""Would a prompt have done? Simulated cases over files and pairs: the headline, the statistics, and what is refused."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from sft_pipeline.artifacts import GateReport
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.comparator_files import check_names, named
from sft_pipeline.evaluation.gate.files_gate import decide_outputs, examine
from sft_pipeline.evaluation.gate.pairs import Answer, Pair
from sft_pipeline.evaluation.gate.prompted import Prompted, judge, prompts
from sft_pipeline.experiment import Evaluation, Gate, ScorerSpec
from sft_pipeline.report.gate.text import headline, summary

NONE = Evaluation(scorers={})
PLAIN = {"base": 20.0, "sft": 20.0}


def pairs(counts):
    """Pairs by (base, fine-tuned, comparator) of success and how many there are, with the comparator's answers."""
    made, answers = [], {}
    for outcome, count in counts.items():
        for _ in range(count):
            id = f"i{len(made)}"
            base, sft, prompt = (Answer("text", bool(success), tokens=5) for success in outcome)
            made.append(Pair(id, "fact", base, sft))
            answers[id] = prompt
    return made, answers


def compared(counts, gate=None, **properties):
    made, answers = pairs(counts)
    prompted = Prompted("few", "a prompt with 4 examples", answers, 90.0, **properties)
    return prompts(made, [prompted], gate or Gate(), PLAIN, {})


# Base wrong on 240 of 300, fine-tuned right on 210; the comparator by case.
SAME = {(1, 1, 1): 60, (0, 1, 1): 140, (0, 1, 0): 10, (0, 0, 1): 8, (0, 0, 0): 82}
BEATEN = {(1, 1, 1): 60, (0, 1, 0): 150, (0, 0, 0): 90}
UNDECIDED = {(1, 1, 1): 12, (0, 1, 1): 20, (0, 1, 0): 11, (0, 0, 1): 5, (0, 0, 0): 12}
BETTER = {(1, 1, 1): 60, (0, 1, 1): 150, (0, 0, 1): 60, (0, 0, 0): 30}


@pytest.mark.parametrize(
    ("counts", "finding", "says"),
    [
        (SAME, "same", "the prompt does the same: the fine-tuned model is ahead by less than the planned +10.0 points"),
        (BEATEN, "beaten", "the fine-tuned model is significantly better"),
        (UNDECIDED, "undecided", "the items do not decide whether the fine-tuned model is better: about "),
        (BETTER, "better", "the prompt is significantly better than the fine-tuned model"),
    ],
)
def test_a_prompt_does_the_same_is_beaten_is_better_or_the_items_do_not_decide(counts, finding, says):
    found = compared(counts)
    [result], [reason] = found.results, found.reasons
    assert result.finding == finding and says in reason.detail
    assert reason.outcome == ("pass" if finding == "beaten" else "info")
    assert (result.decides_at is not None) == (finding == "undecided")
    assert "90.0 + 5.0 tokens per answer (prompt + completion), of the fine-tuned model 20.0 + 5.0" in reason.detail
    assert [(c.baseline, c.model) for c in found.comparisons] == [("base", "few"), ("base", "sft"), ("few", "sft")]
    assert all(c.p_adjusted >= c.p for c in found.comparisons)


@pytest.mark.parametrize(
    "counts", [UNDECIDED, {(0, 1, 0): 5, (0, 0, 1): 5, (1, 1, 1): 20}, {(0, 1, 0): 9, (1, 1, 1): 30}]
)
def test_the_named_number_of_items_decides_if_the_shares_stay(counts):
    [result] = compared(counts).results
    n = sum(counts.values())
    assert result.finding == "undecided" and result.decides_at > n
    factor = result.decides_at / n
    more = {outcome: round(count * factor) for outcome, count in counts.items()}
    assert compared(more).results[0].finding in ("beaten", "same")
    fewer = {outcome: round(count * (1 + factor) / 2 * 0.8) for outcome, count in counts.items()}
    assert factor < 1.3 or compared(fewer).results[0].finding == "undecided"


def test_whether_it_fails_the_gate_is_declared():
    assert [compared(c, Gate(beat_comparators=True)).reasons[0].outcome for c in (SAME, UNDECIDED, BETTER, BEATEN)] == [
        "fail", "fail", "fail", "pass",
    ]  # fmt: skip
    assert compared(UNDECIDED, Gate(beat_comparators=True, undecided="passes")).reasons[0].outcome == "info"


def test_other_conditions_refuse_and_lacking_answers_are_said():
    for counts in (SAME, BEATEN, BETTER, UNDECIDED):
        other = compared(counts, problems=("engine is another",))
        assert other.reasons[0].outcome == "refused"
        assert (other.results[0].finding, other.results[0].decides_at) == ("undecided", None), "it is no comparison"
    made, answers = pairs(SAME)
    few = dict(list(answers.items())[:200])
    found = prompts(made, [Prompted("few", "a prompt", few, notes=("100 were not asked",))], Gate(), PLAIN, {})
    [result] = found.results
    assert (result.n, result.missing) == (200, 100)
    assert found.comparisons[1].result.n == 300, "base and fine-tuned model are compared on all items"
    assert (
        "100 items without a judged answer" in found.reasons[0].detail
        and "100 were not asked" in found.reasons[0].detail
    )


def test_what_a_judge_compared_in_pairs_is_judged_for_each_pair(tmp_path, monkeypatch):
    from sft_pipeline.evaluation.scorers import judge as scorer
    from sft_pipeline.evaluation.scorers.item import Score

    def longer(pairs, options, replies):
        return [(Score(len(a) > len(b)), Score(len(b) > len(a))) for _, a, b in pairs]

    monkeypatch.setattr(scorer, "score_pairs", longer)
    rows = [
        {"id": str(k), "instruction": "Say more.", "response": "", "type": "talk", "reference": None} for k in range(4)
    ]
    outputs = {"base": "a", "sft": "aaa", "few": "aa"}
    evaluation = Evaluation(scorers={"default": ScorerSpec(kind="judge")})
    judged, in_pairs = judge(rows, {m: {r["id"]: t for r in rows} for m, t in outputs.items()}, evaluation, tmp_path)
    assert all(j.success is None for j in judged["few"].values())
    assert in_pairs == {
        ("base", "few"): {str(k): (False, True) for k in range(4)},
        ("few", "sft"): {str(k): (False, True) for k in range(4)},
    }
    made = [Pair(r["id"], "talk", Answer("a", False), Answer("aaa", True), compared=True) for r in rows]
    answers = {r["id"]: Answer("aa", None) for r in rows}
    found = prompts(made, [Prompted("few", "few", answers)], Gate(), PLAIN, in_pairs)
    assert [(c.result.won, c.result.n) for c in found.comparisons] == [(4, 4)] * 3
    assert [c.result.n for c in prompts(made, [Prompted("few", "few", answers)], Gate(), PLAIN, {}).comparisons] == [
        0,
        4,
        0,
    ]


# ------------------------------------------------------------------------------------------------------------------- files


TOWNS = [
    "".join(parts)
    for parts in product(("Al", "Be", "Cor", "Du", "El"), ("ba", "nu", "ri", "ta"), ("na", "ro", "x", "s"))
]


def question(k):
    return f"How many people lived in the old town of {TOWNS[k]} when the river rose for the {k}th time?"


def rows(outcome, prompt=None):
    """Judged answers; `prompt` makes the prompt of an item of its number."""
    return [
        {"id": f"i{k}", "type": "fact", "instruction": question(k), "output": f"{k} did" if outcome(k) else f"{k} not"}
        | {"success": bool(outcome(k)), "tokens": 4, "prompt_tokens": 30}
        | ({"prompt": prompt(k)} if prompt else {})
        for k in range(len(TOWNS))
    ]


@pytest.fixture
def files(tmp_path):
    """Writes rows by name; gives their paths."""

    def write(**tables):
        for name, table in tables.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), "utf-8")
        return {name: tmp_path / f"{name}.jsonl" for name in tables}

    return write


@pytest.fixture
def decided(files, tmp_path):
    def run(evaluation=NONE, **tables):
        given = files(base=rows(lambda k: k % 5 == 0), sft=rows(lambda k: k % 10 < 7), **tables)
        others = {name: path for name, path in given.items() if name not in ("base", "sft")}
        return examine(given["base"], given["sft"], None, evaluation, tmp_path, comparators=others)

    return run


@pytest.mark.slow
def test_three_files_of_which_the_prompt_gives_the_same_lift(files, tmp_path):
    shown = "Examples: The capital of Fooland is Bar.\n\n"
    given = files(
        base=rows(lambda k: k % 5 == 0),
        sft=rows(lambda k: k % 10 < 7),
        few=rows(lambda k: k % 10 < 7, lambda k: shown + question(k)),
        weak=rows(lambda k: k % 5 == 0),
    )
    out = tmp_path / "out"
    out.mkdir()
    others = {name: given[name] for name in ("few", "weak")}
    report = decide_outputs(given["base"], given["sft"], None, NONE, tmp_path, out, comparators=others)
    assert report.verdict == "pass"
    assert headline(report) == "PASS: the fine-tuned model is better than its base; the comparator few does the same"
    text, page = summary(report), report.path("gate.html").read_text("utf-8")
    assert "few 30.0 + 4.0" in text and "Holm over 6 comparisons" in text
    assert "Would a prompt have done?" in page and "the comparator few does the same" in page
    stored = json.loads(report.path("gate.json").read_text("utf-8"))
    assert [c["finding"] for c in stored["comparators"]] == ["same", "beaten"]
    assert stored["costs"]["few"] == {"prompt": 30.0, "completion": 4.0} and len(stored["comparisons"]) == 6
    items = read_table(report.path("items.parquet"))
    assert {"few_output", "few_success", "weak_output"} <= items[0].keys()
    assert sum(item["few_success"] for item in items) == report.comparators[0].successes
    # The report's own answers can be compared again, and an unknown model is named.
    again = examine(
        out / "items.parquet", out / "items.parquet", None, NONE, tmp_path,
        comparators={"other": given["few"]},
    )  # fmt: skip
    assert again.prompted.results[0].finding == "same"


def test_files_without_comparators_say_nothing_of_them(decided):
    found = decided()
    assert found.prompted.results == () and not [r for r in found.decision.reasons if r.id == "comparators"]


@pytest.mark.parametrize(
    ("few", "problem"),
    [
        (
            rows(lambda k: k, lambda k: f"{question(3)}\n12.\n\n{question(k)}"),
            "row 1: the prompt holds the test item i3",
        ),
        (rows(lambda k: k, lambda k: f"{question(k)}\n12.\n\n{question(k)}"), "the prompt holds the test item"),
        (
            rows(
                lambda k: k,
                lambda k: [{"role": "user", "content": question(9)}, {"role": "user", "content": question(k)}],
            ),
            "the prompt holds the test item i9",
        ),
        ([*rows(lambda k: k), {"id": "new", "output": "a", "success": True}], r"1 items \(new\) are not items of base"),
        ([{"id": "i0", "output": "a"}], "row 1: has no field success, as base and fine-tuned model have"),
        (
            [{"id": "i0", "output": "a", "success": True, "instruction": "Another?"}],
            "row 1, field instruction: Another?",
        ),
    ],
)
def test_a_comparator_that_cannot_be_one_is_refused(decided, few, problem):
    with pytest.raises(DataError, match=problem):
        decided(few=few)


def test_what_could_not_be_looked_at_and_other_settings_are_said(decided):
    few = [row | {"n_shot": 4} for row in rows(lambda k: k % 2)]
    few[0] = {"id": "i0", "success": None, "output": "could not be judged"}
    [reason] = [r for r in decided(few=few).decision.reasons if r.id == "comparators"]
    assert "80 rows have no prompt, so that nobody looked whether they hold test items" in reason.detail
    assert "another n_shot" in reason.detail and "1 items without a judged answer" in reason.detail


def test_names_of_comparators():
    assert named(["a=b=c.jsonl"]) == {"a": Path("b=c.jsonl")}
    for arguments, problem in ((["few"], "must be NAME=FILE"), (["a=x", "a=y"], "a stands twice")):
        with pytest.raises(DataError, match=problem):
            named(arguments)
    for name, problem in (("base", "compared anyway"), ("sft", "compared anyway"), ("Few shot", "lower-case letter")):
        with pytest.raises(DataError, match=problem):
            check_names([name])


def test_declared_comparators_without_a_file_are_said(decided):
    evaluation = Evaluation.model_validate({"scorers": {}, "comparators": {"few": {"examples": 2}}})
    [reason] = [r for r in decided(evaluation).decision.reasons if r.id == "not_checked"]
    assert "the specification's comparators few have no answers here (--comparator NAME=FILE)" in reason.detail


def reported(found, verdict):
    fields = {"overall": found.comparisons[1].result, "types": (), "protected": (), "reasons": (), "test": "exact"}
    return GateReport(
        root=Path(), verdict=verdict, alpha=0.01, **fields, comparators=found.results, comparisons=found.comparisons
    )


def test_the_headline_counts_the_items_that_were_compared():
    made, answers = pairs(SAME)
    made = [replace(p, sft=replace(p.sft, success=None)) if k % 10 == 0 else p for k, p in enumerate(made)]
    found = prompts(made, [Prompted("few", "a prompt", answers)], Gate(), PLAIN, {})
    assert (found.results[0].n, found.results[0].missing) == (300, 30)
    assert headline(reported(found, "fail")).endswith("; a prompt does the same on 270 of 300 items")


def test_a_refused_verdict_claims_nothing_of_prompts():
    report = reported(compared(SAME), "refused")
    assert headline(report) == "REFUSED: the comparison is unsound, no verdict on the model"
    assert headline(report.model_copy(update={"verdict": "fail"})).endswith("; a prompt with 4 examples does the same")
