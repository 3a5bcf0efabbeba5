"""Fixed adapters are evaluated again by the calendar and on a change, and never over a check that has failed."""

import shutil
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import dagster as dg
import pytest

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Finding,
    GateReport,
    HumanReview,
    InstructionDataset,
    ReviewRequest,
    TrainingReport,
)
from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.resources import Project
from sft_pipeline.provenance.store import Store
from sft_pipeline.review.returned import read_key
from sft_pipeline_tests.review import simulated

pytestmark = pytest.mark.slow

MONDAY = datetime(2026, 3, 2, 3, tzinfo=UTC)


@pytest.fixture
def evaluated(made_project):
    """The toy project with its whole lineage stored."""
    return made_project


def scheduled(project, instance, when=MONDAY):
    """What the schedule asks for at `when`."""
    defs = build_defs(root=project, store=project / "store")
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=when,
        repository_def=defs.get_repository_def(),
        resources={"project": Project(root=str(project), store=str(project / "store"))},
    )
    return defs.get_schedule_def("re_evaluate_weekly")(context)


def run_of(project, instance, request):
    """The run that a request asks for, in this process."""
    job = build_defs(root=project, store=project / "store").resolve_job_def("re_evaluate")
    return job.execute_in_process(
        instance=instance, partition_key=request.tags["dagster/partition"], tags=request.tags, raise_on_error=False
    )


def edit(project, old, new):
    path = project / "specs" / "toy.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def made(result):
    """Assets of a run, and whether each was recomputed."""
    found = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    return {m.asset_key.path[-1]: not m.metadata["reused"].value for m in found}


def replace(store, asset, kind, **fields):
    """Store the same artifact with other fields, as a later run would."""
    old = store.get(asset, "toy", kind)
    folder = store.new_folder()
    shutil.copytree(old.root, folder, dirs_exist_ok=True)
    store.put(asset, "toy", old.model_copy(update={"root": folder, **fields}))


def test_the_sensor_asks_when_something_that_the_gate_rests_on_has_changed_and_only_then(evaluated, instance, ticks):
    tick = ticks("re_evaluate_on_change")
    for _ in range(2):
        assert tick() == ([], "nothing has changed")
    edit(evaluated, "description: the whole", "description: a whole")
    edit(evaluated, "learning_rate: 2e-2", "learning_rate: 1e-2")
    assert tick()[0] == []  # another training is another adapter's business

    edit(evaluated, "alpha: 0.01", "alpha: 0.02")
    (request,) = tick.evaluate().run_requests
    assert "sft_pipeline/recompute" not in request.tags
    assert tick()[0] == ["toy"]
    started, why = tick()
    assert started == [] and "was started for exactly this" in why
    result = run_of(evaluated, instance, request)
    assert {name for name, recomputed in made(result).items() if recomputed} == {"gate_report"}
    assert tick() == ([], "nothing has changed")
    edit(evaluated, "alpha: 0.02", "alpha: 0.01")
    assert tick()[0] == ["toy"]  # back to what was evaluated once: the stored gate is another


def test_the_sensor_picks_up_what_raters_return_and_its_labels_reach_the_gate(evaluated, instance, ticks):
    tick, store = ticks("re_evaluate_on_change"), Store(evaluated / "store")
    edit(evaluated, "evaluation:", "evaluation:\n  review: {returned: returned, items_per_rater: 20}")
    (request,) = tick.evaluate().run_requests
    run_of(evaluated, instance, request)
    asked, empty = store.get("review_request", "toy", ReviewRequest), store.get("human_review", "toy", HumanReview)
    assert asked.declared and list(asked.tasks) == ["rater-1", "rater-2"] and empty.preference is None
    assert tick() == ([], "nothing has changed")

    (evaluated / "returned").mkdir()
    key = read_key(asked.path(ReviewRequest.KEY))
    truth = dict.fromkeys(key.items, "sft")
    for rater in key.tasks:
        simulated.save(key, rater, simulated.answers(key, rater, truth, simulated.rng(0)), evaluated / "returned")
    (request,) = tick.evaluate().run_requests
    result = run_of(evaluated, instance, request)
    assert {name for name, recomputed in made(result).items() if recomputed} == {"human_review", "gate_report"}
    review, gate = store.get("human_review", "toy", HumanReview), store.get("gate_report", "toy", GateReport)
    assert review.labels == gate.agreement.n > 0 and gate.upstream["human_review"] == review.version
    (people,) = [reason for reason in gate.reasons if reason.id == "people"]
    different = 1 - asked.population.get("identical", 0) / sum(asked.population.values())
    assert people.outcome == "info" and review.preference.net.value == pytest.approx(different)
    assert tick() == ([], "nothing has changed")


