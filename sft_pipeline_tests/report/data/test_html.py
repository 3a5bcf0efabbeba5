"""The data report: complete, and nothing from the data reaches the browser as markup, a command or a hidden sign."""

import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sft_pipeline.artifacts import (
    DuplicateClusters,
    FilterOutcome,
    LengthDistribution,
    QualityManifest,
    RejectedSample,
    Threshold,
)
from sft_pipeline.report import excerpt
from sft_pipeline.report.data import html as data_html
from sft_pipeline.report.data import plots as data_plots

EVIL = "</pre></td><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*1911 }} \" onmouseover='x =1+1"


def a_length(name: str = "response_tokens") -> LengthDistribution:
    return LengthDistribution(
        name=name, median=12, mean=15.25, p95=40, largest=900, edges=(1, 11, 21, 31, 901), counts=(40, 70, 20, 3)
    )


def a_sample(**changes) -> RejectedSample:
    fields = {
        "filter": "delimiter", "reason": "the response holds the delimiter ###END###", "matched": "so ###END###",
        "instruction": "Ask.", "response": "Yes, so ###END### it goes.", "source_file": "a.jsonl", "source_row": 17,
    }  # fmt: skip
    return RejectedSample(**fields | changes)


def a_manifest(**changes) -> QualityManifest:
    fields = {
        "source": "a.jsonl", "source_schema": "alpaca", "rows_read": 160, "rows_unreadable": 4, "rows_kept": 133,
        "types": {"open": 100, "closed": 33}, "unique_instructions": 130,
        "filters": (
            FilterOutcome(name="delimiter", matched=9, dropped=9),
            FilterOutcome(name="repeats_instruction", matched=7, dropped=3),
        ),
        "duplicates": (
            DuplicateClusters(level="exact", clusters=3, rows=9, largest=5, dropped=6),
            DuplicateClusters(level="pair", clusters=4, rows=9, largest=3, dropped=5),
        ),
        "lengths": (a_length("instruction_words"), a_length()),
        "thresholds": (
            Threshold(name="kept_share", value=133 / 156, limit=0.5, direction="at least"),
            Threshold(name="median_response_tokens", value=12, limit=10, direction="at most"),
        ),
        "acceptance": {"pair": 0.775}, "samples": (a_sample(),), "libraries": {"lingua": "2.1"}, "notes": ("A note.",),
    }  # fmt: skip
    return QualityManifest(**fields | changes)


