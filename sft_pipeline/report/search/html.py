"""The search report as one self-contained page: no network, no script, everything from data escaped."""

import base64
from collections.abc import Mapping
from functools import partial

from sft_pipeline.artifacts import SearchReport
from sft_pipeline.report.rendering import render
from sft_pipeline.report.search import text

CAPTIONS = {
    "history": "Figure of each trial, and the best so far",
    "importances": "How much of the difference between good and other trials each parameter explains (PED-ANOVA)",
    "parallel": "Parameters and figure of each trial",
}


def page(report: SearchReport, pictures: Mapping[str, bytes], origin: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        report: the report.
        pictures: Optuna's plots as PNG, by name.
        origin: versions of what the search was made from.
    """
    filters = {
        "figure": partial(text.figure, report),
        "difference": partial(text.difference, report),
        "parameters": text.parameters,
        "p": text.p,
    }
    return render(
        "search.html.j2",
        filters,
        report=report,
        headline=text.headline(report),
        optimism=text.optimism(report),
        pictures=[
            (base64.b64encode(pictures[n]).decode(), caption) for n, caption in CAPTIONS.items() if n in pictures
        ],
        origin=origin,
    )
