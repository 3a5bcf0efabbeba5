"""Each link of a stored chain is looked at, and one that is missing is reported once."""

import pytest

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import verify_lineage


@pytest.fixture
def chain(tmp_path, make):
    """Two links of the type that `make` makes."""
    store = Store(tmp_path / "store")
    raw = store.put("raw", "tiny", make(store, "raw"))
    store.put("clean", "tiny", make(store, "clean", upstream={"raw": raw.version}))
    return store


def test_a_chain_that_is_not_materialized_to_its_end_is_sound(chain):
    assert verify_lineage(chain, "tiny") == ([], {"raw": 2, "clean": 2})


def test_an_input_that_is_not_stored_is_a_missing_link(chain):
    (chain.root / "pointers" / "raw" / "tiny.json").unlink()
    (problem,), checked = verify_lineage(chain, "tiny")
    assert (
        "clean was made from a raw" in problem and "no raw of tiny is stored" in problem and set(checked) == {"clean"}
    )


def test_an_input_that_was_recomputed_differently_is_reported(chain, make):
    chain.put("raw", "tiny", make(chain, "other"))
    (problem,), _ = verify_lineage(chain, "tiny")
    assert problem.startswith("clean was made from another raw")


def test_a_damaged_input_is_reported_once(chain):
    path = chain.get("raw", "tiny", TrainingReport).path("text.txt")
    path.chmod(0o644)
    path.write_text("fake")
    (problem,), _ = verify_lineage(chain, "tiny")
    assert "text.txt was changed" in problem
