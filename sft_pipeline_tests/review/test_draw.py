import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Review
from sft_pipeline.review.draw import allocate, draw, shown, stratum
from sft_pipeline_tests.review import simulated


@pytest.fixture(scope="module")
def rows():
    return simulated.rows(simulated.rng(1), 400)[0]


def test_what_the_scorers_judge_differently_or_cannot_judge_is_drawn_more_often():
    sizes = {"won": 50, "lost": 20, "unclear": 30, "same": 300}
    drawn = allocate(sizes, 85, 3.0)
    assert sum(drawn.values()) == 85
    rates = {name: drawn[name] / sizes[name] for name in sizes}
    for name in ("won", "lost", "unclear"):
        assert rates[name] == pytest.approx(3 * rates["same"], rel=0.15)
    assert allocate(sizes, 1000, 3.0) == sizes
    assert allocate({"won": 1, "same": 900}, 10, 1.0) == {"won": 1, "same": 9}
    assert sum(allocate({"won": 5, "lost": 5, "unclear": 5, "same": 5}, 4, 3.0).values()) == 4


@pytest.mark.parametrize(
    ("base", "sft", "more", "name"),
    [
        (False, True, {}, "won"),
        (True, False, {}, "lost"),
        (True, True, {}, "same"),
        (True, None, {}, "unclear"),
        (True, False, {"verifier": False}, "unclear"),
        (True, False, {"sft_output": "a"}, "identical"),
    ],
)
def test_stratum(base, sft, more, name):
    row = {"base_output": "a", "sft_output": "b", "base_success": base, "sft_success": sft, "verifier": True}
    assert stratum(row | more) == name


def test_a_page_balances_the_sides_repeats_with_exchanged_ones_and_shows_equal_texts(rows):
    key = draw(rows, Review(returned="x"), "e")
    for page in key.tasks.values():
        kinds = [task.kind for task in page]
        assert (kinds.count("item"), kinds.count("repeat"), kinds.count("catch")) == (85, 10, 5)
        assert len({task.task for task in page}) == 100
        items = {task.item: (place, task) for place, task in enumerate(page) if task.kind == "item"}
        assert sum(task.base_first for _, task in items.values()) in (42, 43)
        for place, task in enumerate(page):
            if task.kind == "repeat":
                before, first = items[task.item]
                assert before < place and first.base_first is not task.base_first
            if task.kind == "catch":
                one, other = shown(task, key.items[task.item])
                assert one == other
    one, two = key.tasks.values()
    assert {t.item for t in one} == {t.item for t in two} and [t.item for t in one] != [t.item for t in two]


def test_the_same_answers_give_the_same_request_and_others_another(rows):
    key = draw(rows, Review(returned="x"), "e")
    assert draw(rows[::-1], Review(returned="elsewhere"), "e") == key
    changed = [rows[0] | {"sft_output": "another"}, *rows[1:]]
    assert draw(changed, Review(returned="x"), "e").request != key.request
    assert draw(rows, Review(returned="x", seed=12), "e").request != key.request


def test_of_a_cluster_one_pair_stands_for_all(rows):
    clustered = [row | {"group": f"g{k // 4}"} for k, row in enumerate(rows)]
    key = draw(clustered, Review(returned="x", items_per_rater=200), "e")
    assert sum(key.population.values()) == 100
    drawn = [int(id[1:]) // 4 for id, item in key.items.items() if item.stratum != "catch"]
    assert len(drawn) == len(set(drawn)) == 100


def test_without_two_pairs_of_different_texts_there_is_nothing_to_compare(rows):
    same = [row | {"sft_output": row["base_output"]} for row in rows]
    with pytest.raises(DataError, match="0 pairs have different answers"):
        draw(same, Review(returned="x"), "e")
    few = draw(rows[:3], Review(returned="x"), "e")
    assert [t.kind for t in few.tasks["rater-1"]].count("item") == 3
