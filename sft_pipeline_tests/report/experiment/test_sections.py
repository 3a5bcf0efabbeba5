"""What the page of an experiment says of stages that the toy lineage does not have, or that came out badly."""

import json

import pytest

from sft_pipeline.artifacts import (
    ExportReport,
    ExportResult,
    HumanReview,
    InstructionDataset,
    LeakageProof,
    ReleaseSnapshot,
    ReviewRequest,
)
from sft_pipeline.artifacts.data import Threshold
from sft_pipeline.artifacts.review import Estimate, Preference, RaterAgreement, RaterResult
from sft_pipeline.experiment import Experiment
from sft_pipeline.experiment.release import Release
from sft_pipeline.report.experiment.cost import cost
from sft_pipeline.report.experiment.sections import sections
from sft_pipeline_tests.report.experiment.test_expectations import DOCUMENT

PROOF = LeakageProof(
    against="train → test", train_rows=900, test_rows=100, ngram=3, threshold=0.7, containment_ngram=8,
    max_contained_share=0.5, exact=0, near=0, groups=0, contained=0, contained_over_limit=0, not_compared=("meanings",),
)  # fmt: skip


def part(key, found, **declared):
    """The section with that key, of these artifacts and an experiment with these sections."""
    experiment = Experiment.model_validate_json(json.dumps(DOCUMENT | declared))
    made = {section.key: section for section in sections(found, experiment, cost({}, Release()))}
    return made.get(key)


def rows(count, **fields):
    return InstructionDataset.model_construct(rows=count, **fields)


@pytest.mark.parametrize(("near", "state", "outcome"), [(0, "no leak found", "pass"), (2, "leaks", "fail")])
def test_a_leak_is_the_state_of_the_data(near, state, outcome):
    proof = PROOF.model_copy(update={"near": near})
    found = {"clean_dataset": rows(1000), "train_split": rows(900), "test_split": rows(100, proof=proof)}
    data = part("data", found)
    assert (data.state, data.outcome) == (state, outcome)
    assert data.tables[-1].rows == [("train → test", "100", "0", str(near), "0", "0", "–")]
    assert data.unseen == ["leakage: meanings"] and [text for _, text in data.remarks] == ["No row was rejected."]


def test_thresholds_that_were_not_held_are_named_with_value_and_limit():
    limits = (
        Threshold(name="kept_share", value=0.4, limit=0.5, direction="at least"),
        Threshold(name="truncated_share", value=0.3, limit=0.1, direction="at most"),
        Threshold(name="runaway_share", value=0.1, limit=0.1, direction="at most"),
    )
    found = {
        "raw_dataset": rows(100, rejected={"not_text": 20}, source="rows.csv"),
        "clean_dataset": rows(40, rejected={"too_short": 60}, thresholds=limits),
    }
    data = part("data", found)
    assert (data.state, data.outcome) == ("2 thresholds failed", "fail")
    assert [text for _, text in data.remarks] == ["kept share: 0.4, at least 0.5", "truncated share: 0.3, at most 0.1"]
    assert [(f.name, f.value, f.detail) for f in data.figures] == [
        ("rows read", "120", ""),
        ("rows cleaned", "40", "33.3 % of the 120 rows read"),
    ]
    assert [row[:3] for row in data.tables[0].rows] == [("too short", "cleaned", "60"), ("not text", "read", "20")]


REQUEST = ReviewRequest.model_construct(items=40, tasks={"a": 50, "b": 50})


def estimate(value, low, high):
    return Estimate(value=value, interval=(low, high), n=40)


def rater(name, *problems):
    some = estimate(0.5, 0.1, 0.9)
    return RaterResult(
        rater=name, source="pages", asked=50, answered=50, position=some, self_agreement=some, catch_failed=some,
        problems=problems,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("net", "who"),
    [
        ((0.4, 0.2, 0.6), "people prefer the fine-tuned model"),
        ((-0.4, -0.6, -0.2), "people prefer the base"),
        ((0.1, -0.1, 0.3), "people show no clear preference"),
    ],
)
def test_a_review_says_whom_people_prefer_and_who_may_not_be_believed(net, who):
    review = HumanReview.model_construct(
        raters=(rater("a"), rater("b", "chose the first answer 49 of 50 times")), labels=80, unsettled=3,
        preference=Preference(answers={}, n=40, won=25, lost=9, tied=6, net=estimate(*net), p=0.01, p_unweighted=0.01),
        agreement=(
            RaterAgreement(question="preference", measure="Cohen's kappa", n=40, agreed=31, value=0.62, interval=(0.4, 0.8)),
            RaterAgreement(question="success", measure="Cohen's kappa", n=40, agreed=40, value=None, interval=None),
        ),
    )  # fmt: skip
    found = part("review", {"human_review": review, "review_request": REQUEST})
    assert found.state == "2 raters" and found.text.startswith(who) and found.unseen == []
    assert [(f.value, f.detail) for f in found.figures] == [
        ("80", "3 answers to settle"),
        ("31 of 40", "Cohen's kappa 0.62"),
        ("40 of 40", "Cohen's kappa –"),
    ]
    assert [text for _, text in found.remarks] == ["1 of the raters may not be believed; see review.txt"]


@pytest.mark.parametrize("review", [{}, {"human_review": HumanReview.model_construct()}])
def test_a_review_that_was_asked_for_and_has_not_come_back_is_not_looked_at(review):
    found = part("review", {"review_request": REQUEST} | review)
    assert found.state == "nothing returned" and "40 pairs were asked of 2 raters" in found.text
    assert found.unseen == ["people: the pages of the human review have not come back"]


def test_a_release_and_its_exports_are_shown_as_they_were_judged():
    declared = {"export": {"kinds": ["merged"]}}
    assert part("release", {}, **declared).text == "Declared and not made: merged. "
    verdicts = ("accepted", "inferior", "not_judged")
    results = tuple(ExportResult(kind="merged", verdict=v, detail=f"is {v}", margin=0.05) for v in verdicts)
    release = ReleaseSnapshot.model_construct(kind="release", files={})
    found = {"model_exports": ExportReport.model_construct(results=results), "release": release}
    made = part("release", found, **declared)
    assert (made.state, made.outcome) == ("made", "pass") and made.text.startswith("A release of 0 files and 0 bytes")
    assert [(word.text, word.outcome) for _, word, _ in made.tables[0].rows] == [
        ("accepted", "pass"), ("inferior", "fail"), ("not judged", "refused"),
    ]  # fmt: skip
    report = release.model_copy(update={"kind": "report"})
    assert (part("release", {"release": report}).state, part("release", {"release": report}).outcome) == ("report", "")


def test_expected_figures_are_a_section_only_where_some_are_declared():
    found = {"train_split": rows(40)}
    assert part("expectations", found) is None
    expected = {"train_split.rows": 40, "lora_adapter.dev_loss": 1.5, "gate_report.p": 0.01}
    found = part("expectations", found, expectations=expected)
    assert found.state == "1 of 3 measured" and len(found.tables[0].rows) == 3