class Tags(HTMLParser):
    """Collects elements, what is marked, and the text of the page; one space for any white space."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.marked: list[str] = []
        self.text = ""
        self.feed(page)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag in ("td", "th", "dt", "dd", "h3", "pre"):
            self.text += " "

    def handle_data(self, data):
        self.text += data
        if self.found and self.found[-1][0] == "mark" and data.strip():
            self.marked.append(data)
            self.found.append(("", {}))


def test_nothing_from_data_becomes_markup():
    page = data_html.page(
        a_manifest(
            source=EVIL,
            source_schema=EVIL,
            types={EVIL: 133},
            filters=(FilterOutcome(name=EVIL, matched=2, dropped=1),),
            lengths=(a_length(EVIL),),
            thresholds=(Threshold(name=EVIL, value=1, limit=0, direction="at most"),),
            acceptance={EVIL: 0.5},
            libraries={EVIL: EVIL},
            notes=(EVIL,),
            samples=(
                a_sample(filter=EVIL, reason=EVIL, matched=EVIL, instruction=EVIL, response=EVIL, source_file=EVIL),
                a_sample(matched=EVIL),
            ),
        )
    )
    tags = Tags(page)
    names = [tag for tag, _ in tags.found]
    assert "script" not in names and names.count("img") == 1
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert tags.text.count("{{ 7*1911 }}") >= 15 and "13377" not in page
    assert names.count("details") == 2 and tags.marked == [EVIL, EVIL]


def test_the_page_loads_nothing_and_may_run_nothing():
    page = data_html.page(a_manifest())
    tags = Tags(page)
    links = [value for _, found in tags.found for name, value in found.items() if name in ("src", "href", "action")]
    assert len(links) == 2 and all(link.startswith("data:image/png;base64,") for link in links)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert not re.search(r"url\(|@import|https?:", page)


def test_the_page_says_everything_of_the_manifest():
    text = Tags(data_html.page(a_manifest())).text
    for part in (
        "1 of 2 thresholds fails: median response tokens",
        "kept share 85.3 %, at least 50 %",
        "median response tokens 12, at most 10",
        "a.jsonl, read as alpaca",
        "read 160 100 % unreadable −4 2.5 % filters −12 7.5 % duplicates: exact −6",
        "kept 133 83.1 %",
        "delimiter 9 9 repeats instruction 3 7",
        "exact 3 9 5 6 near, by pair 4 9 3 5",
        "response tokens 12 15.2 40 900",
        "the response holds the delimiter ###END### a.jsonl, row 17",
        "open 100 75.2 % closed 33 24.8 %",
        "pair 77.5 %",
        "A note.",
        "lingua 2.1",
    ):
        assert part in text, part
    assert "not accounted for" not in text


@pytest.mark.parametrize(
    ("values", "headline", "verdict"),
    [
        ([], "No threshold was judged", "refused"),
        ([5], "The threshold holds", "pass"),
        ([5, 10], "All 2 thresholds hold", "pass"),
        ([5, 11], "1 of 2 thresholds fails: t1", "fail"),
        ([11, 12, 1], "2 of 3 thresholds fail: t0, t1", "fail"),
    ],
)
def test_the_page_begins_with_the_verdict(values, headline, verdict):
    thresholds = tuple(
        Threshold(name=f"t{k}", value=value, limit=10, direction="at most") for k, value in enumerate(values)
    )
    page = data_html.page(a_manifest(thresholds=thresholds))
    assert f'<h1 class="{verdict}">{headline}</h1>' in page


def test_counts_that_do_not_add_up_are_said_so():
    text = Tags(data_html.page(a_manifest(rows_kept=130))).text
    assert "not accounted for −3" in text and "do not add up" in text
    assert "not accounted for +2" in Tags(data_html.page(a_manifest(rows_kept=135))).text


def test_the_matched_text_is_highlighted_where_it_stands_and_quoted_where_it_does_not():
    tags = Tags(data_html.page(a_manifest()))
    assert tags.marked == ["so ###END###"] and "Matched" not in tags.text
    loose = Tags(data_html.page(a_manifest(samples=(a_sample(matched="YES,  so"),))))
    assert loose.marked == ["Yes, so"]
    elsewhere = Tags(data_html.page(a_manifest(samples=(a_sample(matched="the kept row's instruction"),))))
    assert elsewhere.marked == [] and "Matched the kept row's instruction Instruction Ask." in elsewhere.text


def test_an_unreadable_row_shows_what_could_not_be_read():
    broken = a_sample(filter="unreadable", matched='{"instruction": ', instruction="", response="")
    text = Tags(data_html.page(a_manifest(samples=(broken,)))).text
    assert '{"instruction":' in text and "Response" not in text


def test_a_response_of_white_space_is_said_to_be_one():
    text = Tags(data_html.page(a_manifest(samples=(a_sample(matched="", response=" \n"),)))).text
    assert "Response nothing but white space" in text


def test_what_is_invisible_or_turns_the_direction_is_a_sign():
    page = data_html.page(
        a_manifest(samples=(a_sample(response="a\x00b\x1b[31m\u202egnp.exe\u200b\ufeff\x85 👩‍👩‍👧 עברית"),))
    )
    for code in ("U+0000", "U+001B", "U+202E", "U+200B", "U+FEFF", "U+0085"):
        assert f'<span class="control">{code}</span>' in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", page)
    assert "👩‍👩‍👧 עברית" in page


@given(
    st.text(st.characters(codec="utf-8")),
    st.text(st.sampled_from("<>&\"' aA"), max_size=3),
)
def test_a_shown_text_reads_as_it_was(text, matched):
    text = matched + text + matched
    assume(not excerpt.HIDDEN.search(text))
    markup = excerpt.shown(text, matched)
    seen = HTMLParser(convert_charrefs=True)
    read: list[str] = []
    seen.handle_data = read.append
    seen.feed(str(markup))
    seen.close()
    assert "".join(read) == text
    assert set(re.findall(r"<[^>]*>", markup)) <= {"<mark>", "</mark>"}


def test_many_types_are_cut_with_a_note():
    types = {f"type {k}": 1000 - k for k in range(data_html.TYPES + 5)}
    text = Tags(data_html.page(a_manifest(types=types))).text
    assert f"The {data_html.TYPES} most frequent of {data_html.TYPES + 5} types" in text
    assert "type 0" in text and f"type {data_html.TYPES}" not in text


def test_a_dataset_of_which_nothing_is_left_has_a_report(tmp_path):
    nothing = QualityManifest(
        source="", source_schema="", rows_read=0, rows_unreadable=0, rows_kept=0, types={}, unique_instructions=0,
        filters=(), duplicates=(), lengths=(), thresholds=(),
    )  # fmt: skip
    data_html.write(nothing, tmp_path)
    text = Tags((tmp_path / "report.html").read_text("utf-8")).text
    assert "No row was kept." in text and "No row was dropped." in text


@pytest.mark.slow
def test_the_same_manifest_gives_the_same_page_and_small_pictures_without_software_and_time(tmp_path):
    from PIL import Image

    odd = a_manifest(lengths=tuple(a_length(f"$odd_{{name}}$ \\frac {k}") for k in range(3)))
    data_html.write(odd, tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    data_html.write(odd, tmp_path)
    assert before == (tmp_path / "report.html").read_bytes()
    picture = data_plots.histogram(odd.lengths[0])
    image = Image.open(io.BytesIO(picture))
    assert not {"Software", "Creation Time", "Date"} & set(image.info)
    assert len(image.convert("L").getcolors()) > 20 and len(picture) < 100_000  # something is drawn
