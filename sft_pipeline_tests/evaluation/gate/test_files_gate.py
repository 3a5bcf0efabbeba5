"""The gate over files from elsewhere: real pairs of models, the stage-1 record as outputs, and mixtures."""

import json
import random

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.files_gate import decide_outputs, examine
from sft_pipeline.experiment import Evaluation, ScorerSpec

NONE = Evaluation(scorers={})


@pytest.fixture
def decided(tmp_path):
    """Writes the rows of base, fine-tuned model and perhaps items, and decides."""

    def run(base, sft, items=None, evaluation=NONE, report=False):
        files = {"base": base, "sft": sft} | ({"items": items} if items else {})
        for name, rows in files.items():
            (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
        paths = [tmp_path / f"{name}.jsonl" for name in ("base", "sft")]
        paths.append(tmp_path / "items.jsonl" if items else None)
        if not report:
            return examine(*paths, evaluation, tmp_path).decision
        out = tmp_path / "out"
        out.mkdir()
        return decide_outputs(*paths, evaluation, tmp_path, out)

    return run


@pytest.fixture
def refused():
    return lambda report: {r.criterion: r.detail for r in report.reasons if r.outcome == "refused"}


def reason(report, criterion):
    return next(r for r in report.reasons if r.criterion == criterion)


def scorers(**kinds):
    return Evaluation(scorers={type: ScorerSpec(kind=kind) for type, kind in kinds.items()})


# --------------------------------------------------------------------------------------------------- GSM8K, judged by others


@pytest.fixture(scope="module")
def solutions(real_data):
    lines = (real_data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def judged_solutions(solutions, model):
    return [
        {"id": f"g{k}", "type": "maths", "output": row[model]["solution"], "success": row[model]["is_correct"]}
        for k, row in enumerate(solutions)
    ]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("base", "sft", "lost", "won", "p", "verdict"),
    [
        ("6b_finetuning", "6b_verification", 64, 293, 3.93e-36, "pass"),
        ("6b_verification", "175b_finetuning", 209, 152, 0.00315, "fail"),
    ],
)
def test_the_judged_solutions_of_gsm8k(solutions, decided, base, sft, lost, won, p, verdict):
    one, other = judged_solutions(solutions, base), judged_solutions(solutions, sft)
    random.Random(1).shuffle(other)  # joined by id
    report = decided(one, other)
    assert (report.overall.lost, report.overall.won, report.overall.n) == (lost, won, 1319)
    assert report.overall.p_exact == pytest.approx(p, rel=5e-3)
    assert report.verdict == verdict


@pytest.mark.real_data
@pytest.mark.slow
def test_the_numeric_scorer_judges_gsm8k_as_its_authors_did(solutions, decided):
    unjudged = [
        [{"id": k, "output": row[model]["solution"]} for k, row in enumerate(solutions)]
        for model in ("6b_finetuning", "6b_verification")
    ]
    items = [
        {"id": k, "type": "maths", "instruction": row["question"], "answer": row["ground_truth"].rpartition("A: ")[2]}
        for k, row in enumerate(solutions)
    ]
    report = decided(*unjudged, items, scorers(maths="numeric"))
    assert (report.overall.lost, report.overall.won, report.verdict) == (64, 293, "pass")
    assert reason(report, "verified items").outcome == "pass"


@pytest.mark.real_data
def test_the_same_answers_under_two_judges_are_no_two_models(real_data, decided, refused):
    def rows(name):
        lines = (real_data / "ifeval" / f"eval_results_{name}.jsonl").read_text("utf-8").splitlines()
        values = map(json.loads, lines)
        return [
            {"id": k, "output": v["response"], "success": v["follow_all_instructions"]} for k, v in enumerate(values)
        ]

    report = decided(rows("strict"), rows("loose"))
    assert report.overall.p_exact < 0.01
    assert set(refused(report)) == {"same answer, same judgement"}


# ------------------------------------------------------------------------------- the stage-1 record, from its description

WORDS = [
    "river", "stone", "cloud", "market", "garden", "window", "letter", "bridge", "corner", "summer", "winter", "paper",
    "candle", "forest", "island", "harbour", "mountain", "village", "teacher", "painter", "singer", "farmer", "doctor",
]  # fmt: skip


def stage_1():
    """300 items of which the base answers all rightly, 57 at more than 500 characters; the fine-tuned model is brief."""
    rng = random.Random(1)
    sizes = {"template": 164, "creative": 20, "factual": 28, "instruction-following": 31, "list": 37, "explanation": 20}
    long_base = {"template": 52, "factual": 1, "list": 1, "explanation": 3}

    def text(answer, least, most):
        # Each sentence its own words: elaboration, not repetition.
        length, said = rng.randint(least, most), f"The answer is {answer}."
        while len(said) < length:
            said += f" {rng.choice(WORDS)} {rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randint(1, 999)}"
        return said

    items, base, sft = [], [], []
    for type, n in sizes.items():
        for k in range(n):
            id, answer = f"{type}-{k}", f"{WORDS[k % len(WORDS)]} {k}"
            items.append({"id": id, "type": type, "instruction": f"Question {k} of {type}?", "response": answer})
            long = k < long_base.get(type, 0)
            base.append({"id": id, "output": text(answer, 501, 900) if long else text(answer, 40, 470)})
            long = type == "template" and k >= n - 2
            sft.append({"id": id, "output": text(answer, 501, 600) if long else text(answer, 30, 370)})
    return items, base, sft


def scored_by_length(rows):
    return [row | {"success": len(row["output"]) <= 500} for row in rows]


def test_stage_1_as_it_was_scored_is_refused_for_length_and_headroom(decided, refused):
    items, base, sft = stage_1()
    report = decided(scored_by_length(base), scored_by_length(sft), items)
    overall = report.overall
    assert (overall.base_successes, overall.sft_successes, overall.lost, overall.won) == (243, 298, 2, 57)
    assert overall.p_corrected == pytest.approx(2.06e-12, rel=5e-3)
    assert report.verdict == "refused"
    reasons = refused(report)
    assert {"score and length", "score and length: headroom"} <= set(reasons)
    assert "predicts 100.0 % of all successes and 100.0 % of all failures" in reasons["score and length"]
    assert "in 57 of 57 won pairs" in reason(report, "answer in the output").detail


def test_stage_1_without_the_expected_answers_is_refused_too(decided, refused):
    _, base, sft = stage_1()
    assert "score and length" in refused(decided(scored_by_length(base), scored_by_length(sft)))


def test_stage_1_with_a_right_scorer_fails(decided):
    items, base, sft = stage_1()
    report = decided(base, sft, items, scorers(default="contains"))
    assert (report.overall.base_successes, report.verdict) == (300, "fail")
    assert reason(report, "headroom").outcome == "fail"


# ------------------------------------------------------------------------------------------------------------- mixtures


def rows(n, wins, **fields):
    return [{"id": str(k), "output": f"answer {k}" if k < wins else f"mistak {k}"} | fields for k in range(n)]


def items_of(n):
    return [{"id": str(k), "type": "sum", "instruction": f"{k}?", "response": f"answer {k}"} for k in range(n)]


def judged(table):
    return [row | {"success": row["output"].startswith("answer")} for row in table]


def test_supplied_judgements_stand_and_the_rest_is_scored(decided):
    one, other = rows(300, 20), rows(300, 200)
    base, sft = judged(one[:100]) + one[100:], judged(other[:100]) + other[100:]
    report = decided(base, sft, items_of(300), scorers(sum="exact"))
    assert (report.overall.base_successes, report.overall.sft_successes, report.verdict) == (20, 200, "pass")
    assert "supplied for 100 items, the other 200" in reason(report, "judgements").detail


def test_a_judgement_on_one_side_only_is_no_judgement_of_a_pair(decided):
    with pytest.raises(DataError, match=r"300 items \(0, 1, 10, …\) have a field success on one side only"):
        decided(judged(rows(300, 20)), rows(300, 200), items_of(300), scorers(sum="exact"))


def test_unjudged_rows_without_a_scorer_say_what_is_missing(decided):
    with pytest.raises(DataError, match=r"300 items \(0, 1, 10, …\) are not judged. Add success .*--items"):
        decided(rows(300, 20), rows(300, 200), items_of(300))


def test_scorers_without_any_expected_answer_say_how_to_supply_them(decided):
    with pytest.raises(
        DataError, match=r"the expected answers are missing.*Supply them with --items.*response or reference"
    ):
        decided(rows(30, 2), rows(30, 20), None, scorers(all="exact"))


def test_an_expected_answer_that_one_item_lacks_is_named(decided):
    some = [item if k else item | {"response": ""} for k, item in enumerate(items_of(30))]
    with pytest.raises(DataError, match=r"items\.jsonl, row 1: item 0 .*response"):
        decided(rows(30, 2), rows(30, 20), some, scorers(sum="exact"))


def test_null_is_a_judgement_that_could_not_be_made(decided):
    sft = [row | {"success": None} if k < 3 else row for k, row in enumerate(judged(rows(300, 200)))]
    report = decided(judged(rows(300, 20)), sft)
    assert (report.missing, report.overall.n, report.verdict) == (3, 297, "pass")


def test_cut_answers_count_where_the_rows_tell_of_them(decided, refused):
    sft = [row | {"finish_reason": "length" if k < 31 else "stop"} for k, row in enumerate(judged(rows(300, 200)))]
    base = [row | {"finish_reason": "stop"} for row in judged(rows(300, 20))]
    assert set(refused(decided(base, sft))) == {"truncation: fine-tuned model"}


def test_rows_that_do_not_say_whether_they_were_cut_do_not_hide_the_others(decided, refused):
    sft = [row | ({"finish_reason": "length"} if k else {}) for k, row in enumerate(judged(rows(300, 200)))]
    report = decided(judged(rows(300, 20)), sft)
    assert set(refused(report)) == {"truncation: fine-tuned model"}
    assert (
        "300 rows of the base and 1 of the fine-tuned model have no finish_reason"
        in reason(report, "not checked").detail
    )


def test_cuts_in_the_words_of_another_engine_count_and_unknown_words_are_said(decided, refused):
    words = ["max_tokens", "end_turn", "refusal"]
    sft = [row | {"finish_reason": words[k % 3]} for k, row in enumerate(judged(rows(300, 200)))]
    report = decided(judged(rows(300, 20)), sft)
    assert "100 of the 200 answers of the fine-tuned model" in refused(report)["truncation: fine-tuned model"]
    assert "(not known: 'refusal'; length is a cut" in reason(report, "not checked").detail


def test_words_that_are_all_unknown_are_no_sign_that_nothing_was_cut(decided):
    sft = [row | {"finish_reason": "over"} for row in judged(rows(300, 200))]
    report = decided(judged(rows(300, 20)), sft)
    assert not [r for r in report.reasons if r.id == "truncation"]
    assert "(not known: 'over'" in reason(report, "not checked").detail


def test_other_prompts_for_the_two_models_are_refused(decided, refused):
    base = [row | {"prompt": f"Q: {row['id']}"} for row in judged(rows(300, 20))]
    sft = [row | {"prompt": f"Q: {row['id']}" if k else "Translate: 0"} for k, row in enumerate(judged(rows(300, 200)))]
    assert refused(decided(base, sft)) == {
        "same prompt": "1 items (0) have another prompt for the base than for the fine-tuned model"
    }


def test_judgements_that_contradict_the_expected_answers_are_refused(decided, refused):
    sft = [row | {"output": f"number {row['id']}"} for row in judged(rows(300, 200))]
    assert "judgements and expected answers" in refused(decided(judged(rows(300, 20)), sft, items_of(300)))


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "around"),
    [
        ("exact", "a long and right answer to question {} of the list", "wrong", "{}\n\nQuestion: and then?"),
        (
            "exact",
            "a long and right answer to question {} of the list",
            "wrong",
            "Here it is:\n\n```\n{}\n```\nAnything else?",
        ),
        ("json_record", '{{"n": {}}}', '{{"n": -1}}', "{}\n\nQuestion: and then?"),
        ("json_record", '{{"n": {}}}', '{{"n": -1}}', "```json\n{}\n```"),
    ],
)
def test_a_base_that_is_as_good_in_another_form_is_found_by_its_own_scorer(
    decided, refused, kind, right, wrong, around
):
    items = [
        {
            "id": k,
            "type": "t",
            "reference": {"record": {"n": k}} if kind == "json_record" else {"answer": right.format(k)},
        }
        for k in range(300)
    ]
    base = [{"id": k, "output": around.format(right.format(k) if k < 210 else wrong.format())} for k in range(300)]
    sft = [{"id": k, "output": right.format(k) if k >= 90 else wrong.format()} for k in range(300)]
    assert "form or substance" in refused(decided(base, sft, items, scorers(t=kind)))


