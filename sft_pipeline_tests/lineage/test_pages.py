"""The pages of the toy lineage: their look, the links among them, and the page of the whole experiment."""

import fcntl
import json
import re
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request

import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import CapabilityReport, Finding, GateReport
from sft_pipeline.cli import app
from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.store import Store
from sft_pipeline.report.capabilities import html as capabilities_html
from sft_pipeline.report.experiment import sheet
from sft_pipeline.report.gate.text import headline
from sft_pipeline.report.page_server import address, server
from sft_pipeline.report.rendering import Stage, about, with_lineage
from sft_pipeline_tests.browser import CUT, browser_page, violations
from sft_pipeline_tests.report.capabilities.test_html import MEASURED


def links(page):
    """Where the links of a page lead."""
    return re.findall(r'<a href="([^"]*)"', page)


@pytest.fixture
def toy(toy_lineage, toy_project):
    """What is stored of the toy experiment."""
    return sheet.read(Store(toy_lineage.store), "toy")


def shown(lineage, **changes):
    """The page of the experiment as text, of what is stored with some changes."""
    page = sheet.page(lineage._replace(**changes), {})
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def test_a_stored_page_links_to_pages_of_what_it_was_made_from(toy_lineage):
    store = Store(toy_lineage.store)
    (gate,) = store.root.glob("objects/gate_report/*/files/gate.html")
    page = gate.read_text()
    targets = [(gate.parent / link).resolve() for link in links(page)]
    assert [target.name for target in targets] == ["report.html", "mask_audit.html"]
    assert all(target.is_file() for target in targets)
    assert '<span aria-current="page"><bdi>gate</bdi></span>' in page
    (data,) = store.root.glob("objects/clean_dataset/*/files/report.html")
    assert links(data.read_text()) == []  # nothing before it has a page


def test_every_link_of_a_served_page_opens_and_each_page_names_all_stages(toy_lineage, toy_project):
    pages = server(toy_lineage.store, 0)
    threading.Thread(target=pages.serve_forever, args=[0.01], daemon=True).start()
    base = address(toy_lineage.store, pages.server_port)
    try:
        waiting, read = [f"{base}/experiments/toy.html"], {}
        while waiting:
            url = waiting.pop()
            if url not in read:
                with urllib.request.urlopen(url) as answer:
                    read[url] = answer.read().decode()
                waiting += [urllib.parse.urldefrag(urllib.parse.urljoin(url, link))[0] for link in links(read[url])]
        names = {url.rpartition("/")[2] for url in read}
        assert names >= {"toy.html", "report.html", "mask_audit.html", "gate.html"}
        gate = read[next(url for url in read if url.endswith("gate.html"))]
        (stored,) = toy_lineage.store.glob("objects/gate_report/*/files/gate.html")
        assert [part.partition("</nav>")[2] for part in (gate, stored.read_text())] == [gate.partition("</nav>")[2]] * 2
        header = gate.partition("</nav>")[0]
        assert header.startswith("<!doctype html>")
        for stage in set(sheet.PLACES) - {"search"}:
            assert f"<bdi>{stage}</bdi>" in header
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/experiments/other.html")
    finally:
        pages.shutdown()
        pages.server_close()


def test_a_page_of_an_earlier_version_leads_to_the_experiment_alone(toy_lineage, toy_project, tmp_path):
    store = Store(shutil.copytree(toy_lineage.store, tmp_path / "earlier"))
    before = store.pointer("clean_dataset", "toy")
    folder = store.new_folder()
    kept = store.describe("clean_dataset", "toy", sheet.Artifact)
    shutil.copytree(kept.root, folder, dirs_exist_ok=True)
    store.put("clean_dataset", "toy", kept.model_copy(update={"root": folder, "notes": ("another",)}))
    page = sheet.served(store, ["clean_dataset", before.address, "files", "report.html"]).decode()
    assert "an earlier version" in page and links(page) == ["../../../experiments/toy.html"]
    text = shown(sheet.read(store, "toy"))
    verdict = store.describe("gate_report", "toy", GateReport).verdict
    assert f"Outdated verdict, of other artifacts than those stored now: {verdict}" in text
    assert "train_split was made from another clean_dataset" in text and f"{verdict}, outdated" in text


def test_the_page_tells_the_whole_experiment(toy):
    text = shown(toy)
    for part in (
        headline(toy.found["gate_report"]),
        "the whole lineage at toy size",
        "What was rejected:", "rows read", "Leakage:", "Qwen2ForCausalLM", "steps made 40", "healthy",
        "Answers to the test split made", "McNemar, exact", "What was forgotten not measured",
        "no benchmark was measured, so nothing is known of what the model forgot elsewhere",
        "Human review none declared", "Release not made", "tokens trained on or generated",
        "sft-pipeline verify toy checks every file",
    ):  # fmt: skip
        assert part in text, part
    rate = toy.found["gate_report"].overall.base_rate
    assert f"base {100 * rate:.1f} %" in text


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        ((), "Not judged yet"),
        (("raw_dataset", "clean_dataset"), "Not judged yet"),
        (("raw_dataset", "clean_dataset", "base_model", "base_model_guard", "training_plan"), "Not judged yet; stopped at plan"),
    ],
)  # fmt: skip
def test_of_an_experiment_that_stopped_the_page_says_what_there_is_not(toy, stored, says):
    found = {asset: artifact for asset, artifact in toy.found.items() if asset in stored}
    if "training_plan" in found:
        blocking = Finding(rule="coverage", severity="blocking", evidence="9 % of the rows", remedy="more steps")
        found["training_plan"] = found["training_plan"].model_copy(update={"findings": (blocking,), "upstream": {}})
    text = shown(toy, found=found)
    assert text.startswith(f"toy: {says}")
    assert "Verdict not judged yet" in text and "Training not made" in text and "Cost" in text
    assert ("9 % of the rows. More steps." in text) == ("training_plan" in found)
    assert "pass" not in text.partition("What this page")[0].replace("passed", "")


