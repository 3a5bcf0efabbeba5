from sft_pipeline.experiment import Review
from sft_pipeline.report.rendering import Stage, about, with_lineage
from sft_pipeline.report.review import html
from sft_pipeline.review.draw import draw
from sft_pipeline.review.make import texts_of
from sft_pipeline_tests.review import simulated

HOSTILE = '</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>{{ 7*7 }}"\u202e\x00\r'


def test_a_page_is_the_same_whoever_s_answers_are_whose(small):
    """So nothing on it can tell: the key that calls each base the fine-tuned model gives the same bytes."""
    key, folder, _ = small
    items = {id: item.model_copy(update={"base": item.sft, "sft": item.base}) for id, item in key.items.items()}
    tasks = {
        rater: tuple(
            task.model_copy(
                update={"base_first": not task.base_first, "kind": "item"}
                if task.kind != "catch"
                else {"base_first": not task.base_first}
            )
            for task in page
        )
        for rater, page in key.tasks.items()
    }
    other = key.model_copy(update={"items": items, "tasks": tasks})
    for rater in key.tasks:
        page = (folder / "pages" / f"{rater}.html").read_text()
        assert page == html.page(other, rater, texts_of(other, rater))
        for secret in (
            "base_first",
            "stratum",
            key.answers,
            *key.pages.values(),
            *(id for id in key.items if len(id) > 3),
        ):
            assert secret not in page


def test_a_page_that_a_step_of_the_lineage_writes_does_not_say_what_was_trained(small):
    key, folder, _ = small
    lineage = [Stage("experiment tiny", "experiment.html"), Stage("gate", "gate.html", "fail", "fail")]
    with about({"description": "Fine-tuned to answer in one word.", "adapter": "0123456789ab"}, lineage):
        page = html.page(key, "rater-1", texts_of(key, "rater-1"))
    assert page == (folder / "pages" / "rater-1.html").read_text() == with_lineage(page, lineage)


def test_foreign_texts_are_escaped_and_what_hides_is_shown():
    rows, _ = simulated.rows(simulated.rng(0), 10)
    rows = [row | {"instruction": HOSTILE, "base_output": f"{HOSTILE} {row['id']}"} for row in rows]
    key = draw(rows, Review(returned="x", guide=HOSTILE), "e")
    page = html.page(key, "rater-1", texts_of(key, "rater-1"), {"t1": {"note": HOSTILE}})
    assert page.count("<script") == 2 and "<img" not in page
    assert "alert(1)&gt;{{ 7*7 }}" in page and "&gt;49" not in page
    assert "U+202E" in page and "\u202e" not in page and "\x00" not in page
    assert "connect-src 'self'" in page
    assert "connect-src" not in html.page(key, "rater-1", texts_of(key, "rater-1"))


def test_a_page_of_100_long_pairs_stays_small():
    rows, _ = simulated.rows(simulated.rng(0), 120)
    rows = [row | {"sft_output": "a long answer. " * 400} for row in rows]
    key = draw(rows, Review(returned="x"), "e")
    assert len(html.page(key, "rater-1", texts_of(key, "rater-1")).encode()) < 2_000_000
