"""Judged pairs by their counts, and how a criterion came out."""

import random

import pytest

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.gate.pairs import Pair
from sft_pipeline.evaluation.gate.verdict import Decision, verdict
from sft_pipeline.experiment import Gate

FINE = [Reason(criterion="guard", outcome="pass", detail="")]


@pytest.fixture
def pairs():
    """Pairs whose lengths tell nothing, by the counts both, lost, won and neither; other fields as given."""

    def make(both=0, lost=0, won=0, neither=0, type="t", **fields) -> list[Pair]:
        rng = random.Random(3)
        table = [(True, True)] * both + [(True, False)] * lost + [(False, True)] * won + [(False, False)] * neither
        return [
            Pair(f"{type}{k}", type, base, sft, rng.randint(20, 60), rng.randint(20, 60), **fields)
            for k, (base, sft) in enumerate(table)
        ]

    return make


@pytest.fixture
def decided():
    """The decision on pairs, with the given criteria."""

    def make(table, agreement=None, texts_known=True, **criteria) -> Decision:
        return verdict(table, FINE, Gate(**criteria), agreement=agreement, texts_known=texts_known)

    return make


@pytest.fixture
def reason():
    """The reason of one criterion; None where it left none."""
    return lambda decision, criterion: next((r for r in decision.reasons if r.criterion == criterion), None)
