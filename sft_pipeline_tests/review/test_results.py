import json

import pytest

from sft_pipeline.artifacts import ReviewItem, ReviewKey, ReviewTask
from sft_pipeline.evaluation.inputs.human_labels import read_labels
from sft_pipeline.evaluation.statistics.paired import tango
from sft_pipeline.experiment import Review
from sft_pipeline.review.draw import draw
from sft_pipeline.review.results import read
from sft_pipeline.review.statistics import agreement, net_preference, sign_test_p
from sft_pipeline_tests.review import simulated
from sft_pipeline_tests.review.simulated import save


def judge(pairs):
    """A key of pairs that a judge saw in both orders, and the judge's file: `pairs` are the winners (base, sft, tie)."""
    items = {
        f"i{k}": ReviewItem(id=f"i{k}", type="all", instruction="", base=f"b{k}", sft=f"s{k}", stratum="unclear")
        for k in range(len(pairs))
    }
    tasks, answers = [], {}
    for k, winners in enumerate(pairs):
        for kind, base_first, winner in zip(("item", "repeat"), (True, False), winners, strict=True):
            task = ReviewTask(task=f"{kind}{k}", item=f"i{k}", kind=kind, base_first=base_first)
            side = "tie" if winner == "tie" else "first" if (winner == "base") == base_first else "second"
            tasks.append(task)
            answers[task.task] = {"first": "yes", "second": "yes", "better": side}
    key = ReviewKey(
        request="r",
        experiment="e",
        secret="s",
        answers="a",
        guide="",
        population={"unclear": len(pairs)},
        items=items,
        tasks={"judge": tuple(tasks)},
        pages={},
    )
    return key, answers


def reviewed(key, answers, tmp_path):
    from sft_pipeline.report.review.html import texts_hash
    from sft_pipeline.review.make import texts_of

    key = key.model_copy(update={"pages": {r: texts_hash(key.guide, texts_of(key, r)) for r in key.tasks}})
    (tmp_path / "returned").mkdir()
    (tmp_path / "out").mkdir()
    for rater, given in answers.items():
        save(key, rater, given, tmp_path / "returned")
    return read(key, tmp_path / "returned", tmp_path / "out")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("part", "model"),
    [("Natural", "GPT-4"), ("Natural", "ChatGPT"), ("Adversarial/Manual", "GPT-4")],
)
@pytest.mark.parametrize("prompt", ["Vanilla", "Swap"])
def test_llmbar_agreement_of_judges_is_as_published(real_data, tmp_path, part, model, prompt):
    folder = real_data / "pairwise" / "llmbar" / part / model / prompt
    rows = json.loads((folder / "result.json").read_text())
    published = json.loads((folder / "statistics.json").read_text())
    say = {"1": "base", "2": "sft"}
    # Where the prompt Swap finds that the orders contradict each other it asks again: the last result is the verdict.
    both = [[say[row["results"][-1][f"swap = {swap}"]["winner"]] for swap in (False, True)] for row in rows]
    key, answers = judge(both)
    rater = reviewed(key, {"judge": answers}, tmp_path).raters[0]
    alike, n = (int(x) for x in published["equal"].partition("=")[0].split("/"))
    assert (round(rater.self_agreement.value * n), rater.self_agreement.n) == (alike, n)
    orders = agreement("preference", [dict(zip("ab", pair, strict=True)) for pair in both])
    assert orders.value == pytest.approx(published["kappa_agreement"], abs=1e-12)
    assert orders.agreed == alike
    gold = [say[str(row["label"])] for row in rows]
    for swap, order in ((0, "correct_False"), (1, "correct_True")):
        found = agreement("preference", [{"gold": g, "judge": p[swap]} for g, p in zip(gold, both, strict=True)])
        assert found.agreed == int(published[order].split("/")[0])
    assert sum(p == [g, g] for p, g in zip(both, gold, strict=True)) == int(published["correct_both"].split("/")[0])


