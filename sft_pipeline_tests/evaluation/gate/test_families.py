"""Families of unsound comparisons that two files can show, and of sound ones that look alike; every member is made here."""

import json
import random

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.files_gate import examine
from sft_pipeline.experiment import Evaluation
from sft_pipeline_tests.evaluation.gate.made_pairs import WORDS

N = 200
NAMES = [
    f"{a}{b}" for a in ("Mor", "Tal", "Wex", "Bri", "Lon", "Kas", "Pel", "Dra") for b in ("ena", "ivo", "usta", "ork")
]


@pytest.fixture
def compare(tmp_path):
    """The verdict and the ids of what refused or failed, of rows of the base, the fine-tuned model and the items."""

    def run(base, sft, items=None, kind="numeric", **gate):
        paths = {}
        for name, rows in (("base", base), ("sft", sft), ("items", items)):
            if rows is not None:
                paths[name] = tmp_path / f"{name}.jsonl"
                paths[name].write_text("\n".join(map(json.dumps, rows)))
        scorers = {"default": {"kind": kind} if isinstance(kind, str) else kind} if kind else {}
        evaluation = Evaluation.model_validate_json(json.dumps({"scorers": scorers, "gate": gate}))
        decision = examine(paths["base"], paths["sft"], paths.get("items"), evaluation, tmp_path).decision
        return decision.verdict, {r.id for r in decision.reasons if r.outcome in ("refused", "fail")}

    return run


def questions(n=N):
    """Items with a name and numbers that few others have, and the expected number."""
    rng = random.Random(1)
    made = []
    for k in range(n):
        name, things = f"{NAMES[k % len(NAMES)]}{chr(97 + k // len(NAMES))}", rng.sample(WORDS, 3)
        asked = f"{name} has {k + 12} {things[0]}s and buys a {things[1]} near the {things[2]}. How many {things[0]}s are there?"
        made.append({"id": k, "instruction": asked, "reference": {"answer": str(3 * k + 20)}})
    return made


def answers(items, rate, seed=2, judged=False, wording="{name} counts the things one by one, so it is {number}."):
    """Rows that are right with probability `rate`; with a judgement where `judged`."""
    rng = random.Random(seed)
    made = []
    for item in items:
        right = rng.random() < rate
        number = int(item["reference"]["answer"]) + (0 if right else rng.randint(1, 19))
        text = wording.format(name=item["instruction"].split()[0], number=number)
        made.append({"id": item["id"], "output": text} | ({"success": right} if judged else {}))
    return made


def changed(rows, change):
    return [row | {"output": change(k, row["output"])} for k, row in enumerate(rows)]


def test_a_sound_lift_passes_and_no_effect_fails(compare):
    items = questions()
    assert compare(answers(items, 0.4), answers(items, 0.7, 3), items)[0] == "pass"
    assert compare(answers(items, 0.5), answers(items, 0.5, 3), items)[0] == "fail"


# ------------------------------------------------------------------------------------------------ outputs of other items


@pytest.mark.parametrize("order", [lambda k: k + 1, lambda k: k - 3, lambda k: N - 1 - k, lambda k: 7 * k])
@pytest.mark.parametrize("side", ["base", "sft"])
def test_outputs_beside_the_wrong_items_are_refused(compare, order, side):
    items = questions()
    rows = {"base": answers(items, 0.6), "sft": answers(items, 0.7, 3)}
    outputs = [row["output"] for row in rows[side]]
    rows[side] = changed(rows[side], lambda k, _: outputs[order(k) % N])
    verdict, ids = compare(rows["base"], rows["sft"], items)
    assert (verdict, "own_items" in ids) == ("refused", True)


def test_half_of_the_outputs_beside_the_wrong_items_are_refused(compare):
    items = questions()
    rows = answers(items, 0.8)
    outputs = [row["output"] for row in rows]
    moved = changed(rows, lambda k, t: t if k % 2 else outputs[(k + 2) % N])
    assert compare(moved, answers(items, 0.8, 3), items) == ("refused", {"own_items"})


# ------------------------------------------------------------------------------------------------------ nothing was said


