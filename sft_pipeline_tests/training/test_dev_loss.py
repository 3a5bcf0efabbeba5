"""The dev loss is that of the dev split's tokens, however they are divided into batches.

For several processes see test_nodes.py.
"""

import json

import pytest

from sft_pipeline.dataset.table import read_table
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.training import tokenization, trainer
from sft_pipeline_tests.architectures import tiny, token_loss
from sft_pipeline_tests.training.conftest import split, toy_rows


@pytest.fixture
def trained(prepared, toy, tmp_path):
    """Trains on a dev split with one long response among short ones; gives log, adapter, and the figures by hand."""

    def train(base=None, **options):
        experiment = toy(max_steps=3, save_steps=1, min_coverage=0.1, **options)
        arguments = prepared(experiment, 16)
        rows = toy_rows(7, first=500)
        rows[2]["response"] = " ".join([rows[2]["response"]] * 6)
        (tmp_path / "uneven").mkdir()
        arguments |= {"dev": split(tmp_path / "uneven", "dev", rows), "base": base or arguments["base"]}
        adapter = trainer.train(*arguments.values())
        dev, root = arguments["dev"], arguments["base"].root
        examples = tokenization.encode(experiment, load_tokenizer(root), read_table(dev.path(dev.ROWS))).examples
        by_hand = token_loss(arguments["base"], experiment.model, adapter.root / "adapter", examples)
        return json.loads(adapter.path("log_history.json").read_text()), adapter, by_hand

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"eval_batch_size": 1},
        {"eval_batch_size": 3},
        {"eval_batch_size": 60},
        {"eval_batch_size": 3, "batching": "packed"},
    ],
    ids=["one by one", "three", "all at once", "packed"],
)
def test_the_dev_loss_does_not_depend_on_batches(trained, options):
    log, adapter, (loss, accuracy) = trained(**options)
    last = [row for row in log if "eval_loss" in row][-1]
    assert last["eval_loss"] == adapter.dev_loss == pytest.approx(loss, abs=1e-6)
    assert last["eval_mean_token_accuracy"] == pytest.approx(accuracy, abs=1e-9)


@pytest.mark.slow
def test_the_routers_auxiliary_loss_is_no_part_of_the_dev_loss(trained, toy_base, tmp_path):
    (tmp_path / "mixtral").mkdir()
    base = tiny("mixtral", toy_base.root, tmp_path / "mixtral", router_aux_loss_coef=0.5, output_router_logits=True)
    log, adapter, (loss, _) = trained(base, lora={"dropout": 0.0})
    assert all(row["aux_loss"] > 0.1 for row in log if "loss" in row), "it is a part of what is trained"
    assert adapter.dev_loss == pytest.approx(loss, abs=1e-6)