@pytest.mark.real_data
def test_mt_bench_order_flips_are_found(real_data, tmp_path):
    lines = (real_data / "pairwise" / "mt-bench" / "gpt-4_pair.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    say = {"model_1": "base", "model_2": "sft", "tie": "tie"}
    both = [(say.get(row["g1_winner"]), say.get(row["g2_winner"])) for row in rows]
    both = [pair for pair in both if None not in pair]
    key, answers = judge(both)
    review = reviewed(key, {"judge": answers}, tmp_path)
    rater = review.raters[0]
    # Counted in the file itself: 73 pairs without an error, 46 judged alike, and of the 18 that turn round with the order
    # 16 go to whoever is first.
    assert (len(both), sum(a == b for a, b in both), both.count(("base", "sft")), both.count(("sft", "base"))) == (
        73,
        46,
        16,
        2,
    )
    assert (round(rater.self_agreement.value * 73), rater.self_agreement.n) == (46, 73)
    first = sum((a == "base") + (b == "sft") for a, b in both)
    second = sum((a == "sft") + (b == "base") for a, b in both)
    assert rater.position.value == pytest.approx((first - second) / 146)
    assert rater.position.interval[0] > 0 and any("prefers the first answer" in p for p in rater.problems)
    # MT-Bench calls a pair whose winner turns with the order a tie: so does the mean over both orders.
    won = sum(a == b == "sft" or {a, b} == {"tie", "sft"} for a, b in both)
    lost = sum(a == b == "base" or {a, b} == {"tie", "base"} for a, b in both)
    assert (review.preference.won, review.preference.lost) == (won, lost)


@pytest.fixture(scope="module")
def recovered():
    """Of 100 reviews by two raters with a known preference, position bias and error rate: what each interval held."""
    from sft_pipeline.review import results

    bias, error, held = 0.1, 0.1, []
    for seed in range(100):
        random = simulated.rng(seed)
        rows, truth = simulated.rows(random)
        key = draw(rows, Review(returned="x", seed=seed), "e")
        key = key.model_copy(update={"pages": dict.fromkeys(key.tasks, "")})
        made = {r: simulated.answers(key, r, truth, random, bias, error) for r in key.tasks}
        used = {r: simulated.returned(key, r, answers) for r, answers in made.items()}
        judged = [results.Judged(r, task, used[r].answers[task.task]) for r in used for task in key.tasks[r]]
        fit = results._fit(key, judged, list(used))
        preference = results._preference(key, judged, fit)
        net = sum({"sft": 1, "base": -1, "tie": 0}[t] for t in truth.values()) / len(truth)
        seeing = (1 - bias) * (1 - error)
        found = [(preference.corrected, net), (preference.net, seeing * net)]
        for number, r in enumerate(used):
            rater = results._rater(key, used[r], [j for j in judged if j.rater == r], fit, number)
            found += [(rater.position, bias), (rater.error_rate, 1 - seeing)]
        held.append([e.interval[0] <= truth <= e.interval[1] for e, truth in found])
    return [sum(column) for column in zip(*held, strict=True)]


@pytest.mark.slow
def test_preference_position_bias_and_error_rate_are_recovered(recovered):
    assert len(recovered) == 6 and min(recovered) >= 94, recovered


def test_faultless_raters_agree_and_their_labels_are_read_by_the_gate(small, answered, tmp_path):
    key, _, truth = small
    review = reviewed(key, answered, tmp_path)
    assert not review.rejected and not any(r.problems for r in review.raters)
    assert {a.question: (a.measure, a.value) for a in review.agreement} == {
        "success": ("Cohen's kappa", 1.0),
        "preference": ("Cohen's kappa", 1.0),
    }
    labels = read_labels(tmp_path / "out" / "labels.jsonl")
    for item in (item for item in key.items.values() if item.stratum != "catch"):
        assert labels[item.id, item.base].success is (truth[item.id] != "sft")
        assert labels[item.id, item.sft].success is (truth[item.id] != "base")
    rows = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    weights = {row["id"]: row["weight"] for row in rows}
    assert sum(weights.values()) == pytest.approx(sum(key.population.values()))
    assert set(review.preference.answers) == {i for i, item in key.items.items() if item.stratum != "catch"}
    net, text = review.preference.net, (tmp_path / "out" / "review.txt").read_text()
    assert text.startswith("people show no clear preference: net") and net.interval[0] < 0 < net.interval[1]
    assert f"of {review.preference.n} pairs {review.preference.won} are won" in text


def test_disagreements_are_listed_and_settled(small, answered, tmp_path):
    key, *_ = small
    one = dict(answered["rater-1"])
    task = next(t for t in key.tasks["rater-1"] if t.kind == "item" and one[t.task]["first"] == "yes")
    one[task.task] = one[task.task] | {"first": "no"}
    review = reviewed(key, {**answered, "rater-1": one}, tmp_path)
    assert review.unsettled == 1
    (open_,) = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert open_["id"] == task.item and set(open_["said"].values()) == {"yes", "no"} and open_["success"] is None
    (tmp_path / "returned" / "settled.jsonl").write_text(json.dumps(open_) + "\n")
    (tmp_path / "unsettled").mkdir()
    assert read(key, tmp_path / "returned", tmp_path / "unsettled").unsettled == 1
    (tmp_path / "returned" / "settled.jsonl").write_text(json.dumps(open_ | {"success": True}) + "\n")
    (tmp_path / "again").mkdir()
    again = read(key, tmp_path / "returned", tmp_path / "again")
    assert again.unsettled == 0 and again.labels == review.labels + 1
    assert read_labels(tmp_path / "again" / "labels.jsonl")[open_["id"], open_["output"]].success is True


def test_who_does_not_read_is_named(small, answered, tmp_path):
    key, *_ = small
    blind = {t.task: {"first": "yes", "second": "no", "better": "first", "ms": 0} for t in key.tasks["rater-2"]}
    half = dict(list(answered["rater-1"].items())[:9])
    review = reviewed(key, {"rater-1": half, "rater-2": blind}, tmp_path)
    assert review.raters[0].problems == ("unfinished: 9 of 20 pairs",)
    said = " ".join(review.raters[1].problems)
    for problem in ("prefers the first answer", "gave one answer (first) to all 20", "1,000 words a minute"):
        assert problem in said
    out = tmp_path / "without"
    out.mkdir()
    alone = read(key, tmp_path / "returned", out, without=["rater-2"])
    assert [r.rater for r in alone.raters] == ["rater-1"] and alone.rejected == {"rater-2.json": "left out as asked"}


def test_nothing_returned_is_no_preference(small, tmp_path):
    review = reviewed(small[0], {}, tmp_path)
    assert review.preference is None and review.labels == 0
    assert (tmp_path / "out" / "review.txt").read_text().startswith("no ratings were returned yet")


def test_krippendorff_of_three_raters_with_missing_judgements():
    # K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units, 0.743.
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [
        {f"r{k}": value for k, value in enumerate(unit) if value != "."}
        for unit in zip(*(o.split() for o in observers), strict=True)
    ]
    found = agreement("success", units)
    assert found.measure == "Krippendorff's alpha" and found.n == 11
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.interval[0] < found.value < found.interval[1]


@pytest.mark.parametrize(
    ("scores", "population", "value", "interval"),
    [
        ({"same": [1.0] * 10}, {"same": 10}, 1.0, (tango(0, 10, 10)[0], 1.0)),
        ({"same": [0.0] * 10}, {"same": 10}, 0.0, tango(0, 0, 10)),
        ({"same": [-1.0] * 10}, {"same": 10, "identical": 10}, -0.5, (-0.5, tango(10, 0, 10)[1] / 2)),
        ({"won": [1.0] * 20, "same": [0.0] * 20}, {"won": 20, "same": 180}, 0.1, (0.1 - 0.1486, 0.1 + 0.1450)),
    ],
)
def test_where_a_stratum_is_all_alike_the_spread_is_unknown(scores, population, value, interval):
    found = net_preference(scores, population)
    assert found.value == pytest.approx(value) and found.interval == pytest.approx(interval, abs=5e-4)


def test_weights_undo_the_draw():
    scores = {"won": [1.0] * 20, "same": [0.0, 1.0, -1.0, 0.0] * 5}
    found = net_preference(scores, {"won": 20, "same": 180, "identical": 200})
    assert found.value == pytest.approx(20 / 400)
    assert found.interval[0] < 0 < found.interval[1]
    assert sign_test_p([1.0] * 8) == 2 / 2**8
    assert sign_test_p([]) == sign_test_p([0.0]) == 1.0
