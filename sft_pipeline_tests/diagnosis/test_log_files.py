"""Logs of other trainers and trackers: one run, written in each format, gets one diagnosis."""

import csv
import io
import json
import math

import pytest

from sft_pipeline.diagnosis.diagnose import judge
from sft_pipeline.diagnosis.log import canonical
from sft_pipeline.diagnosis.log_files import log_history
from sft_pipeline.errors import DataError
from sft_pipeline_tests.diagnosis.test_diagnosis import falling, run

RUN = [
    row | {"learning_rate": 2e-4, "epoch": row["step"] / 400}
    for row in run([round(loss, 4) for loss in falling()], dev=[(200, 1.4), (400, 1.1)])
]
KEYS = ("step", "loss", "grad_norm", "learning_rate", "epoch", "eval_loss")


def lines(rows):
    return "\n".join(map(json.dumps, rows))


def renamed(names, rows=None):
    return [{names.get(key, key): value for key, value in row.items() if key in names} for row in rows or RUN]


LLAMA_FACTORY = {
    "step": "current_steps",
    "loss": "loss",
    "eval_loss": "eval_loss",
    "learning_rate": "lr",
    "epoch": "epoch",
    "grad_norm": "grad_norm",
}
WANDB = {
    "step": "train/global_step",
    "loss": "train/loss",
    "eval_loss": "eval/loss",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
    "grad_norm": "train/grad_norm",
}


def table(rows, columns, missing=""):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval=missing, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def wandb_rows():
    return [row | {"_step": i, "_timestamp": 1.7e9 + i} for i, row in enumerate(renamed(WANDB))]


def printed(row):
    return str({key: value for key, value in row.items() if key != "step"})


def torchtune(row):
    figures = {
        "loss": "loss",
        "learning_rate": "lr",
        "grad_norm": "grad_norm",
        "eval_loss": "val_loss",
        "epoch": "epoch",
    }
    return f"Step {row['step']} | " + " ".join(f"{figures[key]}:{row[key]}" for key in figures if key in row)


def megatron(row):
    loss = "lm loss" if "loss" in row else "validation loss"
    value = row.get("loss", row.get("eval_loss"))
    figures = f"learning rate: {row['learning_rate']:.6E} | {loss}: {value:.6E}"
    norm = f" | grad norm: {row['grad_norm']:.3f}" if "grad_norm" in row else ""
    return f" iteration {row['step']:8d}/     400 | consumed samples: 64 | epoch: {row['epoch']} | {figures}{norm} | skipped: 0 |"


def mlx(row):
    if "loss" not in row:
        return f"Iter {row['step']}: Val loss {row['eval_loss']}, epoch {row['epoch']}, Learning Rate {row['learning_rate']}"
    return (
        f"Iter {row['step']}: Train loss {row['loss']}, Learning Rate {row['learning_rate']}, grad norm {row['grad_norm']}, "
        f"epoch {row['epoch']}, It/sec 0.533, Tokens/sec 98.7"
    )


LIGHTNING = {key: {"loss": "train_loss_step", "eval_loss": "val_loss"}.get(key, key) for key in KEYS}