def test_a_schema_that_counts_no_characters_is_no_scorer_of_length(decided, refused):
    def table(prose, schema):
        items = [{"id": k, "type": "t", "reference": {"schema": schema}} for k in range(300)]
        rng = random.Random(3)
        said = " ".join(rng.choices(WORDS, k=60))
        base = [{"id": k, "output": said[k % 90 :] if k < prose else json.dumps({"n": k})} for k in range(300)]
        return (
            base,
            [{"id": k, "output": json.dumps({"n": k + 1})} for k in range(300)],
            items,
            scorers(t="json_schema"),
        )

    assert decided(*table(140, {"required": ["n"]})).verdict == "pass"


def test_a_schema_with_a_limit_of_characters_stays_suspect(decided, refused):
    rng = random.Random(3)
    items = [{"id": k, "type": "t", "reference": {"schema": {"type": "string", "maxLength": 60}}} for k in range(300)]
    base = [{"id": k, "output": json.dumps(" ".join(rng.choices(WORDS, k=4 if k < 60 else 40)))} for k in range(300)]
    sft = [{"id": k, "output": json.dumps(" ".join(rng.choices(WORDS, k=4)))} for k in range(300)]
    assert "score and length" in refused(decided(base, sft, items, scorers(t="json_schema")))


@pytest.mark.parametrize(
    "limit",
    [
        {"maxItems": 3},
        {"minContains": 1, "maxContains": 3, "contains": {}},
        {"allOf": [{"maxItems": 3}, {"maxProperties": 3}]},
    ],
)
@pytest.mark.slow
def test_a_schema_with_a_limit_of_items_stays_suspect(decided, refused, limit):
    rng = random.Random(3)
    items = [{"id": k, "type": "t", "reference": {"schema": {"type": "array", **limit}}} for k in range(300)]
    base = [{"id": k, "output": json.dumps(rng.choices(WORDS, k=2 if k < 120 else 20))} for k in range(300)]
    sft = [{"id": k, "output": json.dumps(rng.choices(WORDS, k=2))} for k in range(300)]
    assert "score and length" in refused(decided(base, sft, items, scorers(t="json_schema")))


