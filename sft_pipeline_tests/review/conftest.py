import pytest

from sft_pipeline.experiment import Review
from sft_pipeline.review.make import make
from sft_pipeline_tests.review import simulated


@pytest.fixture(scope="package")
def small(tmp_path_factory):
    """A request of 20 pairs for two raters: key, folder, and what is true of its items."""
    random = simulated.rng(3)
    rows, truth = simulated.rows(random, 60)
    folder = tmp_path_factory.mktemp("request")
    key = make(rows, Review(returned="x", items_per_rater=20), "small", folder)
    return key, folder, truth


@pytest.fixture
def answered(small):
    """Faultless answers of both raters, by rater."""
    key, _, truth = small
    return {rater: simulated.answers(key, rater, truth, simulated.rng(0)) for rater in key.tasks}