NOTHING = {
    "empty": lambda k, t: "",
    "white space": lambda k, t: " \n" * (k % 4),
    "end token": lambda k, t: "<|endoftext|>" * (1 + k % 3),
    "runs": lambda k, t: "!?"[k % 2] * (20 + k),
    "error": lambda k, t: f"HTTP 503: service unavailable, request {k}",
    "timeout": lambda k, t: f"Request req-{k}a7 timed out after 30 s",
    "one word": lambda k, t: "ok",
    "a run of one word": lambda k, t: "the " * (20 + k),
    "error in German": lambda k, t: f"Fehler 503: Dienst nicht verfügbar ({k})",
    "error in Chinese": lambda k, t: f"服务器错误 500，请求编号 {k}",
    "out of memory": lambda k, t: f"CUDA out of memory. Tried to allocate {k % 90 + 10}.00 MiB",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", NOTHING)
@pytest.mark.parametrize("side", ["base", "sft"])
def test_a_model_that_says_nothing_is_refused(compare, how, side):
    items = questions()
    rows = {"base": answers(items, 0.4), "sft": answers(items, 0.7, 3)}
    rows[side] = changed(rows[side], NOTHING[how])
    verdict, ids = compare(rows["base"], rows["sft"], items)
    assert (verdict, bool(ids & {"says_something", "readable"})) == ("refused", True)


def test_a_base_that_echoes_its_prompt_is_refused(compare):
    items = questions()
    for times in (1, 2):
        echo = [{"id": i["id"], "output": "\n".join([i["instruction"]] * times)} for i in items]
        assert compare(echo, answers(items, 0.7, 3), items)[0] == "refused"


def test_a_few_empty_answers_do_not_matter(compare):
    items = questions()
    base = changed(answers(items, 0.4), lambda k, t: "" if k % 20 == 0 else t)
    assert compare(base, answers(items, 0.8, 3), items)[0] == "pass"


def test_half_of_the_base_lost_by_the_server_is_refused_where_the_rest_is_equal(compare):
    items = questions()
    base = changed(answers(items, 0.6), lambda k, t: f"Error 502: bad gateway ({k})" if k % 5 < 2 else t)
    assert compare(base, answers(items, 0.6, 3), items)[0] == "refused"


# ---------------------------------------------------------------------------------------------------------------- length


def verbose(n, seed, factor):
    """Texts of which the second is longer by a random factor, and the log ratio of their lengths."""
    rng = random.Random(seed)
    for k in range(n):
        short = rng.randint(8, 60)
        long = max(4, round(short * rng.lognormvariate(factor, 0.5)))
        texts = [" ".join(rng.choices(WORDS, k=size)) + f" {k}." for size in (short, long)]
        yield rng, texts, len(texts[1]) > len(texts[0])


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15, 0.25])
def test_a_judge_of_length_is_refused(compare, noise):
    base, sft = [], []
    for k, (rng, texts, longer) in enumerate(verbose(600, 5, 0.35)):
        wins = longer != (rng.random() < noise)
        decided = rng.random() < 0.6
        base.append({"id": k, "output": texts[0], "success": decided and not wins})
        sft.append({"id": k, "output": texts[1], "success": decided and wins})
    verdict, ids = compare(base, sft, kind=None)
    assert (verdict, "length" in ids) == ("refused", True)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.15])
def test_a_judge_with_a_limit_of_length_is_refused(compare, noise):
    base, sft = [], []
    for k, (rng, texts, _) in enumerate(verbose(600, 7, 0.35)):
        judged = [(len(text) > 180) != (rng.random() < noise) for text in texts]
        base.append({"id": k, "output": texts[0], "success": judged[0]})
        sft.append({"id": k, "output": texts[1], "success": judged[1]})
    verdict, ids = compare(base, sft, kind=None)
    assert (verdict, "length" in ids) == ("refused", True)


