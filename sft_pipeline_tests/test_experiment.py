"""Which fields of the training section decide the adapter, and fields that were renamed."""

import pytest
from pydantic import ValidationError

from sft_pipeline.experiment import Data, EarlyStopping, EmbeddedData, Gate, Generation, Lora, SuccessCriteria, Training

BASIS = {"epochs": 1.0, "adapter": "best", "processes": 2, "schedule": "polynomial"}

CACHE_KEY = {
    # the weights
    "lora": Lora(r=3),
    "epochs": 2.0,
    "max_steps": 7,
    "batch_size": 3,
    "gradient_accumulation": 3,
    "learning_rate": 1e-3,
    "schedule": "linear",
    "schedule_options": {"power": 2.0},
    "warmup_ratio": 0.5,
    "warmup_steps": 3,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "optimizer": "adamw_8bit",
    "max_length": 99,
    "batching": "plain",
    "packed_length": 2048,
    "packed_attention": "mask",
    "compile": True,
    "liger": True,
    "gradient_checkpointing": True,
    "early_stopping": EarlyStopping(),
    "processes": 3,
    "fsdp": True,
    "seed": 12,
    # the log, which a resumed run continues, and with it the choice of a checkpoint
    "eval_batch_size": 3,
    "logging_steps": 3,
    "eval_steps": 50,
    "save_steps": 50,
    # what is kept in the adapter's folder
    "adapter": "last",
    "best_by": "dev_success",
    "keep_checkpoints": "last",
    "validation_prompts": 1,
}
"""A value other than the default for each field of which another value makes another adapter, log or folder."""

KEY_INDEPENDENT = {
    "max_truncated_share": 0.5,
    "max_masked_share": 0.5,
    "min_coverage": 0.5,
    "max_coverage": 5.0,
    "minimum": SuccessCriteria(min_loss_drop=0.1),
    "optimal": SuccessCriteria(min_loss_drop=0.2),
    "tokens_per_second": 100.0,
    "report_to": (),
}
"""The same for the fields that only stop, warn, estimate or report."""


def test_every_field_of_the_training_section_is_on_one_side():
    # Whoever adds a field decides here whether another value of it has to train again.
    assert not CACHE_KEY.keys() & KEY_INDEPENDENT.keys()
    assert CACHE_KEY.keys() | KEY_INDEPENDENT.keys() == Training.model_fields.keys()
    assert set(KEY_INDEPENDENT) == Training.KEY_INDEPENDENT


@pytest.mark.parametrize(("field", "value"), (CACHE_KEY | KEY_INDEPENDENT).items())
def test_another_value_trains_again_exactly_where_it_decides(field, value):
    basis = Training(**BASIS)
    if field == "packed_length":  # it has conditions of its own
        basis = Training(epochs=1.0, batching="packed")
        other = basis.model_copy(update={field: value})
        assert other.cache_key != basis.cache_key
        return
    changed = {**BASIS, field: value} if field != "max_steps" else {"adapter": "best", "processes": 2, "max_steps": 7}
    other = Training(**changed)
    assert other != basis
    assert (other.cache_key != basis.cache_key) == (field in CACHE_KEY)


def test_a_tracker_that_is_named_twice_is_an_error():
    with pytest.raises(ValidationError, match="report_to names wandb more than once"):
        Training(epochs=1.0, report_to=("wandb", "tensorboard", "wandb"))


GUARANTEE = {"name": "safety", "types": ("refuse",), "margin": 0.1}
SOURCE = {"kind": "embedded"}
TEST = {"kind": "file", "path": "test.jsonl"}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (Gate, {"bootstrap_seed": -1}, "greater than or equal to 0"),
        (Gate, {"protected": (GUARANTEE, GUARANTEE)}, "protected names safety more than once"),
        (Gate, {"protected": (GUARANTEE | {"types": ("sum", "sum")},)}, "types names sum more than once"),
        (Generation, {"stop": ("",)}, "at least 1 character"),
        (
            Data,
            {"source": SOURCE, "split": {"test_size": 200}},
            r"test_size \(200\) is below split.min_test_size \(300\)",
        ),
        (
            Data,
            {"source": SOURCE, "split": {"test_size_by_type": {"a": 200, "b": 101}}},
            "adds up to 301; raise test_size",
        ),
    ],
)
def test_what_could_only_fail_after_the_training_is_refused_when_it_is_read(kind, fields, message):
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(fields)


def test_the_size_of_a_test_split_is_no_matter_where_a_test_file_is_brought():
    split = {"min_test_size": 500, "test_size_by_type": {"a": 301}}
    assert Data.model_validate({"source": SOURCE, "test": TEST, "split": split}).split.min_test_size == 500


def test_a_former_name_of_a_field_counts_for_one_release_with_a_warning():
    with pytest.warns(FutureWarning, match="dirt is called planted_faults now"):
        former = EmbeddedData(kind="embedded", dirt=0.1)
    assert former == EmbeddedData(kind="embedded", planted_faults=0.1)
    with pytest.raises(ValidationError, match="dirt is the former name of planted_faults; write planted_faults alone"):
        EmbeddedData(kind="embedded", dirt=0.1, planted_faults=0.1)
