"""The gate report as text, pictures and page: complete, and nothing from a model reaches the browser as markup."""

import base64
import hashlib
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sft_pipeline.artifacts import GateReport, ProtectedResult, Reason
from sft_pipeline.evaluation.statistics.paired import from_counts
from sft_pipeline.experiment import Gate
from sft_pipeline.report.gate import (
    distributions as gate_distributions,
)
from sft_pipeline.report.gate import (
    html as gate_html,
)
from sft_pipeline.report.gate import (
    items as gate_items,
)
from sft_pipeline.report.gate import (
    plots as gate_plots,
)
from sft_pipeline.report.gate.json import AnswerStatistics, GateJson
from sft_pipeline.report.gate.text import points, summary

EVIL = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*1911 }} \" onmouseover='x"


def a_report(name: str = "capital", verdict: str = "fail") -> GateReport:
    types = (from_counts(name, 10, 2, 20, 8), from_counts("sum", 3, 1, 0, 6))
    return GateReport(
        root=Path("nowhere"),
        verdict=verdict,
        overall=from_counts("all", 13, 3, 20, 14),
        types=tuple(t.model_copy(update={"p_adjusted": 0.5}) for t in types),
        protected=(
            ProtectedResult(
                name=name, types=(name,), margin=0.1, result=types[0], verdict="undecided", overlap_rule=True
            ),
        ),
        reasons=(
            Reason(criterion="leakage", outcome="pass", detail="none"),
            Reason(criterion="significance", outcome="fail", detail=f"p is large, says {name}"),
        ),
        test="exact",
        alpha=0.01,
    )


def figures_of(logprob: float | None) -> dict:
    names = AnswerStatistics.model_fields.keys()
    return dict.fromkeys(names) | {"n": 3, "correct": 1, "incorrect": 2, "formatted": 0, "logprob": logprob}


def the_figures(report: GateReport, outputs: list[str]) -> GateJson:
    quantiles = {"p05": 1.0, "p25": 2.0, "p50": 3.0, "p75": 4.0, "p95": 5.0, "max": 1_000_000.0}
    return GateJson.of(
        report,
        {
            "answers": {"base": figures_of(-1.25), "sft": figures_of(None)},
            "length": None,
            "lengths": {"edges": [0, 50, 100, 1_000_000], "base": [1, 1, 1], "sft": [1, 1, 1]}
            | {"quantiles": {"base": quantiles, "sft": quantiles}},
            "repetition": {"base": 2, "sft": 1, "n": len(outputs)},
            "truncation": {"base": 0.25, "sft": 0.0},
            "power_curve": {"n": 50, "discordance": 0.46, "alpha": 0.01, "test": "exact", "planned_lift": 0.1}
            | {"lifts": [0.0, 0.1, 0.2, 0.3], "power": [0.01, 0.2, 0.5, 0.9]},
            "gate": Gate().model_dump(mode="json"),
            "inputs": {"test_split": EVIL},
            "conditions": {EVIL: EVIL},
            "trained_on": {},
            "flip_rates": {"base": 0.02, "sft": None},
        },
    )


def a_page(report: GateReport, outputs: list[str], **changes) -> str:
    items = [
        {
            "id": f"{k:016x}", "type": report.types[0].name, "instruction": text, "base_output": text, "sft_output": text,
            "base_success": k % 2 == 0, "sft_success": k % 3 == 0, "base_reason": "" if k % 2 == 0 else text, "sft_reason": "",
            "base_labels": [report.types[0].name], "sft_labels": [], "base_tokens": 4, "sft_tokens": None,
            "base_cut": k == 0, "sft_cut": None, "verifier": True, "cluster": None,
        } | changes
        for k, text in enumerate(outputs)
    ]  # fmt: skip
    return gate_html.page(report, the_figures(report, outputs), items, the_pictures())


