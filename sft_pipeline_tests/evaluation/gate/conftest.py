"""Judged pairs by their counts, and how a criterion came out."""

from dataclasses import replace

import pytest

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.gate.verdict import Decision, verdict
from sft_pipeline.experiment import Gate
from sft_pipeline_tests.evaluation.gate import made_pairs

FINE = [Reason(criterion="guard", outcome="pass", detail="")]


@pytest.fixture
def pairs():
    """Pairs whose lengths tell nothing, by the counts both, lost, won and neither; other fields as given."""
    return made_pairs.pairs


@pytest.fixture
def decided():
    """The decision on pairs, with the given criteria."""

    def make(table, agreement=None, texts_known=True, flip_rate=None, preference=None, **criteria) -> Decision:
        if not texts_known:
            table = [replace(p, base=replace(p.base, output=None), sft=replace(p.sft, output=None)) for p in table]
        known = {"agreement": agreement, "flip_rate": flip_rate, "preference": preference}
        return verdict(table, FINE, Gate(**criteria), **known)

    return make


@pytest.fixture
def reason():
    """The reason of one criterion; None where it left none."""
    return lambda decision, criterion: next((r for r in decision.reasons if r.criterion == criterion), None)