def test_an_unfinished_step_is_running_or_was_stopped(toy, toy_project):
    store = Store(toy_project / "store")
    own = store.root / "work" / "lora_adapter" / "toy"
    (own / "0123").mkdir(parents=True)
    later = ("lora_adapter", "training_report", "sft_generations", "checkpoint_series", "gate_report")
    found = {asset: artifact for asset, artifact in toy.found.items() if asset not in later}
    with open(own.with_name(".toy.lock"), "w") as lock:
        assert store.unfinished("toy") == {"lora_adapter": False}
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert store.unfinished("toy") == {"lora_adapter": True}
    text = shown(toy, found=found, unfinished={"lora_adapter": False})
    assert "stopped at training, not finished: lora_adapter was begun and is not stored" in text
    assert "lora_adapter is being made now" in shown(toy, found=found, unfinished={"lora_adapter": True})


def test_what_cannot_be_read_or_is_not_known_is_named(toy):
    found = {asset: artifact for asset, artifact in toy.found.items() if asset != "training_report"}
    found["another_asset"] = found["raw_dataset"]
    text = shown(
        toy, found=found, damaged={"training_report": "its hash is another"}, experiment=None, problem="no file"
    )
    assert "training_report is stored and cannot be read: its hash is another" in text
    assert (
        "another_asset: stored, and not shown here" in text and "the specification cannot be read now: no file" in text
    )
    picture = toy.found["training_report"]
    changed = picture.model_copy(update={"files": picture.files | {"curves.png": picture.files["diagnosis.json"]}})
    assert "curves.png was changed after it was stored" in shown(toy, found=toy.found | {"training_report": changed})


def test_nothing_is_stored_of_it_and_it_is_not_declared(toy_project):
    with pytest.raises(StoreError, match="nothing was materialized for an experiment 'other'"):
        sheet.read(Store(toy_project / "store"), "other")
    with pytest.raises(StoreError, match="cannot be the name"):
        sheet.read(Store(toy_project / "store"), "../other")
    assert CliRunner().invoke(app, ["report", "other", "--out", "x.html"]).exit_code == 2


def test_nothing_from_data_becomes_markup(toy):
    evil = "<script>alert(1)</script> {{ 7*1911 }}"
    raw = toy.found["raw_dataset"].model_copy(update={"rejected": {evil: 3}, "source": evil, "notes": (evil,)})
    page = sheet.page(toy._replace(found=toy.found | {"raw_dataset": raw}), {})
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*1911 }}") == 3
    with about({"experiment": evil}, [Stage(evil, f'"{evil}')]):
        header = with_lineage(sheet.page(toy, {}), [Stage(evil, f'"{evil}')])
    assert "<script" not in header


@pytest.fixture
def folder(made_project):
    """What `report --out` writes, with a page of capabilities and of a comparison beside it."""
    for argument in ("all.html", "pages"):
        done = CliRunner().invoke(app, ["report", "toy", "--out", str(made_project / argument)])
        assert "page: " in done.output
    assert links((made_project / "all.html").read_text()) == [f"#{key}" for key in KEYS]
    pages = made_project / "pages"
    assert (pages / "gate.html").is_file()
    report = CapabilityReport(
        root=pages, verdict="regressed", results=(MEASURED,), perplexity=None, alpha=0.05, blocking="none"
    )
    page = capabilities_html.page(report, [], capabilities_html.differences(report))
    (pages / "capabilities.html").write_text(page)
    files = []
    for model, divisor in (("a", 2), ("b", 3), ("c", 5)):
        files.append(made_project / f"{model}.jsonl")
        rows = ({"id": f"q{k}", "type": "sum", "success": k % divisor > 0, "output": f"{model} {k}"} for k in range(60))
        files[-1].write_text("\n".join(map(json.dumps, rows)))
    out = made_project / "compare"
    done = CliRunner().invoke(app, ["compare", *map(str, files), "--out", str(out)])
    assert (out / "compare.html").is_file(), done.output
    return [*sorted(pages.glob("*.html")), out / "compare.html"]


KEYS = (
    "data",
    "base",
    "plan",
    "training",
    "checkpoints",
    "answers",
    "gate",
    "capabilities",
    "review",
    "release",
    "cost",
)


@pytest.mark.slow
def test_in_a_browser_nothing_is_cut_off_and_axe_finds_nothing(chromium, folder):
    views = ((1400, "light"), (390, "dark"))
    with browser_page(chromium, bypass_csp=True) as page:

        def seen(width, scheme):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(media="screen", color_scheme=scheme)

        for file in folder:
            page.goto(file.as_uri())
            for view in views:
                seen(*view)
                assert page.evaluate(CUT) == [], (file.name, view)
            # axe looks at each element again and again, and the rows of the items are alike.
            page.evaluate("document.querySelectorAll('#items tr:nth-child(n+21)').forEach(row => row.remove())")
            for view in views:
                seen(*view)
                assert violations(page) == [], (file.name, view)
            for link in [link for link in links(file.read_text()) if not link.startswith("#")]:
                assert (file.parent / link.partition("#")[0]).is_file(), link
            page.emulate_media(media="print", color_scheme="light")
            page.set_viewport_size({"width": 703, "height": 1000})  # A4 without its margins, at 96 dots per inch
            assert page.evaluate("document.documentElement.scrollWidth") <= 703, file.name
