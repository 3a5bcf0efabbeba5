"""The table and the picture of a checkpoint series, by the published one of known_answers.md."""

import io
from pathlib import Path

import pytest

from sft_pipeline.artifacts import SeriesPoint, SeriesReport
from sft_pipeline.evaluation.scorers import think_answer
from sft_pipeline.evaluation.statistics.paired import wilson
from sft_pipeline.report.training import checkpoint_table as series_table
from sft_pipeline.report.training.checkpoint_table import markdown, rows
from sft_pipeline.report.training.plots import plot

# Step, correct and format-correct of 5,000 items. Counts of baseline and final are published; the others follow from
# percentages with two digits, which stand for whole answers: one in 5,000 is 0.02 %.
COUNTS = [
    (0, 142, 799), (0, 274, 887), (1000, 367, 1050), (2000, 345, 1190), (3000, 376, 1269), (4000, 396, 1320),
    (5000, 391, 1375), (6000, 390, 1388),
]  # fmt: skip

PUBLISHED = """\
2.84 15.98 13.14 84.02
5.48 17.74 12.26 82.26
7.34 21.00 13.66 79.00
6.90 23.80 16.90 76.20
7.52 25.38 17.86 74.62
7.92 26.40 18.48 73.60
7.82 27.50 19.68 72.50
7.80 27.76 19.96 72.24"""
"""Accuracy, format accuracy, wrong answers and format failures in per cent; the baseline's 16.0 is 15.98 rounded."""


def a_point(step, correct, formatted, n=5000, **fields):
    labels = {"correct": correct, "wrong_answer": formatted - correct, "format_failure": n - formatted}
    low, high = wilson(correct, n)
    return SeriesPoint(
        step=step, n=n, successes=correct, low=low, high=high, labels=labels, mean_tokens=274.4, **fields
    )


def a_report(points=None, **fields):
    points = points or tuple(a_point(*count) for count in COUNTS)
    return SeriesReport(root=Path("nowhere"), split="dev", points=points, **fields)


def test_the_eight_published_rows_come_out_of_their_counts():
    columns = ("accuracy", "format accuracy", "wrong answer", "format failure")
    found = [" ".join(row[name].removesuffix(" %") for name in columns) for row in rows(a_report())]
    assert found == PUBLISHED.splitlines()


def test_the_best_of_them_is_step_4000_and_by_one_standard_error_an_earlier_one():
    report = a_report()
    assert report.best.step == 4000
    text = markdown(report)
    assert "4,000 (best) | 396 of 5,000 | 7.92 %" in text
    assert "Best checkpoint: step 4,000 (most successes, the earliest among equals)." in text
    # 7.92 % less its standard error of 0.38 points is 7.54 %: step 3000 with 7.52 % is just outside.
    assert a_report(rule="within_one_standard_error").best.step == 4000
    assert a_report(a_report().points[:4], rule="within_one_standard_error").best.step == 1000


def test_the_table_knows_the_labels_of_the_scorer():
    names = (think_answer.CORRECT, think_answer.WRONG, think_answer.FORMAT)
    assert names == (series_table.CORRECT, series_table.WRONG, series_table.FORMAT)


def test_without_a_format_the_success_by_type_is_shown():
    types = {"sum | of": (3, 4), "capital": (1, 6)}
    point = SeriesPoint(step=10, n=10, successes=4, low=0.2, high=0.7, types=types, truncated=2)
    (row,) = rows(a_report((point,)))
    assert (row["sum | of"], row["capital"], row["truncated"]) == ("75.00 %", "16.67 %", "2")
    assert "format accuracy" not in row
    assert "| sum \\| of |" in markdown(a_report((point,)))


def test_a_series_in_which_nothing_could_be_judged_says_so():
    nothing = tuple(SeriesPoint(step=s, n=0, successes=0, low=0.0, high=1.0, mean_tokens=3.0) for s in (0, 10, 20))
    report = a_report(nothing)
    assert "no checkpoint is the best" in markdown(report) and "(best)" not in markdown(report)
    assert rows(report)[1]["accuracy"] == "–" and plot(report)
    assert a_report(nothing, rule="within_one_standard_error").best.n == 0


@pytest.mark.parametrize("formatted", [True, False])
def test_the_picture_is_reproducible_and_shows_something(formatted):
    from PIL import Image

    points = tuple(a_point(*c) if formatted else a_point(*c).model_copy(update={"labels": {}}) for c in COUNTS)
    picture = plot(a_report(points))
    assert picture == plot(a_report(points))
    assert len(Image.open(io.BytesIO(picture)).convert("L").getcolors()) > 20
