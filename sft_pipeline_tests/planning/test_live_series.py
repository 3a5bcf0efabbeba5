"""The live series in specification and plan: what it will do, and what is refused because it cannot work."""

import json

import pytest
from pydantic import ValidationError

from sft_pipeline.experiment import Experiment
from sft_pipeline.planning import plan


@pytest.fixture
def declared(toy):
    """Makes a specification with a live series."""

    def make(live, *, split="dev", engine="transformers", best_by="dev_loss", **sections):
        document = json.loads(toy(**sections).model_dump_json(exclude_unset=True))
        document["training"]["best_by"] = best_by
        document["evaluation"]["series"] = {"split": split, "live": live}
        document["generation"]["engine"] = engine
        return Experiment.model_validate_json(json.dumps(document))

    return make


BEST = {"adapter": "best", "best_by": "dev_success"}


@pytest.mark.parametrize(
    ("live", "options", "message"),
    [
        (None, BEST, "is measured by evaluation.series.live: declare it"),
        ({"at_end": "drop"}, BEST, "compares all checkpoints: set evaluation.series.live.at_end: drain"),
        ({}, {"best_by": "dev_success"}, "best_by chooses nothing: set adapter: best"),
        ({}, {"split": "test"}, "a training reads no test items: set split: dev"),
        ({"device": "same"}, {"processes": 2}, "same lets one process wait: set training.processes to 1"),
        ({"device": "after", "at_end": "drop"}, {}, "at_end: drop evaluates nothing"),
    ],
)
def test_what_cannot_work_is_an_error_of_the_specification(declared, live, options, message):
    with pytest.raises(ValidationError, match=message):
        declared(live, **options)


def test_trials_of_a_search_cannot_choose_by_success(declared):
    document = json.loads(declared({}, **BEST).model_dump_json(exclude_unset=True))
    document["search"] = {
        "parameters": {"training.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}},
        "trials": 5,
    }
    with pytest.raises(ValidationError, match="trials of a search have none"):
        Experiment.model_validate_json(json.dumps(document))


LENGTHS = [(20, 10)] * 100


def findings(experiment, **given):
    made = plan.compute(experiment, LENGTHS, {}, given.get("config"), None, given.get("dev", [(20, 10)] * 8))
    return made, {finding.rule: finding for finding in made.findings}


@pytest.mark.parametrize(
    ("live", "model", "said"),
    [
        (
            {"device": "own"},
            {"device": "cuda"},
            "on a device of its own: 2 CUDA devices in all; those left at the end are",
        ),
        ({"at_end": "drop"}, {"device": "cuda"}, "otherwise once it has ended; those left at the end are left to"),
        ({"device": "same"}, {"device": "cuda"}, "on the training's device, while the training waits"),
        ({"device": "own"}, {}, "by a process of the lowest priority on the cores that the training leaves"),
    ],
)
def test_the_plan_says_what_is_evaluated_where(declared, live, model, said):
    experiment = declared(live, model=model, max_steps=50, save_steps=20)
    found = findings(experiment)[1]["live_series"]
    assert found.severity == "info" and "the base and 3 checkpoints answer 8 dev items" in found.evidence
    assert said in found.evidence
    assert "live_series" not in findings(declared(None, model=model))[1]


def test_the_plan_refuses_what_cannot_run(declared):
    assert findings(declared({}), dev=[])[1]["live_without_items"].severity == "blocking"
    beside = declared({"device": "same"}, engine="vllm", model={"device": "cuda"})
    assert findings(beside)[1]["live_same_device"].severity == "blocking"
    assert "live_same_device" not in findings(declared({"device": "after"}, engine="vllm", model={"device": "cuda"}))[1]


@pytest.mark.slow
def test_an_evaluator_on_the_trainings_device_has_a_base_of_its_own_in_the_estimate(declared, toy_base):
    config = json.loads(toy_base.path("config.json").read_text())
    fixed = {
        "gradient_accumulation": 1,
        "gradient_checkpointing": True,
        "batching": "plain",
        "optimizer": "adamw_torch",
    }
    made, _ = findings(declared({"device": "same"}, **fixed), config=config)
    own = made.memory_bytes
    assert own["evaluator"] == own["weights"] + own["embeddings"] + own["context"] > 0
    assert "evaluator" not in findings(declared({"device": "own"}), config=config)[0].memory_bytes
    needed = sum(made.memory_bytes.values())
    model = {"device_memory_gb": (needed - own["evaluator"] / 2) / 1e9}
    tight = declared({"device": "same"}, model=model, **fixed)
    assert findings(tight, config=config)[1]["memory"].severity == "blocking"


def test_an_evaluator_on_the_trainings_device_counts_when_the_plan_divides_a_step(declared, toy_base):
    config = json.loads(toy_base.path("config.json").read_text())

    def made(device, model):
        experiment = declared({"device": device}, model=model, batching="plain", batch_size=64, max_length=2048)
        return plan.compute(experiment, [(1000, 500)] * 100, {}, config, None, [(20, 10)] * 8)

    whole = made("same", {}).memory_bytes
    room = {"device_memory_gb": (sum(whole.values()) - whole["evaluator"] / 2) / 0.85 / 1e9}
    assert made("after", room).settings["gradient_accumulation"] == 1
    beside = made("same", room)
    divided = (beside.settings["gradient_accumulation"], beside.settings["gradient_checkpointing"])
    assert divided != (1, False) and not {"memory", "memory_tight"} & {finding.rule for finding in beside.findings}


def test_early_stopping_by_success_counts_checkpoints(declared):
    rules = {"early_stopping": {"patience": 4}, "eval_steps": 1, "save_steps": 10, "max_steps": 40}
    found = findings(declared({}, **BEST, **rules))[1]["early_stopping_idle"]
    assert "have only 4" in found.evidence and found.remedy.startswith("set save_steps to")
    assert "early_stopping_idle" not in findings(declared({}, **BEST | rules | {"best_by": "dev_loss"}))[1]