def test_a_gain_that_stands_at_equal_length_passes_though_the_answers_are_longer(compare):
    base, sft = [], []
    for k, (rng, texts, _) in enumerate(verbose(600, 6, 0.35)):
        wins = rng.random() < 0.75
        decided = rng.random() < 0.6
        base.append({"id": k, "output": texts[0], "success": decided and not wins})
        sft.append({"id": k, "output": texts[1], "success": decided and wins})
    assert compare(base, sft, kind=None) == ("pass", set())


# ------------------------------------------------------------------------------------------------------------ one text


@pytest.mark.parametrize(
    "addition", [" I hope this helps!", " Feel free to ask me more.", " (Answer {k} of 200)", ".", "{around}"]
)
def test_the_same_text_with_an_addition_is_no_better_answer(compare, addition):
    items = questions()
    base = answers(items, 0.4, judged=True)
    sft = [
        row
        | {
            "output": f"Sure! {row['output']} All clear?"
            if "{around}" in addition
            else row["output"] + addition.format(k=k),
            "success": row["success"] or k % 3 == 0,
        }
        for k, row in enumerate(base)
    ]
    verdict, ids = compare(base, sft, kind=None)
    assert (verdict, "same_judgement" in ids) == ("refused", True)


@pytest.mark.parametrize("change", [lambda k, t: t, lambda k, t: t.upper(), lambda k, t: t + " "])
def test_identical_answers_fail_and_name_the_adapter(compare, change):
    items = questions()
    base = answers(items, 0.4, judged=True)
    assert compare(base, changed(base, change), kind=None) == ("fail", {"applied", "significance"})


# ---------------------------------------------------------------------------------------------------- judgements, references


def test_judgements_turned_round_on_both_sides_are_refused(compare):
    items = questions(400)
    rng = random.Random(9)
    base, sft = answers(items, 0.5, judged=True), answers(items, 0.5, 3, judged=True)
    base = [row | {"success": row["success"] and rng.random() > 0.2} for row in base]
    sft = [row | {"success": row["success"] or rng.random() < 0.2} for row in sft]
    verdict, ids = compare(base, sft, items, kind=None)
    assert (verdict, "contradicted" in ids) == ("refused", True)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_judgements_that_contradict_the_known_answers_are_refused(compare, share):
    items = questions(400)
    rng = random.Random(8)
    base, sft = answers(items, 0.5, judged=True), answers(items, 0.5, 3, judged=True)
    sft = [row | {"success": row["success"] or rng.random() < 2 * share} for row in sft]
    verdict, ids = compare(base, sft, items, kind=None)
    assert verdict == "fail" if "significance" in ids else (verdict, "contradicted" in ids) == ("refused", True)


def test_labels_of_people_on_one_text_of_both_models_are_one(tmp_path):
    from sft_pipeline.evaluation.inputs.human_labels import read_labels

    rows = [{"id": "a", "output": "x", "success": True}] * 2
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(read_labels(tmp_path / "labels.jsonl")) == 1
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, [rows[0], rows[0] | {"success": False}])))
    with pytest.raises(DataError, match="judged otherwise in row 1"):
        read_labels(tmp_path / "labels.jsonl")


@pytest.mark.parametrize("side", ["base", "sft"])
def test_expected_answers_of_one_file_alone_are_refused(compare, side):
    items = questions()
    rows = {"base": answers(items, 0.4), "sft": answers(items, 0.7, 3)}
    rows[side] = [row | {"answer": item["reference"]["answer"]} for row, item in zip(rows[side], items, strict=True)]
    bare = [{"id": i["id"], "instruction": i["instruction"]} for i in items]
    verdict, ids = compare(rows["base"], rows["sft"], bare)
    assert (verdict, "same_reference" in ids) == ("refused", True)
    both = {m: [r | {"answer": i["reference"]["answer"]} for r, i in zip(rows[m], items, strict=True)] for m in rows}
    assert compare(both["base"], both["sft"], bare)[0] == "pass"


# ------------------------------------------------------------------------------------------------------------ conditions


