"""The study: parameters that depend on number and past alone, and a journal that survives whoever writes it."""

import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.search.study import FILE, Study, prunes
from sft_pipeline_tests.search.conftest import experiment


def result(figure, state="complete"):
    found = figure if state == "complete" else None
    return {"state": state, "figure": found, "steps": 2, "seconds": 1.0, "reports": [[1, 3.0], [2, 2.0]], "reason": ""}


def searched(folder, reopen=False, **search):
    """Twelve trials with made-up figures; reopened after each operation as if the process had been killed."""
    declared = experiment(trials=12, **search).search
    study = Study(folder, declared, "one")
    for number in range(12):
        parameters = study.ask(number)
        if reopen:
            study = Study(folder, declared, "one")
            assert study.ask(number) == parameters
        state = "failed" if number == 3 else "pruned" if number == 4 else "complete"
        study.tell(number, result(abs(parameters["training.learning_rate"] - 1e-3), state))
        if reopen:
            study = Study(folder, declared, "one")
            study.tell(number, result(7.0))  # known already
    return study.finished()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_and_storage_give_the_same_trials(tmp_path, sampler):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    trials = searched(tmp_path / "a", sampler=sampler)
    assert searched(tmp_path / "b", reopen=True, sampler=sampler) == trials
    assert [t.number for t in trials] == list(range(12))
    assert [t.state for t in trials][3:5] == ["failed", "pruned"]
    assert len({t.parameters["training.learning_rate"] for t in trials}) == 12
    assert all(isinstance(t.parameters["training.lora.r"], int) for t in trials)
    assert searched(tmp_path / "c", sampler=sampler, seed=12) != trials


def test_a_list_is_a_choice(tmp_path):
    choices = {"training.lora.target_modules": {"choices": ["all-linear", ["q_proj", "v_proj"]]}}
    study = Study(tmp_path, experiment(parameters=choices).search, "one")
    found = [study.ask(number)["training.lora.target_modules"] for number in range(8)]
    assert {str(f) for f in found} == {"all-linear", "['q_proj', 'v_proj']"}


def test_a_storage_of_another_search_is_refused(tmp_path):
    declared = experiment().search
    Study(tmp_path, declared, "one").ask(0)
    with pytest.raises(SpecificationError, match="storage of another search.*Remove it"):
        Study(tmp_path, declared, "two")


def test_what_a_killed_process_leaves_does_no_harm(tmp_path):
    declared = experiment().search
    first = Study(tmp_path, declared, "one").ask(0)
    with open(tmp_path / FILE, "ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    (tmp_path / f"{FILE}.lock").touch()
    study = Study(tmp_path, declared, "one")
    assert study.ask(0) == first and study.ask(1) != first


def test_the_median_pruner_ends_what_is_worse_than_half_of_five():
    earlier = [{1: 3.0, 2: float(k)} for k in range(5)]
    assert not prunes(earlier, {1: 3.0, 2: 1.5}) and prunes(earlier, {1: 3.0, 2: 2.5})
    assert not prunes(earlier[:4], {1: 9.0, 2: 9.0}) and not prunes([], {1: 9.0})


def test_a_range_of_a_field_for_fractions_may_be_written_in_whole_numbers(tmp_path):
    study = Study(tmp_path, experiment(parameters={"training.weight_decay": {"low": 0, "high": 1}}).search, "one")
    assert 0 < study.ask(0)["training.weight_decay"] < 1