# ----------------------------------------------------------------------------------- scripts without spaces between words

CITIES = ["北京", "上海", "东京", "กรุงเทพ", "서울"]


def asked_for_cities(answer=lambda k: CITIES[k % 5]):
    return [{"id": k, "instruction": f"第{k}题？", "reference": {"answer": answer(k)}} for k in range(300)]


def said(right):
    """Outputs with the city of the item, or with that of the next one."""
    answers = [CITIES[(k if k < right else k + 1) % 5] for k in range(300)]
    return [{"id": k, "output": f"答案是{a}。第{k}题", "success": k < right} for k, a in enumerate(answers)]


def test_answers_that_hold_what_is_expected_do_not_contradict_it(decided):
    report = decided(said(120), said(210), asked_for_cities())
    assert report.verdict == "pass"


def test_answers_that_may_be_said_in_other_words_do_not_contradict_what_is_expected(decided):
    """Ten characters are some five words; their absence proves nothing where others judged."""
    report = decided(said(120), said(210), asked_for_cities(lambda k: f"{CITIES[k % 3]}是一座很大的城市"))
    assert report.verdict == "pass"


def test_judgements_that_contradict_short_answers_are_refused(decided, refused):
    sft = [row | {"output": f"我不知道第{row['id']}题"} for row in said(210)]
    assert "judgements and expected answers" in refused(decided(said(120), sft, asked_for_cities()))


