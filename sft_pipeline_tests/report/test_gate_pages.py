"""The gate report as text, pictures and page: complete, and nothing from a model reaches the browser as markup."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sft_pipeline.artifacts import GateReport, ProtectedResult, Reason
from sft_pipeline.evaluation.statistics import from_counts
from sft_pipeline.report import gate_html, gate_plots
from sft_pipeline.report.gate_text import points, summary

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


def a_page(report: GateReport, outputs: list[str]) -> str:
    items = [
        {
            "id": f"{k:016x}", "type": report.types[0].name, "instruction": text, "base_output": text, "sft_output": text,
            "base_success": k % 2 == 0, "sft_success": k % 3 == 0, "base_reason": "" if k % 2 == 0 else text, "sft_reason": "",
        }
        for k, text in enumerate(outputs)
    ]  # fmt: skip
    pictures = {"rates.png": gate_plots.rates(report), "differences.png": gate_plots.differences(report)}
    return gate_html.page(report, items, pictures, {"inputs": {"test_split": EVIL}, "conditions": {EVIL: EVIL}})


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


def test_nothing_from_data_becomes_markup():
    page = a_page(a_report(name=EVIL), [EVIL] * 4)
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.found].count("script") == 1
    assert [tag for tag, _ in tags.found].count("img") == 2
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert "<script>alert" not in page
    assert tags.text.count("{{ 7*1911 }}") >= 12 and "13377" not in page
    rows = [attributes for tag, attributes in tags.found if "data-type" in attributes]
    assert {row["data-type"] for row in rows} == {EVIL}


def test_the_page_loads_nothing_and_allows_its_own_script_only():
    page = a_page(a_report(), ["x"])
    tags = Tags()
    tags.feed(page)
    links = [value for _, found in tags.found for name, value in found.items() if name in ("src", "href", "action")]
    assert len(links) == 2 and all(link.startswith("data:image/png;base64,") for link in links)
    script = re.search(r"<script>(.*)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_the_page_shows_verdict_reasons_types_and_items_with_the_lost_ones_first():
    page = a_page(a_report(), [f"answer {k}" for k in range(6)])
    tags = Tags()
    tags.feed(page)
    for text in ("FAIL", "p is large", "capital", "undecided", "answer 5", "50.0"):
        assert text in tags.text
    outcomes = [attributes["data-outcome"] for _, attributes in tags.found if "data-outcome" in attributes]
    assert outcomes == ["lost", "lost", "won", "both fail", "both fail", "both succeed"]


def test_a_huge_table_and_a_huge_answer_are_cut_with_a_note():
    page = a_page(a_report(), ["y" * 1_000_000] + ["x"] * gate_html.SHOWN)
    assert len(page) < 3_000_000
    assert "998000 more characters" in page
    assert f"{gate_html.SHOWN} of {gate_html.SHOWN + 1} items" in page


@pytest.mark.parametrize("verdict", ["pass", "fail", "refused"])
def test_the_text_begins_with_the_verdict_and_gives_what_stands_in_its_way_first(verdict):
    text = summary(a_report(verdict=verdict))
    assert text.startswith(verdict.upper())
    assert text.index("significance") < text.index("leakage")
    assert "base          32.0 % (16 of 50, 95 % interval 20.8 to 45.8)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_points_have_a_sign_and_no_negative_zero():
    assert [points(x) for x in (0.1834, -0.05, 0.0, -0.0001)] == ["+18.3", "−5.0", "0.0", "0.0"]


def test_pictures_are_reproducible_png_without_software_and_time():
    import io

    from PIL import Image

    for draw in (gate_plots.rates, gate_plots.differences):
        picture = draw(a_report(name="$odd_{name}$ \\frac"))
        assert picture == draw(a_report(name="$odd_{name}$ \\frac"))
        image = Image.open(io.BytesIO(picture))
        assert not {"Software", "Creation Time", "Date"} & set(image.info)
        assert len(image.convert("L").getcolors()) > 20  # something is drawn


def test_a_report_without_items_has_text_and_pictures():
    empty = a_report().model_copy(update={"overall": from_counts("all", 0, 0, 0, 0), "types": (), "protected": ()})
    assert "0 of 0" in summary(empty)
    assert gate_plots.rates(empty) and gate_plots.differences(empty)