FORMATS = {
    "megatron.log": "\n".join(["using world size: 8", *map(megatron, RUN)]),
    "mlx.txt": "\n".join(["Loading datasets", *map(mlx, RUN)]),
    "lightning.csv": table(renamed(LIGHTNING), list(LIGHTNING.values())),
    "trainer_log.jsonl": lines(row | {"total_steps": 400, "elapsed_time": "0:00:05"} for row in renamed(LLAMA_FACTORY)),
    "rows.jsonl": lines(RUN),
    "wandb.csv": table(wandb_rows(), ["_step", "_timestamp", *WANDB.values()]),
    "wandb.json": json.dumps(wandb_rows()),
    "wandb_history.jsonl": lines(wandb_rows()),
    "pandas.json": json.dumps({key: {str(i): row.get(key, math.nan) for i, row in enumerate(RUN)} for key in KEYS}),
    "pandas.csv": table(RUN, KEYS, missing="nan"),
    "torchtune.txt": "\n".join(["Setting seed 1", *map(torchtune, RUN)]),
    "state.json": json.dumps({"global_step": 400, "log_history": RUN}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_one_run_gets_one_diagnosis_in_whatever_format_it_is_written(tmp_path, name):
    (tmp_path / name).write_text(FORMATS[name])
    assert judge(log_history(tmp_path / name)) == judge(RUN)


def test_the_printed_log_of_a_trainer_is_read_behind_its_progress_bar(tmp_path):
    rows = [row | {"loss": math.nan} if i == 39 else row for i, row in enumerate(RUN)]
    text = "\n".join(f" {i}%|## | {i}/40 [00:01<00:02]{printed(row)}" for i, row in enumerate(rows))
    (tmp_path / "train.log").write_text(text)
    found, metrics = judge(log_history(tmp_path / "train.log"))
    assert metrics["log_records"] == 40 and [f.rule for f in found if f.severity == "blocking"] == ["non_finite_loss"]


@pytest.mark.parametrize(
    "line",
    [
        "[2026-01-01 00:00:00,000] [INFO] Epoch: 0, Step: {step}, Rank: 0, loss = {loss}",
        "Training epoch 0, iteration 3/99 | lr: 1e-05 | global_step: {step} | reduced_train_loss: {loss} | time in s: 1.2",
        "Epoch 1 | iter {step} step {step} | loss train: {loss}, val: n/a | iter time: 350.21 ms (step)",
        "iter {step}: loss {loss}, time 30.12ms, mfu 10.0%",
    ],
    ids=["DeepSpeed", "NeMo", "LitGPT", "nanoGPT"],
)
def test_lines_that_name_step_and_loss_are_read(tmp_path, line):
    rows = [row for row in RUN if "loss" in row]
    (tmp_path / "train.log").write_text("\n".join(line.format(**row) for row in rows))
    found = [(row["step"], float(row["loss"])) for row in canonical(log_history(tmp_path / "train.log"))]
    assert found == [(row["step"], row["loss"]) for row in rows]


def test_a_loss_that_is_nan_alone_is_what_happened_and_beside_an_evaluation_it_is_a_gap(tmp_path):
    rows = [*renamed(WANDB), {"train/global_step": 410, "train/loss": math.nan}]
    (tmp_path / "wandb.json").write_text(json.dumps(rows))
    assert "non_finite_loss" in {f.rule for f in judge(log_history(tmp_path / "wandb.json"))[0]}


def test_the_chart_of_one_run_is_read_and_that_of_several_is_refused(tmp_path):
    rows = [
        {"Step": row["step"], "a - train/loss": row["loss"], "a - train/loss__MIN": 0.0} for row in RUN if "loss" in row
    ]
    (tmp_path / "chart.csv").write_text(table(rows, ["Step", "a - train/loss", "a - train/loss__MIN"]))
    _, metrics = judge(log_history(tmp_path / "chart.csv"))
    assert metrics["log_records"] == 40 and metrics["loss_start"] == judge(RUN)[1]["loss_start"]
    (tmp_path / "chart.csv").write_text(table(rows, ["Step", "a - train/loss", "b - train/loss"]))
    with pytest.raises(DataError, match=r"several runs \(a, b\); export one run alone"):
        log_history(tmp_path / "chart.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"current_steps": 1, "loss": 1.0}\n{"current_steps": 2, "lo',
            r"line 2: not a JSON object: .*remove the line",
        ),
        ("time,speed\n1,2\n", r"no record has a training loss \(loss, train_loss.*the keys are speed, time"),
        ("nothing to see here", "no training log in a known format; give a trainer_state"),
        ('{"speed": 1}', "no field log_history"),
        ('{"log_history": [\n{"step": 1, "loss": 2.0},\n{"step": 2, "lo', r"not JSON \(Unterminated string"),
        ('[\n{"step": 1, "loss": 2.0},\n{"step": 2, "lo', r"not JSON \(Unterminated string"),
        ("", "no training log"),
    ],
)
def test_what_is_no_log_is_refused_with_what_is_missing(tmp_path, text, said):
    (tmp_path / "log").write_text(text)
    with pytest.raises(DataError, match=said):
        log_history(tmp_path / "log")


def test_a_log_without_a_loss_is_undecided_and_names_the_key(tmp_path):
    (tmp_path / "log.jsonl").write_text(lines({"step": i, "speed": 1.0} for i in range(9)))
    (finding,) = judge(log_history(tmp_path / "log.jsonl"))[0]
    assert finding.rule == "no_log" and "key loss, train_loss" in finding.evidence and "speed, step" in finding.evidence


def test_the_log_of_another_trainer_is_found_in_its_folder(tmp_path):
    (tmp_path / "trainer_log.jsonl").write_text(FORMATS["trainer_log.jsonl"])
    assert judge(log_history(tmp_path)) == judge(RUN)
