"""The reference pages are what the code says."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def generator():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", generator().PAGES)
def test_a_page_is_up_to_date(name):
    assert (DOCS / "reference" / name).read_text("utf-8") == generator().page(name), "run `make docs`"


def test_every_page_of_the_reference_is_generated():
    pages = {path.name for path in (DOCS / "reference").iterdir()}
    by_hand, by_benchmark = "glossary.md", "model_matrix.md"
    assert pages - {by_hand, by_benchmark} == set(generator().PAGES)