def test_a_scorer_of_length_is_found_where_long_outputs_hold_the_answer(decided, refused):
    """A pattern of at most 20 characters: all long answers of the base are right."""
    around = "众所周知这个问题的答案就是{}因为它是那里最大的城市而且历史悠久人口众多{}"
    base = [
        {"id": k, "output": (("答案就是{}啊{}" if k < 180 else around).format(CITIES[k % 5], k))} for k in range(300)
    ]
    sft = [{"id": k, "output": f"答案就是{CITIES[k % 5]}啊{k}"} for k in range(300)]
    spec = {"default": ScorerSpec(kind="regex", options={"pattern": "(?s).{1,20}"})}
    report = decided(base, sft, asked_for_cities(), Evaluation(scorers=spec))
    assert {"score and length", "answer in the output"} <= set(refused(report))


def test_a_letter_among_chinese_characters_is_an_answer(decided):
    items = [
        {"id": k, "instruction": f"q{k}", "reference": {"answer": "ABCD"[k % 4], "choices": list("ABCD")}}
        for k in range(300)
    ]
    base = [{"id": k, "output": f"答案是{'ABCD'[k % 4]}。第1{k}题。"} for k in range(300)]
    sft = [{"id": k, "output": "ABCD"[(k if k < 270 else k + 1) % 4]} for k in range(300)]
    assert decided(base, sft, items, scorers(default="choice")).verdict == "fail"