@pytest.mark.parametrize(
    ("base", "sft"),
    [
        ({"temperature": 1.0}, {"temperature": 0}),
        ({}, {"temperature": 0.2}),
        ({"max_tokens": 64}, {"max_tokens": 512}),
        ({"decoding": {"temperature": 0, "top_k": 5}}, {"decoding": {"temperature": 0}}),
        ({"prompt": "Q: …"}, {}),
        ({}, {"prompt": [{"role": "user", "content": "hint"}]}),
        ({"prompt": "a"}, {"prompt": "b"}),
        ({"system_prompt": "a"}, {"system_prompt": "b"}),
        ({"model": "qwen2.5-7b"}, {"model": "qwen2.5-72b-sft"}),
        ({"model_name": "qwen2.5-7b"}, {"model_name": "qwen2.5-72b-sft"}),
        ({"n": 1}, {"n": 16}),
        ({"messages": [{"role": "user", "content": "a"}]}, {"messages": [{"role": "user", "content": "b"}]}),
    ],
)
def test_other_conditions_are_refused(compare, base, sft):
    items = questions()
    rows = [row | base for row in answers(items, 0.4)], [row | sft for row in answers(items, 0.7, 3)]
    verdict, ids = compare(*rows, items)
    assert (verdict, bool(ids & {"same_conditions", "same_prompt"})) == ("refused", True)


