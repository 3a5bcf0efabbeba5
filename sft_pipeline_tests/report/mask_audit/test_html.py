"""The page of the mask audit: counts first, every token with its class, nothing from the data as markup."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.report.mask_audit import html as mask_html
from sft_pipeline.report.mask_audit.html import Audit, Sample, Token

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*1911 }} \" onmouseover='x"


def an_audit(tokens=(), **changes) -> Audit:
    fields = {
        "rows": 1234, "tokens": 50_000, "learned": 20_000, "ends": 1230, "cut": ["a1"], "masked": [], "merged": [],
        "max_length": 256, "problems": [], "samples": [Sample("row-1", "longest", tuple(tokens))],
    }  # fmt: skip
    return Audit(**fields | changes)


def token(text, *, ids=(5,), learned=False, special=False, end=False) -> Token:
    return Token(text, ids, learned, special, end)


class Page(HTMLParser):
    """Tags, and the text of each token with its classes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tokens, self.depth = set(), [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]
        classes = (dict(attributes).get("class") or "").split()
        if tag == "span" and "title" in dict(attributes):
            self.tokens.append([set(classes), ""])
            self.depth = 1
        elif tag == "span" and self.depth:
            self.depth += 1

    def handle_endtag(self, tag):
        if tag == "span" and self.depth:
            self.depth -= 1

    def handle_data(self, data):
        if self.depth:
            self.tokens[-1][1] += data


def test_every_token_is_there_with_what_it_is():
    tokens = [
        token("Response:"),
        token(" a\tb", learned=True),
        token("\n", learned=True),
        token("<|end|>", learned=True, special=True, end=True),
    ]
    page = Page(mask_html.page(an_audit(tokens)))
    assert page.tokens == [
        [{"t"}, "Response:"],
        [{"t", "learned"}, "␣a⇥\tb"],
        [{"t", "learned"}, "↵\n"],
        [{"t", "learned", "special", "end"}, "<|end|>"],
    ]


def test_counts_come_first_and_problems_before_them():
    page = mask_html.page(an_audit(masked=[f"m{i}" for i in range(30)], problems=["30 of 1,234 rows are fully masked"]))
    assert page.index("30 of 1,234 rows are fully masked") < page.index("50,000") < page.index("row-1")
    assert 'class="fail"' in page and "m19" in page and "m20" not in page and "40.0 %" in page
    assert 'class="pass"' in mask_html.page(an_audit())


def test_what_cannot_be_seen_is_shown_as_its_number():
    text = str(mask_html.visible("a\u00a0b\u202ec\u200bd\re"))
    assert all(sign in text for sign in ("U+00A0", "U+202E", "U+200B", "U+000D"))
    assert not set("\u00a0\u202e\u200b\r") & set(text)


def test_nothing_from_the_data_is_markup():
    page = mask_html.page(
        an_audit(
            [token(EVIL, learned=True)], samples=[Sample(EVIL, "cut", (token(EVIL),))], cut=[EVIL], problems=[EVIL]
        )
    )
    assert "<script" not in page and "<img" not in page and "13377" not in page
    assert Page(page).tags.isdisjoint({"script", "img", "a", "link", "iframe"})


def test_a_very_long_row_is_shown_from_both_ends():
    tokens = [token(f"t{i}.") for i in range(mask_html.SHOWN + 500)]
    page = mask_html.page(an_audit(tokens))
    assert "… 500 tokens …" in page and "t0." in page and f"t{len(tokens) - 1}." in page
    assert len(Page(page).tokens) == mask_html.SHOWN


@pytest.mark.parametrize("rows", [0, 1])
def test_a_split_without_samples_has_a_page_too(rows):
    assert "Every row is fully masked" in mask_html.page(an_audit(rows=rows, learned=0, samples=[]))


@pytest.mark.slow
@given(st.text())
def test_any_text_comes_back_once_the_signs_are_taken_away(text):
    (_, shown) = Page(mask_html.page(an_audit([token(text)]))).tokens[0]
    kept = "".join(c for c in text if not c.isspace() and c.isprintable() and c not in "␣↵⇥\r")
    assert all(c in shown for c in kept if "U+" not in shown)