def test_two_prompts_for_one_item_are_no_comparison(decided):
    base = [row | {"instruction": "What is it?"} for row in judged(rows(300, 20))]
    sft = [row | {"instruction": "Think first. What is it?"} for row in judged(rows(300, 200))]
    with pytest.raises(DataError, match="item 0, field instruction: .* in different files"):
        decided(base, sft)


def test_items_that_share_a_group_are_clusters(decided):
    groups = [{"id": str(k), "group": f"text {k % 3}"} for k in range(300)]
    report = decided(judged(rows(300, 20)), judged(rows(300, 200)), groups)
    assert report.overall.clusters == 3


def asked_often(right, voice):
    """Judgements of 300 items of which 25 each ask the same question, right where its number is one of `right`."""
    return [
        {"id": k, "instruction": f"Question {k // 25}?", "output": f"{voice} {k}", "success": k // 25 in right}
        for k in range(300)
    ]


def test_one_question_under_many_ids_is_one_observation(decided):
    """Six of twelve questions won and two lost are 150 and 50 of 300 items."""
    base, sft = asked_often({0, 1}, "one"), asked_often({2, 3, 4, 5, 6, 7}, "two")
    report = decided(base, sft)
    assert report.overall.p_exact < 1e-10
    assert (report.verdict, report.overall.clusters) == ("fail", 12)
    assert report.overall.cluster_p == pytest.approx(0.289, abs=1e-3)
    assert "300 items without a group ask 12 different questions" in reason(report, "repeated questions").detail


@pytest.mark.parametrize(
    "where",
    [
        lambda k: {"input": f"text {k}"},
        lambda k: {"messages": [{"role": "user", "content": f"text {k}"}]},
        lambda k: {"prompt": f"Answer. text {k}"},
        lambda k: {"group": f"text {k}"},
        lambda k: {"a": k, "b": k + 1, "answer": f"answer {k}"},
    ],
)
def test_items_of_one_instruction_with_their_question_elsewhere_are_no_cluster(decided, where):
    base, sft = judged(rows(300, 20)), judged(rows(300, 200))
    same = {"instruction": "Answer the question.", "model": "x"}
    report = decided(*([row | same | where(k) for k, row in enumerate(side)] for side in (base, sft)))
    assert (report.verdict, report.overall.clusters) == ("pass", None)


@pytest.mark.parametrize("model", [["a", "b"], 7, "\ud800"])
def test_a_model_that_is_no_plain_name_is_named_in_the_refusal(decided, refused, model):
    named = [[row | {"model": model if k % 2 else "z"} for k, row in enumerate(rows(30, n))] for n in (5, 20)]
    report = decided(*map(judged, named))
    assert "the rows of the base name 2 models" in refused(report)["same conditions"]


def test_a_question_that_the_file_of_items_tells_is_clustered_and_a_declared_group_stands(decided):
    items = [{"id": k, "instruction": "Answer.", "input": f"text {k // 2}"} for k in range(300)]
    items = [item | ({"group": "declared"} if k < 10 else {}) for k, item in enumerate(items)]
    report = decided(judged(rows(300, 20)), judged(rows(300, 200)), items)
    assert report.overall.clusters == 1 + 145
    assert "290 items without a group ask 145 different questions" in reason(report, "repeated questions").detail


def reasoned(pick, k):
    """Thoughts about all four choices, and the answer, as think_answer wants it."""
    thoughts = " ".join(f"{letter} would be a river." for letter in random.Random(k).sample("ABCD", 4))
    return f"<think>{thoughts}</think> <answer>{pick}</answer>"


def picked(right, made, **brought):
    table = []
    for k in range(300):
        hit = (7 * k) % 300 < right
        row = {"id": k, "output": made("ABCD"[k % 4] if hit else "ABCD"[(k + 1) % 4], k)}
        table.append(row | ({"success": hit} if brought else {}))
    return table


CHOICES = [{"id": k, "instruction": f"q{k}", "answer": "ABCD"[k % 4]} for k in range(300)]


def test_reasoning_over_the_choices_does_not_hold_the_answer(decided):
    spec = ScorerSpec(kind="think_answer", options={"inner": "exact"})
    report = decided(picked(120, reasoned), picked(210, reasoned), CHOICES, Evaluation(scorers={"default": spec}))
    assert (report.verdict, report.overall.won) == ("pass", 90)


def test_answers_that_name_every_choice_tell_nothing_of_form(decided):
    def weighed(pick, k):
        return reasoned(pick, k).replace("<think>", "").replace("</think>", "")

    report = decided(picked(120, weighed, brought=True), picked(210, weighed, brought=True), CHOICES)
    assert report.verdict == "pass"


def test_an_answer_that_stands_where_no_tag_says_so_is_still_one_of_form(decided, refused):
    """The base knows as much, and only lacks the tags: its answers hold their own choice and no other one."""
    base = picked(210, lambda pick, k: f"It is {pick}, I am sure.")
    spec = Evaluation(scorers={"default": ScorerSpec(kind="think_answer", options={"inner": "exact"})})
    assert "answer in the output" in refused(decided(base, picked(210, reasoned), CHOICES, spec))


def over_choices(picked):
    """Thoughts about all four choices in one line, and the choice, said as only a reader understands it."""
    return lambda pick, k: f"{reasoned('', k)[7:].partition('</think>')[0]} {picked.format(pick)}"


LETTERS = Evaluation(scorers={"default": ScorerSpec(kind="choice", options={"choices": list("ABCD")})})


def test_a_lift_of_reasoning_that_the_scorer_cannot_read_is_refused(decided, refused):
    """Both models choose alike; the base weighs the choices, and its scorer finds all of them in its answers."""
    base = picked(180, over_choices("Somewhere around {}, one feels, rather than elsewhere."))
    report = decided(base, picked(180, lambda pick, k: f"It is {pick}"), CHOICES, LETTERS)
    assert report.overall.base_successes == 0
    assert "name the right answer among others" in refused(report)["several choices"]


def test_reasoning_that_says_what_it_means_is_read(decided):
    report = decided(picked(120, over_choices("The answer is {}.")), picked(210, lambda p, k: p), CHOICES, LETTERS)
    assert (report.verdict, report.overall.won) == ("pass", 90)


def test_a_lift_of_naming_every_choice_is_refused(decided, refused):
    """`contains` finds the right letter in every answer that weighs all of them, whatever it decides."""
    spec = Evaluation(scorers={"default": ScorerSpec(kind="contains")})
    naming = picked(120, over_choices("The answer is {}."))
    report = decided(picked(150, lambda p, k: f"It is {p}"), naming, CHOICES, spec)
    assert report.overall.sft_successes == 300
    assert "several choices" in refused(report)


def test_an_answer_that_names_few_of_the_others_is_clear(decided):
    spec = Evaluation(scorers={"default": ScorerSpec(kind="contains")})
    two = picked(210, lambda p, k: f"It is {p}, not {'ABCD'['ABCD'.index(p) - 1]}")
    report = decided(picked(120, lambda p, k: f"It is {p}"), two, CHOICES, spec)
    assert "several choices" not in {r.criterion for r in report.reasons}


@pytest.mark.slow
def test_a_megabyte_of_html_is_shown_escaped(decided):
    evil = "<script>alert(1)</script>" * 40_000
    base, sft = judged(rows(300, 20)), judged(rows(300, 200))
    sft[0]["output"] = evil
    report = decided(base, sft, report=True)
    page = report.path("gate.html").read_text("utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert len(page) < 3_000_000


def test_bad_references_are_left_out_for_both_models_and_named_by_file_and_row(decided, tmp_path):
    items = [{"id": f"q{k}", "instruction": f"Question {k}?", "reference": {"answer": k}} for k in range(300)]
    items[7]["reference"], items[9]["reference"] = {"answer": "none"}, {"answer": None}
    base = [{"id": f"q{k}", "output": str(k if k % 2 else -1 - k)} for k in range(300)]
    sft = [{"id": f"q{k}", "output": str(k)} for k in range(300)]
    report = decided(base, sft, items, scorers(default="numeric"))
    assert (report.overall.n, report.missing, report.verdict) == (298, 0, "pass")
    named = reason(report, "bad references").detail
    assert named.startswith("2 of 300 items are left out for both models")
    assert f"{tmp_path / 'items.jsonl'}, row 8: item q7" in named and "row 10: item q9" in named
    for k in range(20, 30):
        items[k]["reference"] = {"answer": "none"}
    with pytest.raises(DataError, match=r"items.jsonl, row 8: .* 12 of the 300 items \(4.0%\) cannot be judged"):
        decided(base, sft, items, scorers(default="numeric"))