@cache
def the_pictures() -> dict[str, bytes]:
    """Drawn once: no page looks into them."""
    report = a_report(name=EVIL)
    figures = the_figures(report, ["x"])
    items = [{"base_output": "x", "sft_output": "xy", "base_success": True, "sft_success": False}]
    return {name: draw(report) for name, draw in DRAW.items()} | {
        "lengths.png": gate_distributions.lengths(figures.lengths, items),
        "power.png": gate_distributions.power(figures.power_curve, report.overall.lift, 0.8),
    }


DRAW = {
    "rates.png": gate_plots.rates,
    "differences.png": gate_plots.differences,
    "discordance.png": gate_plots.discordance,
}


class Tags(HTMLParser):
    """Collects elements and the text of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
def test_nothing_from_data_becomes_markup():
    page = a_page(a_report(name=EVIL), [EVIL] * 4)
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.found].count("script") == 1
    assert [tag for tag, _ in tags.found].count("img") == 5
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert "<script>alert" not in page
    assert tags.text.count("{{ 7*1911 }}") >= 12 and "13377" not in page
    rows = [attributes for tag, attributes in tags.found if "data-type" in attributes]
    assert {row["data-type"] for row in rows} == {EVIL}


@pytest.mark.slow
def test_the_page_loads_nothing_and_allows_its_own_script_only():
    page = a_page(a_report(), ["x"])
    tags = Tags()
    tags.feed(page)
    links = [value for _, found in tags.found for name, value in found.items() if name in ("src", "href", "action")]
    assert len(links) == 5 and all(link.startswith("data:image/png;base64,") for link in links)
    script = re.search(r"<script>(.*)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for tag, a in tags.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and f"script-src 'sha256-{digest}';" in policy


@pytest.mark.slow
def test_the_page_shows_verdict_reasons_types_and_items_with_the_lost_ones_first():
    page = a_page(a_report(), [f"answer {k}" for k in range(6)])
    tags = Tags()
    tags.feed(page)
    for text in ("FAIL", "p is large", "capital", "undecided", "answer 5", "50.0"):
        assert text in tags.text
    outcomes = [attributes["data-outcome"] for _, attributes in tags.found if "data-outcome" in attributes]
    assert outcomes == ["lost", "lost", "won", "both fail", "both fail", "both succeed"]


@pytest.mark.slow
def test_a_huge_table_and_a_huge_answer_are_cut_with_a_note():
    page = a_page(a_report(), ["y" * 1_000_000] + ["x"] * gate_items.SHOWN)
    assert len(page) < 3_000_000
    assert "998,000 more characters, in items.parquet" in page
    assert f"{gate_items.SHOWN:,} of {gate_items.SHOWN + 1:,} items are shown: 500 of 500 lost, 250 of 250 won" in page
    assert "499 of 500 both fail" in page or "250 of 251 both succeed" in page


def test_every_outcome_is_shown_even_where_lost_ones_alone_would_fill_the_table():
    outcomes = [(True, False)] * 2000 + [(True, True)] * 300 + [(None, True)] * 7
    items = [{"id": f"{k:05}", "base_success": b, "sft_success": s} for k, (b, s) in enumerate(outcomes)]
    picked, counts = gate_items.chosen(items)
    assert len(picked) == gate_items.SHOWN
    assert counts == [
        ("lost", 1343, 2000), ("won", 0, 0), ("not judged", 7, 7), ("both fail", 0, 0), ("both succeed", 150, 300)
    ]  # fmt: skip


@pytest.mark.slow
def test_what_was_not_judged_has_an_outcome_of_its_own():
    page = a_page(a_report(), ["x"], base_success=None)
    tags = Tags()
    tags.feed(page)
    assert [a["data-outcome"] for _, a in tags.found if "data-outcome" in a] == ["not judged"]


HIDDEN = ["\u202e", "\u200b", "a\u200db", "\x1b", "\x00", "\ufeff", "\U000e0041", "\u2066"]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_is_invisible_is_shown_as_a_sign_and_reaches_neither_browser_nor_terminal(hidden):
    character = hidden.strip("ab")
    page = a_page(a_report(name=f"type {hidden}"), [f"evil {hidden} text"])
    assert character not in page.replace('data-type="type', "").split("<main>")[1].split('<form class="filters"')[0]
    tags = Tags()
    tags.feed(page)
    assert tags.text.count(f"U+{ord(character):04X}") >= 6
    assert character not in summary(a_report(name=f"type {hidden}"))


@pytest.mark.slow
def test_text_of_other_scripts_and_emoji_stay_as_they_are():
    for text in ("שלום עולם", "👩\u200d👩\u200d👧", "नमस्\u200dते"):
        assert text in a_page(a_report(), [text])


def test_a_long_answer_opens_on_demand_and_many_lines_do_not_fill_the_screen():
    assert "<details>" not in gate_items.text("short " * 10)
    for long in ("word " * 400, "a\n" * 400):
        shown = str(gate_items.text(long))
        head = shown.split("</pre>")[0].removeprefix('<pre dir="auto">')
        assert 0 < len(head) <= gate_items.SHORT and head.count("\n") <= gate_items.LINES
        assert f"<summary>{len(long) - len(head):,} more characters</summary>" in shown
    assert gate_items.text("\n" * 4000) == '<p class="note">white space only: 4,000 characters</p>'


@pytest.mark.slow
def test_the_page_shows_the_figures_of_the_answers_and_has_headers_and_alternative_texts():
    page = a_page(a_report(), ["x"] * 4)
    tags = Tags()
    tags.feed(page)
    for text in (
        "cut at the limit of new tokens",
        "25.0 %",
        "judged otherwise in a second run",
        "2.0 %",
        "repetitive",
        "2 (50.0 %)",
    ):
        assert text in tags.text
    assert all(attributes["alt"] for tag, attributes in tags.found if tag == "img")
    assert all("scope" in attributes for tag, attributes in tags.found if tag == "th")
    assert all(
        a.get("tabindex") == "0" and a.get("aria-labelledby") for _, a in tags.found if a.get("class") == "scroll"
    )


@pytest.mark.parametrize("verdict", ["pass", "fail", "refused"])
def test_the_text_begins_with_the_verdict_and_gives_what_stands_in_its_way_first(verdict):
    text = summary(a_report(verdict=verdict))
    assert text.startswith(verdict.upper())
    assert text.index("significance") < text.index("leakage")
    assert "base          32.0 % (16 of 50, 95 % interval 20.8 to 45.8)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_points_have_a_sign_and_no_negative_zero():
    assert [points(x) for x in (0.1834, -0.05, 0.0, -0.0001)] == ["+18.3", "−5.0", "0.0", "0.0"]


@pytest.mark.slow
def test_pictures_are_reproducible_png_without_software_and_time():
    import io

    from PIL import Image

    report = a_report(name="$odd_{name}$ \\frac " + "".join(HIDDEN))
    for draw in DRAW.values():
        picture = draw(report)
        assert picture == draw(report)
        image = Image.open(io.BytesIO(picture))
        assert not {"Software", "Creation Time", "Date"} & set(image.info)
        assert len(image.convert("L").getcolors()) > 20  # something is drawn


def test_a_report_without_items_has_text_and_pictures():
    empty = a_report().model_copy(update={"overall": from_counts("all", 0, 0, 0, 0), "types": (), "protected": ()})
    assert "– (0 of 0)" in summary(empty) and "0.0 % (0 of 0" not in summary(empty)
    assert all(draw(empty) for draw in DRAW.values())


@pytest.mark.slow
def test_a_picture_of_very_many_types_shows_the_largest_of_them():
    import io

    from PIL import Image

    one = from_counts("type", 9, 1, 2, 3)
    types = tuple(one.model_copy(update={"name": f"type {k}", "n": k}) for k in range(900))
    report = a_report().model_copy(update={"types": types})
    assert all(Image.open(io.BytesIO(draw(report))).height < 3000 for draw in DRAW.values())