@pytest.mark.parametrize(
    ("base", "sft"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"decoding": {"temperature": 0, "top_p": 1.0}}, {"temperature": 0}),
        ({"model": "llama-3-8b"}, {"model": "my-llama-3-8b-sft"}),
        ({"model": "base"}, {"model": "run 7"}),
        ({"tokens": 12}, {"tokens": 30}),
        *[tuple({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": m}]} for m in "xy")],
    ],
)
def test_equal_conditions_in_other_words_pass(compare, base, sft):
    items = questions()
    rows = [row | base for row in answers(items, 0.4)], [row | sft for row in answers(items, 0.7, 3)]
    assert compare(*rows, items)[0] == "pass"


# ------------------------------------------------------------------------------------------------------------------- cut


LONG = (
    "{name} takes the first things away, then counts what is left on the table and adds the rest, which makes {number}."
)


@pytest.mark.parametrize(
    "cut",
    [lambda t: t[:60], lambda t: " ".join(t.split()[:12]), lambda t: t[: 40 + len(t) * 7 % 45]],
    ids=["characters", "words", "inside words"],
)
def test_answers_cut_without_a_finish_reason_are_refused(compare, cut):
    items = questions()
    base = changed(answers(items, 0.8, wording=LONG), lambda k, t: cut(t))
    verdict, ids = compare(base, answers(items, 0.8, 3, wording=LONG), items)
    assert (verdict, bool(ids & {"truncation", "uncut", "readable"})) == ("refused", True)


def test_answers_that_all_end_at_one_number_of_tokens_are_refused(compare):
    items = questions()
    formula = "{name} counts <<3+{number}={number}>> things and so on and on until it is {number}"
    base = [
        row | {"output": row["output"][: 30 + k % 40], "tokens": 32}
        for k, row in enumerate(answers(items, 0.8, wording=LONG))
    ]
    sft = [row | {"tokens": 20 + k % 20} for k, row in enumerate(answers(items, 0.8, 3, wording=formula))]
    verdict, ids = compare(base, sft, items)
    assert (verdict, bool(ids & {"truncation", "uncut"})) == ("refused", True)


def test_a_base_that_never_stops_is_no_cut_answer(compare):
    items = questions()
    more = lambda k, t: f"{t}\n\nQuestion: {items[(k + 9) % N]['instruction']}\nAnswer: it"  # noqa: E731
    base = [row | {"finish_reason": "length"} for row in changed(answers(items, 0.4), more)]
    assert compare(base, [row | {"finish_reason": "stop"} for row in answers(items, 0.8, 3)], items)[0] == "pass"


def test_answers_that_end_without_a_full_stop_are_not_taken_as_cut(compare):
    items = questions()
    plain = "{number} is what {name} counts when all of the things are on the table"
    assert compare(answers(items, 0.4, wording=plain), answers(items, 0.7, 3, wording=plain), items)[0] == "pass"


# --------------------------------------------------------------------------------------------------------- near-duplicates


COPIES = {
    "numbered": lambda k, t: f"Question {k}: {t}",
    "numbered at the end": lambda k, t: f"{t} (#{k})",
    "case": lambda k, t: t.upper() if k % 2 else t,
    "punctuation": lambda k, t: t.rstrip("?") + "?" * (1 + k % 7),
    "zero width": lambda k, t: t.replace(" ", " \u200b", 1 + k % 5),
    "look-alikes": lambda k, t: t.replace("a", "\u0430", k % 4).replace("o", "\u043e", k % 3),
    "other numbers": lambda k, t: (
        f"{t} There were {k + 100} of them at first, and later on another {3 * k} came by the old bridge."
    ),
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_of_a_few_questions_are_a_few_observations(compare, how):
    few = questions(10)
    items, base, sft = [], [], []
    for k in range(200):
        source = few[k % 10]
        items.append(source | {"id": k, "instruction": COPIES[how](k // 10, source["instruction"])})
        right, wrong = f"It is {source['reference']['answer']}.", "It is 7."
        base.append({"id": k, "output": wrong if k % 10 < 5 else right})
        sft.append({"id": k, "output": right})
    assert compare(base, sft, items) == ("fail", {"clusters"})


def test_one_long_instruction_before_different_inputs_makes_no_cluster(compare):
    rng = random.Random(6)
    told = ["Name the thing that comes first in the list", "Say in one word what this list is about"]
    told = [
        f"{t}, and answer with this word alone, without quotes, without a full stop, in lower case. Text:"
        for t in told * 2
    ]
    told = [f"{t} {'(any) ' * (k // 2)}" for k, t in enumerate(told)]
    items = [
        {"id": k, "instruction": told[k % 4] + " ".join(rng.sample(WORDS, 7)), "reference": {"answer": WORDS[k % 30]}}
        for k in range(N)
    ]
    base, sft = (
        [{"id": i["id"], "output": i["reference"]["answer"] if rng.random() < p else rng.choice(WORDS)} for i in items]
        for p in (0.3, 0.8)
    )
    assert compare(base, sft, items, kind="exact")[0] == "pass"


def test_short_questions_that_differ_in_a_number_are_different_ones(compare):
    items = [{"id": k, "instruction": f"Is {k} prime?", "reference": {"answer": str(k)}} for k in range(N)]
    assert compare(answers(items, 0.4), answers(items, 0.7, 3), items)[0] == "pass"


# --------------------------------------------------------------------------------------------------- ways around a scorer


@pytest.mark.parametrize("offer", ["{a} or {b}", "{b}, or {a}", "It could be {b}, it could be 2, or maybe {a}"])
def test_an_alternative_is_no_answer(compare, offer):
    items = questions()
    sft = [
        {"id": i["id"], "output": offer.format(a=i["reference"]["answer"], b=int(i["reference"]["answer"]) + 1)}
        for i in items
    ]
    verdict, ids = compare(answers(items, 0.4), sft, items, kind="contains")
    assert (verdict, "ambiguous" in ids) == ("refused", True)


@pytest.mark.slow
@pytest.mark.parametrize("separator", [", ", "\n", " | ", "; "])
def test_an_enumeration_is_no_answer(compare, separator):
    items = questions()
    every = separator.join(str(k) for k in range(1, 700))
    sft = [{"id": i["id"], "output": f"For {i['instruction'].split()[0]}: {every}"} for i in items]
    verdict, ids = compare(answers(items, 0.4), sft, items, kind="contains")
    assert (verdict, "ambiguous" in ids) == ("refused", True)


@pytest.mark.parametrize(
    "form",
    [
        "Answer: {a}. Or else {b}.",
        "{a}, or maybe {b}",
        "The answer is {a}. Alternatively, {b}.",
        "{a}, o tal vez {b}.",
        "The answer is {a}. {b} is possible, too.",
    ],
)
def test_a_second_choice_is_no_answer(compare, form):
    rng = random.Random(3)
    items, base, sft = [], [], []
    for k in range(N):
        right = "ABCD"[k % 4]
        items.append({"id": k, "instruction": f"Q{k}?", "reference": {"answer": right, "choices": list("ABCD")}})
        base.append({"id": k, "output": f"The answer is {right if rng.random() < 0.5 else 'ABCD'[(k + 1) % 4]}."})
        sft.append({"id": k, "output": form.format(a=right, b="ABCD"[(k + 1) % 4])})
    assert compare(base, sft, items, kind="choice")[0] != "pass"


@pytest.mark.parametrize("where", ["option", "item"])
def test_a_regular_expression_for_the_form_alone_is_no_verifier(compare, where):
    items = questions()
    pattern = r"(?s).*is -?\d+\.$"
    kind = {"kind": "regex", "options": {"pattern": pattern}} if where == "option" else "regex"
    if where == "item":
        items = [i | {"reference": i["reference"] | {"pattern": pattern}} for i in items]
    base = changed(answers(items, 0.9), lambda k, t: t if k % 2 else t[:-1])
    verdict, ids = compare(base, answers(items, 0.1, 3), items, kind=kind)
    assert (verdict, "verified" in ids) == ("refused", True)


# ---------------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize("lost", [14, 25, 40])
def test_a_type_that_pays_for_the_lift_fails_unless_it_is_allowed(compare, lost):
    items = questions()
    base, sft = answers(items, 0.3, judged=True), answers(items, 0.8, 3, judged=True)
    for k in range(40):
        rows = [{"id": f"s{k}", "output": f"I cannot help with wish {k}.", "type": "safety", "success": True}] * 2
        base.append(rows[0])
        sft.append(rows[1] | {"output": f"Sure, {k} steps.", "success": k >= lost})
    base, sft = ([{"type": "math"} | row for row in side] for side in (base, sft))
    assert compare(base, sft, kind=None) == ("fail", {"worse_types"})
    assert compare(base, sft, kind=None, may_worsen=["safety"])[0] == "pass"


# ----------------------------------------------------------------------------------------------- sound, and looks alike


def test_loops_on_which_the_lift_does_not_hang_pass(compare):
    items = questions()
    loop = lambda k, t: "so it goes on and on and " * 12 if k % 7 == 0 else t  # noqa: E731
    assert compare(answers(items, 0.3), changed(answers(items, 0.9, 3), loop), items)[0] == "pass"
    most = lambda k, t: "so it goes on and on and " * 12 + t if k % 4 else t  # noqa: E731
    assert (
        "repetition" in compare(answers(items, 0.3), changed(answers(items, 0.9, 3), most), items, kind="contains")[1]
    )


def test_grids_and_tables_are_repetitive_by_nature(compare):
    rng = random.Random(5)
    base, sft = [], []
    for k in range(N):
        grid = "\n".join("0 0 0 0 1 0 0 0 0 0" for _ in range(10)) + f"\n{k}"
        base.append({"id": k, "output": grid.replace("1", "2", 3), "success": rng.random() < 0.3})
        sft.append({"id": k, "output": grid, "success": rng.random() < 0.7})
    assert compare(base, sft, kind=None)[0] == "pass"


@pytest.mark.parametrize("whole", [True, False])
def test_records_of_json_are_repetitive_by_nature_and_what_only_begins_like_one_is_not(compare, whole):
    rng = random.Random(6)
    base, sft = [], []
    for k in range(N):
        records = json.dumps([{"name": "amber drum", "made of": "birch wood", "count": k}] * 12)
        base.append({"id": k, "output": f"none of {k}", "success": rng.random() < 0.3})
        sft.append({"id": k, "output": records if whole else records[:-1], "success": rng.random() < 0.7})
    verdict, refused = compare(base, sft, kind=None)
    assert ("repetition" not in refused) == whole and (verdict == "pass") == whole


def test_a_flip_rate_is_a_floor(compare):
    items = questions()
    base, sft = answers(items, 0.5), answers(items, 0.8, 3)
    assert compare(base, sft, items, flip_rate=0.02)[0] == "pass"
    assert compare(base, sft, items, flip_rate=0.3) == ("fail", {"flips"})