def test_the_sensor_sees_a_scorer_an_engine_and_a_test_split_that_changed(evaluated, ticks):
    tick = ticks("re_evaluate_on_change")

    def asked():
        return [request.tags["dagster/partition"] for request in tick.evaluate().run_requests or []]

    with patch.dict(vars(ASSETS["gate_report"]), code_version="another"):
        assert asked() == ["toy"]
    answers = "sft_pipeline.lineage.assets.evaluation.decoding"
    with patch(answers, lambda experiment: {"libraries": {"transformers": "another"}}):
        assert asked() == ["toy"]
    with patch("sft_pipeline.evaluation.scoring.score.libraries", lambda evaluation: {"math-verify": "another"}):
        assert asked() == ["toy"]
    assert asked() == []
    store = Store(evaluated / "store")
    replace(store, "test_split", InstructionDataset, notes=("another test split",))
    assert asked() == ["toy"]


def test_a_file_that_the_system_does_not_open_stops_no_other_experiment(evaluated, ticks):
    tick = ticks("re_evaluate_on_change")
    text = (evaluated / "specs" / "toy.yaml").read_text()
    (evaluated / "specs" / "tuned.yaml").write_text(text.replace("alpha: 0.01", "alpha: 0.02"))
    for path in (evaluated / "store" / "pointers").glob("*/toy.json"):
        path.with_name("tuned.json").write_bytes(path.read_bytes())
    edit(evaluated, "  gate:", f"  human_labels: {'x' * 300}\n  gate:")  # longer than the system lets a name be
    assert tick()[0] == ["tuned"]


def test_the_schedule_asks_for_every_stored_adapter_once_a_week_and_has_the_work_done_again(evaluated, instance):
    (first,) = scheduled(evaluated, instance)
    (repeated,) = scheduled(evaluated, instance)
    (next_week,) = scheduled(evaluated, instance, MONDAY + timedelta(days=7))
    assert first.run_key == repeated.run_key != next_week.run_key  # a tick that is repeated, also by a clock set back
    assert first.tags == {"dagster/partition": "toy", "sft_pipeline/recompute": "true"}
    result = run_of(evaluated, instance, first)
    assert made(result) == dict.fromkeys(
        [
            *(
                "base_generations",
                "sft_generations",
                "comparator_generations",
                "checkpoint_series",
                "capability_report",
                "review_request",
                "human_review",
                "gate_report",
            )
        ],
        True,
    )


def test_without_an_adapter_the_schedule_asks_for_nothing(toy_project, instance):
    assert scheduled(toy_project, instance).skip_message == "there is no stored adapter"


def test_nothing_is_asked_for_over_a_check_that_has_failed_and_a_run_started_by_hand_refuses(
    evaluated, instance, ticks
):
    (request,) = scheduled(evaluated, instance)
    unhealthy = Finding(rule="diverged", severity="blocking", evidence="the loss rose", remedy="a lower learning rate")
    replace(Store(evaluated / "store"), "training_report", TrainingReport, findings=(unhealthy,))
    assert "the loss rose" in scheduled(evaluated, instance).skip_message
    started, why = ticks("re_evaluate_on_change")()
    assert started == [] and "not evaluated" in why and "the loss rose" in why

    result = run_of(evaluated, instance, request)
    assert not result.success
    assert not {"sft_generations", "checkpoint_series", "gate_report"} & made(result).keys()
    (check,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "training_is_healthy"]
    assert not check.passed


def test_splits_made_again_keep_an_adapter_while_their_rows_are_those_it_learned_from(evaluated, instance, materialize):
    for side in ("train_split", "dev_split", "test_split"):
        replace(Store(evaluated / "store"), side, InstructionDataset, notes=("other code, the same rows",))
    (request,) = scheduled(evaluated, instance)
    assert "gate_report" in made(run_of(evaluated, instance, request))  # schedule and run are of one mind

    edit(evaluated, "dev_size: 40", "dev_size: 41")
    assert materialize(evaluated, "train_split,dev_split,test_split").result.success
    problem = "other rows than those that the adapter is trained on"
    assert problem in scheduled(evaluated, instance).skip_message
    assert problem in materialize(evaluated, "sft_generations").failure("generations")


def test_a_diagnosis_of_another_adapter_is_not_enough(evaluated, instance):
    replace(Store(evaluated / "store"), "lora_adapter", AdapterSnapshot, steps=1)
    assert "another adapter" in scheduled(evaluated, instance).skip_message
