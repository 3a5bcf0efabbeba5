"""Two simulated raters fill in their pages in Chromium, by keyboard alone, and what they save is read."""

import json
import threading

import pytest

from sft_pipeline.experiment import Evaluation, Review
from sft_pipeline.review import serve
from sft_pipeline.review.make import make, rows_of_files
from sft_pipeline.review.results import read
from sft_pipeline.review.returned import read_returned
from sft_pipeline_tests.browser import browser_page, violations
from sft_pipeline_tests.review import simulated

KEYS = {
    "first": {"yes": "q", "no": "w", "unsure": "e"},
    "second": {"yes": "u", "no": "i", "unsure": "o"},
    "better": {"first": "1", "tie": "2", "second": "3"},
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def real_pairs(real_data, tmp_path_factory):
    """Pairs of self-instruct and MT-Bench, as `review make` takes them."""
    base, sft, items = [], [], []
    lines = (real_data / "self-instruct" / "user_oriented_instructions.jsonl").read_text().splitlines()
    asked = [json.loads(line) for line in lines]
    folder = real_data / "self-instruct" / "predictions"
    davinci, tuned = (
        [json.loads(line) for line in (folder / f"{name}_predictions.jsonl").read_text().splitlines()]
        for name in ("davinci", "davinci-self-instruct")
    )
    for question, a, b in zip(asked, davinci, tuned, strict=True):
        base.append({"id": question["id"], "output": a["response"]})
        sft.append({"id": question["id"], "output": b["response"]})
        instruction = f"{question['instruction']}\n\n{question['instances'][0]['input']}".strip()
        items.append({"id": question["id"], "instruction": instruction})
    bench = (real_data / "pairwise" / "mt-bench" / "gpt-4_pair.jsonl").read_text().splitlines()
    for row in map(json.loads, bench):
        question, _, rest = row["g1_user_prompt"].partition("[The Start of Assistant A's Answer]")
        first, _, rest = rest.partition("[The End of Assistant A's Answer]")
        second = rest.partition("[The Start of Assistant B's Answer]")[2].partition(
            "[The End of Assistant B's Answer]"
        )[0]
        base.append({"id": f"mt-{row['question_id']}", "output": first.strip()})
        sft.append({"id": f"mt-{row['question_id']}", "output": second.strip()})
        items.append({"id": f"mt-{row['question_id']}", "instruction": question.strip()})
    folder = tmp_path_factory.mktemp("pairs")
    files = [write(folder / f"{name}.jsonl", rows) for name, rows in (("b", base), ("s", sft), ("i", items))]
    return rows_of_files(*files, Evaluation(scorers={}), folder)


def fill_in(page, tasks, answers):
    """Answer the open pairs by keys, in the order in which the page shows them."""
    for task in tasks:
        assert page.locator(".task:visible").get_attribute("id") == task.task
        for question, keys in KEYS.items():
            page.keyboard.press(keys[answers[task.task][question]])
        page.keyboard.press("Enter")


def all_sent(page):
    """Wait by hand: the page's policy forbids the eval of `wait_for_function`."""
    for _ in range(200):
        if page.evaluate("!sending && !unsent.size"):
            return
        page.wait_for_timeout(50)
    raise AssertionError("answers were not sent")


@pytest.mark.slow
@pytest.mark.real_data
def test_a_complete_cycle_by_keyboard(chromium, real_pairs, tmp_path):
    key = make(real_pairs, Review(returned="x", items_per_rater=24, guide="<b>Read</b> both."), "real", tmp_path)
    returned, out, directly = tmp_path / "returned", tmp_path / "out", tmp_path / "directly"
    returned.mkdir()
    directly.mkdir()
    out.mkdir()
    truth = {row["id"]: ("sft", "sft", "base", "tie")[k % 4] for k, row in enumerate(real_pairs)}
    with browser_page(chromium) as page:
        for rater, tasks in key.tasks.items():
            file = tmp_path / "pages" / f"{rater}.html"
            content = file.read_text()
            for secret in ("base_first", "davinci", "phi-3-dpo", "stratum", "unclear", key.answers, *key.items):
                assert secret not in content
            page.goto(file.as_uri())
            assert page.locator("#count").inner_text() == "0 of 24 pairs"
            answers = simulated.answers(key, rater, truth, simulated.rng(5), bias=0.05, error=0.05)
            fill_in(page, tasks[:15], answers)
            page.keyboard.press("z")
            page.keyboard.press("z")
            assert page.locator("#count").inner_text() == "14 of 24 pairs"
            page.reload()  # what was entered is kept, and the first open pair is shown
            fill_in(page, tasks[14:], answers)
            assert page.locator("#left").inner_text() == "All pairs are judged."
            with page.expect_download() as download:
                page.keyboard.press("s")
            download.value.save_as(returned / download.value.suggested_filename)
    review = read(key, returned, out)
    assert not review.rejected and [r.answered for r in review.raters] == [24, 24]
    assert review.preference.n == 21
    used, _ = read_returned(key, returned)
    for rater in key.tasks:
        expected = simulated.answers(key, rater, truth, simulated.rng(5), bias=0.05, error=0.05)
        assert {t: (a.first, a.second, a.better) for t, a in used[rater].answers.items()} == {
            t: (a["first"], a["second"], a["better"]) for t, a in expected.items()
        }
        simulated.save(key, rater, expected, directly)
    # The same answers that never saw a browser say the same.
    (tmp_path / "again").mkdir()
    again = read(key, directly, tmp_path / "again")
    assert (again.preference, again.agreement) == (review.preference, review.agreement)
    assert (tmp_path / "again" / "labels.jsonl").read_bytes() == (out / "labels.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.real_data
def test_a_page_of_100_real_pairs_opens_in_a_second(chromium, real_pairs, tmp_path):
    key = make(real_pairs, Review(returned="x"), "real", tmp_path)
    file = tmp_path / "pages" / "rater-1.html"
    assert file.stat().st_size < 2_000_000
    with browser_page(chromium) as page:
        took = []
        for _ in range(3):  # the machine may be busy with something else
            page.goto(file.as_uri(), wait_until="load")
            took.append(page.evaluate("performance.getEntriesByType('navigation')[0].domComplete"))
        assert page.locator("#count").inner_text() == "0 of 100 pairs"
        assert page.evaluate("pageHash") == key.pages["rater-1"]
    print(f"{file.stat().st_size} bytes, {took} ms")
    assert min(took) < 1000


HOSTILE = '<script>document.title="owned"</script></div></section><img src=x onerror=alert(1)>\u202e\r\n\x00 {{ 7*7 }}'


@pytest.mark.slow
def test_hostile_texts_a_phone_and_an_edited_page(chromium, tmp_path):
    rows = [
        {
            "id": f"i{k}",
            "type": "all",
            "instruction": HOSTILE + "w" * 500,
            "base_output": f"{HOSTILE}{k}",
            "sft_output": f"\tindented\n\n  {k}",
        }
        for k in range(6)
    ]
    key = make(rows, Review(returned="x", items_per_rater=8, guide=HOSTILE), "hostile", tmp_path)
    path = tmp_path / "pages" / "rater-1.html"
    (tmp_path / "returned").mkdir()
    with browser_page(chromium, viewport={"width": 360, "height": 740}) as page:
        page.goto(path.as_uri())
        assert page.title().startswith("Review ")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.evaluate("pageHash") == key.pages["rater-1"]
        page.keyboard.press("1")  # which is better cannot be said before both are judged
        assert "First say of both answers" in page.locator("#said").inner_text()
        page.keyboard.press("n")
        page.keyboard.type("q1z, a note with keys in it")
        page.keyboard.press("Escape")
        page.keyboard.press("q")
        page.keyboard.press("Enter")
        assert "Pair 1 is not finished: answer 2 is open." in page.locator("#said").inner_text()
        with page.expect_download() as download:
            page.keyboard.press("s")
        download.value.save_as(tmp_path / "returned" / "half.json")
        used, rejected = read_returned(key, tmp_path / "returned")
        (answer,) = used["rater-1"].answers.values()
        assert not rejected and (answer.first, answer.better, answer.note) == (
            "yes",
            None,
            "q1z, a note with keys in it",
        )
        edited = tmp_path / "edited.html"
        edited.write_text(path.read_text().replace("indented", "better", 1))
        page.goto(edited.as_uri())
        with page.expect_download() as download:
            page.keyboard.press("s")
        download.value.save_as(tmp_path / "returned" / "edited.json")
    assert "texts were edited" in read_returned(key, tmp_path / "returned")[1]["edited.json"]


@pytest.mark.slow
def test_served_answers_are_stored_as_they_come(chromium, small, tmp_path):
    key, _, truth = small
    server = serve.server(key, tmp_path, 0)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    answers = simulated.answers(key, "rater-1", truth, simulated.rng(0))
    try:
        with browser_page(chromium) as page:
            address = f"http://127.0.0.1:{server.server_address[1]}/{serve.links(key, tmp_path)['rater-1']}"
            page.goto(address)
            fill_in(page, key.tasks["rater-1"][:5], answers)
            all_sent(page)
            page.evaluate("localStorage.clear()")  # another browser of the same rater
            page.goto(address)
            assert page.locator("#count").inner_text() == "5 of 20 pairs"
            fill_in(page, key.tasks["rater-1"][5:], answers)
            all_sent(page)
    finally:
        server.shutdown()
    used, rejected = read_returned(key, tmp_path)
    assert not rejected and sum(a.finished for a in used["rater-1"].answers.values()) == 20


@pytest.mark.slow
def test_axe_finds_nothing(chromium, small):
    with browser_page(chromium, bypass_csp=True) as page:
        page.goto((small[1] / "pages" / "rater-1.html").as_uri())
        for keys in ("", "qu1", "Enter"):
            for key in [keys] if keys == "Enter" else keys:
                page.keyboard.press(key)
            assert violations(page) == []
