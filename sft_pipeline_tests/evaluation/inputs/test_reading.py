"""The logs of harnesses: their own counts, what identifies an item, and what is refused."""

import gzip
import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs import content, inspect_logs
from sft_pipeline.evaluation.inputs.reading import FORMATS, RECOGNISED, Reading, read_logs

# --------------------------------------------------------------------------------------------------- logs to read


def lines(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def lm_sample(k: int, score: float | None, filter: str = "none", **fields) -> dict:
    """A sample as lm-eval 0.4 writes it."""
    return {
        "doc_id": k,
        "doc": {"question": f"What is {k} plus {k}?", "answer": str(2 * k)},
        "target": str(2 * k),
        "arguments": {"gen_args_0": {"arg_0": f"Q: {k} + {k}\nA:", "arg_1": {"until": ["\n"], "temperature": 0.0}}},
        "resps": [[f"It is {2 * k if score else k}."]],
        "filtered_resps": [str(2 * k if score else k)],
        "filter": filter,
        "metrics": ["exact_match"],
        "doc_hash": f"d{k}",
        "prompt_hash": f"p{k}",
        "target_hash": f"t{k}",
        "exact_match": score,
        **fields,
    }


def inspect_sample(k: int, value, epoch: int = 1, **fields) -> dict:
    return {
        "id": k,
        "epoch": epoch,
        "input": f"Is {k} even?",
        "target": "yes",
        "output": {
            "choices": [{"message": {"role": "assistant", "content": "yes"}, "stop_reason": "stop"}],
            "completion": "yes",
            "usage": {"output_tokens": 2},
        },
        "scores": {"match": {"value": value, "answer": "yes"}},
        **fields,
    }


def inspect_header(status: str = "success", reducer: str | None = None, **fields) -> dict:
    config = {"epochs_reducer": [reducer]} if reducer else {}
    return {
        "version": 2,
        "status": status,
        "eval": {"task": "parity", "model": "m/one", "dataset": {"name": "parity", "samples": 3}, "config": config},
        **fields,
    }


def eval_log(path: Path, samples, header: dict | None = None, zstandard: bool = False) -> Path:
    """A `.eval` as inspect writes it, since 2026 compressed by Zstandard."""
    members = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in {**members, "header.json": header or inspect_header()}.items():
            data = json.dumps(value).encode()
            if zstandard:
                archive.writestr(zipfile.ZipInfo(name), pa.compress(data, "zstd", asbytes=True))
                archive.filelist[-1].compress_type, archive.filelist[-1].file_size = 93, len(data)
            else:
                archive.writestr(name, data)
    return path


def outcomes(path: Path, reading: Reading = RECOGNISED) -> dict[str, bool | None]:
    [given] = read_logs([path], reading)
    return {o.id: o.success for o in given.log.outputs}


def refused(*paths: Path, **reading) -> str:
    with pytest.raises(DataError) as error:
        read_logs(paths, Reading(**reading))
    return str(error.value)


# ------------------------------------------------------------------------------------------------------ real logs

HARNESS = "harness-logs"
FLIPEVAL = f"{HARNESS}/lm_eval_synthetic__amoghsingh130-flipeval/packaging/tests/fixtures"
COUNTS = {
    f"{HARNESS}/helm__evaleval-every_eval_ever/commonsense*/per_instance_stats.json": (10, 10, 3),
    f"{HARNESS}/helm__evaleval-every_eval_ever/mmlu*/per_instance_stats.json": (10, 10, 1),
    f"{HARNESS}/helm__evaleval-every_eval_ever/narrative*/per_instance_stats.json": (5, 5, 0),
    f"{HARNESS}/inspect__meridianlabs-ai-inspect_scout/*popularity*": (100, 100, 63),
    f"{HARNESS}/inspect__meridianlabs-ai-inspect_scout/*theory*": (100, 100, 83),
    f"{HARNESS}/inspect__meridianlabs-ai-inspect_scout/*security*": (16, 16, 11),
    f"{HARNESS}/inspect__UKGovernmentBEIS-inspect_ai/scorer/logs/*mj7khq*": (10, 10, 8),
    f"{HARNESS}/inspect__UKGovernmentBEIS-inspect_ai/scorer/logs/*dPiJif*": (10, 0, 0),
    f"{HARNESS}/lighteval__evaleval-every_eval_ever/details/*/*/*/details_anli*": (2, 2, 0),
    f"{HARNESS}/lighteval__evaleval-every_eval_ever/details/*/*/*/details_squad*": (2, 2, 0),
    f"{HARNESS}/lm_eval__DanielKluev-pyFade/gsm8k/samples*13-42*": (3, 3, 2),
    f"{HARNESS}/lm_eval__evaleval-every_eval_ever/samples*": (10, 10, 0),
    f"{FLIPEVAL}/multifilter_baseline.jsonl": (120, 120, 30),
    f"{FLIPEVAL}/unscored_baseline.jsonl": (40, 0, 0),
    "pairwise/llmbar/Natural/GPT-4/Swap/result.json": (200, 200, 94 + 95),
    "pairwise/llmbar/Natural/ChatGPT/Vanilla/result.json": (200, 200, 80 + 83),
    "pairwise/llmbar/Adversarial/Manual/GPT-4/Swap/result.json": (92, 92, 36 + 39),
}
"""Answers, judged ones and successes, from the SOURCE.txt of the logs and the statistics of their harnesses."""


@pytest.mark.parametrize("pattern", COUNTS, ids=lambda pattern: pattern.rpartition("__")[2][-60:])
def test_a_real_log_gives_the_counts_of_its_harness(real_data, pattern):
    [path] = real_data.glob(pattern)
    found = outcomes(path).values()
    assert (len(found), sum(v is not None for v in found), sum(v is True for v in found)) == COUNTS[pattern]


def test_inspects_own_accuracies_are_reproduced_to_the_digit(real_data):
    looked = 0
    for path in sorted((real_data / HARNESS).glob("inspect__*/**/*.json")):
        log = json.loads(path.read_text())
        if (
            log["status"] != "success"
            or not log.get("samples")
            or len(log["samples"]) != log["results"]["total_samples"]
        ):
            continue
        for score in log["results"]["scores"]:
            if "accuracy" in score["metrics"]:
                success = list(outcomes(path, Reading(metric=score["name"])).values())
                assert sum(success) / len(success) == score["metrics"]["accuracy"]["value"], (path, score["name"])
                looked += 1
    assert looked >= 15


@pytest.mark.slow
def test_every_real_file_is_read_or_refused_in_words(real_data):
    read, refusals = [], {}
    for path in sorted(p for folder in (HARNESS, "pairwise") for p in (real_data / folder).rglob("*") if p.is_file()):
        try:
            read.append(read_logs([path])[0].format.name)
        except DataError as error:
            refusals[path.name] = str(error)
    assert set(read) == set(FORMATS) - {
        "openai-batch",
        "promptfoo",
        "alpaca-eval",
        "mt-bench-pair",
        "gate-report",
        "rows",
    }
    assert "say which one is meant (--models)" in refusals["gpt-4_pair.jsonl"]
    assert "it looks like questions of MT-Bench without judgements" in refusals["question.jsonl"]
    assert (
        "did not end (cancelled): 3 samples of a dataset of 100"
        in refusals["2025-05-12T20-28-13-04-00_popularity.json"]
    )
    assert "its results say 1000 samples, but the log holds none" in refusals["data_with_llm_scoring.json"]
    assert "it looks like lm-eval's results of a whole run" in refusals["results_2026-01-21T03-44-18.458309.json"]
    assert all(
        "it looks like" in refusals[n] for n in ("stats.json", "run_spec.json", "scenario_state.json", "dataset.json")
    )
    assert "is neither JSON nor a table" in refusals["LICENSE"]
    assert all("Known are lm-eval" in refusals[name] for name in ("LICENSE", "scenario.json", "statistics.json"))


@pytest.mark.slow
def test_two_lm_eval_logs_give_a_verdict_with_one_command(real_data):
    folder = real_data / FLIPEVAL
    verdicts = {}
    for name in ("improved", "equivalent", "degraded"):
        files = ["--base", str(folder / f"{name}_baseline.jsonl"), "--sft", str(folder / f"{name}_candidate.jsonl")]
        result = CliRunner().invoke(app, ["gate", *files])
        verdicts[name] = result.output.split(":")[0]
        won, lost = {"improved": (30, 5), "equivalent": (4, 4), "degraded": (5, 30)}[name]
        assert f"{won} won, {lost} lost" in result.output
    assert verdicts["equivalent"] == verdicts["degraded"] == "FAIL"
    assert verdicts["improved"] in ("PASS", "REFUSED")  # as the gate's criteria judge its made-up texts
    files = ["--base", str(folder / "mismatch_baseline.jsonl"), "--sft", str(folder / "mismatch_candidate.jsonl")]
    result = CliRunner().invoke(app, ["gate", *files])
    assert (result.exit_code, "25 items (0, 1, 10, …) missing" in result.output) == (2, True)


def test_real_judgements_of_pairs_are_counted_as_fastchat_counts_them(real_data):
    path = real_data / "pairwise" / "mt-bench" / "gpt-4_pair.jsonl"
    base, tuned = read_logs([path, path])
    assert [sum(o.success is True for o in g.log.outputs) for g in (base, tuned)] == [18, 20]
    assert sum("tie" in o.labels for o in tuned.log.outputs) == 35
    assert sum(o.success is None for o in base.log.outputs) == 2
    assert all(o.output and o.item["instruction"] and o.compared for o in base.log.outputs)
    grades = path.with_name("gpt-4_single.jsonl")
    [found] = read_logs([grades], Reading(threshold=">8"))
    assert sum(o.success is True for o in found.log.outputs) == 83 + 32
    assert len({o.item["group"] for o in found.log.outputs}) == 80


# ---------------------------------------------------------------------------------------------------------- lm-eval


def test_filters_are_scores_of_one_answer_and_the_first_one_decides(tmp_path):
    rows = [lm_sample(k, k % 2, f) for k in range(4) for f in ("strict", "flexible")]
    for row in rows[1::2]:
        row["exact_match"] = 1.0
    path = lines(tmp_path / "samples_sums_2026-01-01T00-00-00.jsonl", rows)
    assert outcomes(path) == {"0": False, "1": True, "2": False, "3": True}
    assert all(outcomes(path, Reading(metric="exact_match,flexible")).values())
    [given] = read_logs([path])
    assert given.log.notes[0] == "the score is exact_match,strict (others: exact_match,flexible; --metric)"
    assert given.log.outputs[0].item["type"] == "sums"
    assert "'f1' is not a score of task sums in all files" in refused(path, metric="f1")


def test_documents_are_joined_by_their_hash_and_what_differs_is_named(tmp_path):
    base = lines(tmp_path / "base.jsonl", [lm_sample(k, 1.0) for k in range(4)])
    shifted = [lm_sample(k, 0.0) | {"doc_id": (k + 1) % 4} for k in range(4)]
    _, given = read_logs([base, lines(tmp_path / "samples_a_2026-01-01T00-00-00.jsonl", shifted)])
    assert [(o.id, o.item["type"]) for o in given.log.outputs] == [(str(k), "all") for k in range(4)]
    for field, said in (("prompt_hash", "prompt hash of 1 items (2)"), ("target", "target of 1 items (2)")):
        other = [lm_sample(k, 0.0, **({field: "x"} if k == 2 else {})) for k in range(4)]
        assert said in refused(base, lines(tmp_path / "c.jsonl", other))
    other = [lm_sample(k, 0.0, doc_hash="x" if k == 3 else f"d{k}") for k in range(4)]
    assert "doc hash of 1 items (3)" in refused(base, lines(tmp_path / "d.jsonl", other))


def test_a_multiple_choice_answers_with_its_likeliest_continuation(tmp_path):
    requests = {f"gen_args_{k}": {"arg_0": "Q:", "arg_1": f" {text}"} for k, text in enumerate(("no", "certainly"))}
    sample = lm_sample(
        0, None, target=1, arguments=requests, resps=[[["-3.0", "False"]], [["-4.0", "False"]]],
        filtered_resps=[["-3.0", "False"], ["-4.0", "False"]], metrics=["acc", "acc_norm"], acc=0.0, acc_norm=1.0,
    )  # fmt: skip
    path = lines(tmp_path / "samples_t.jsonl", [sample])
    for metric, answer in (("acc", " no"), ("acc_norm", " certainly")):
        [given] = read_logs([path], Reading(metric=metric))
        assert (given.log.outputs[0].output, given.log.outputs[0].item["reference"]) == (
            answer,
            '{"answer":"certainly"}',
        )


@pytest.mark.slow
def test_lm_evals_own_accuracies_are_reproduced_to_the_digit(tmp_path, monkeypatch):
    """Its evaluator with its model of random answers, on a task with two metrics of a multiple choice."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    docs = [{"query": f"Thing {k}?", "choices": ["red", "dark green " * (k % 3 + 1)], "gold": k % 2} for k in range(40)]
    task = {
        "task": "colours", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(lines(tmp_path / "d.jsonl", docs))}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{query}}", "doc_to_choice": "choices",
        "doc_to_target": "gold", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }  # fmt: skip
    manager = TaskManager(include_defaults=False)
    found = lm_eval.simple_evaluate("dummy", tasks=[task], task_manager=manager, log_samples=True, bootstrap_iters=0)
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    tracker.date_id, tracker.general_config_tracker.model_name_sanitized = "2026-01-01T00-00-00", "dummy"
    tracker.save_results_samples("colours", found["samples"]["colours"])
    for metric in ("acc", "acc_norm"):
        [given] = read_logs([tmp_path / "out"], Reading(metric=metric))
        success = [o.success for o in given.log.outputs]
        assert sum(success) / len(success) == found["results"]["colours"][f"{metric},none"]
        expected = [json.loads(o.item["reference"])["answer"] for o in given.log.outputs]
        assert [o.output.strip() == e for o, e in zip(given.log.outputs, expected)] == success, (
            "the answer is what was scored"
        )


def test_a_folder_holds_the_tasks_of_one_run(tmp_path):
    for task in ("a", "b"):
        lines(tmp_path / f"samples_{task}_2026-01-01T00-00-00.jsonl", [lm_sample(0, 1.0), lm_sample(1, 0.0)])
    assert outcomes(tmp_path) == {"a/0": True, "a/1": False, "b/0": True, "b/1": False}
    assert outcomes(tmp_path / "samples_a*.jsonl") == {"0": True, "1": False}
    assert outcomes(tmp_path.parent / f"{tmp_path.name[:-1]}?") == outcomes(tmp_path)
    lines(tmp_path / "samples_a_2026-02-02T00-00-00.jsonl", [lm_sample(0, 1.0)])
    assert "two runs in one file or folder" in refused(tmp_path)
    assert "no file matches" in refused(tmp_path / "nothing*.jsonl")


def test_every_task_of_a_run_is_decided_by_its_own_score(tmp_path):
    choice = {"metrics": ["acc"], "acc": 1.0}
    rows = [lm_sample(0, 0.0), lm_sample(1, None, task_name="choice", **choice) | {"exact_match": 0.5}]
    path = lines(tmp_path / "all.jsonl", rows)
    assert outcomes(path) == {"all/0": False, "choice/1": True}
    [given] = read_logs([path])
    assert given.log.metric == "exact_match,none, acc,none"
    assert "'acc' is not a score in all files" in refused(path, metric="acc")
    alone = lines(tmp_path / "alone.jsonl", rows[:1])
    assert refused(alone, path, metric="exact_match").endswith(f"of task choice in all files: {path}: acc,none")


def test_prompts_are_compared_though_one_side_has_no_hashes(tmp_path):
    bare = [{n: v for n, v in lm_sample(k, 1.0).items() if not n.endswith("_hash")} for k in range(3)]
    bare[1]["arguments"] = {"gen_args_0": {"arg_0": "Another prompt", "arg_1": {}}}
    base = lines(tmp_path / "a.jsonl", [lm_sample(k, 1.0) for k in range(3)])
    assert "they differ in prompt of 1 items (1)" in refused(base, lines(tmp_path / "b.jsonl", bare))


def lm_run(folder: Path, samples: int, higher: bool = True, model: str = "one-7b", score: float = 1.0) -> Path:
    """Samples of a run with the results that lm-eval writes beside them."""
    folder.mkdir()
    results = {
        "results": {"sums": {}},
        "n-samples": {"sums": {"original": 100, "effective": 10}},
        "higher_is_better": {"sums": {"exact_match": higher}},
        "model_name": model,
    }
    (folder / "results_2026-01-01T00-00-00.123.json").write_text(json.dumps(results))
    return lines(folder / "samples_sums_2026-01-01T00-00-00.123.jsonl", [lm_sample(k, score) for k in range(samples)])


def test_results_beside_samples_say_how_many_there_are_and_which_scores_are_better(tmp_path):
    [given] = read_logs([lm_run(tmp_path / "a", 4)])
    assert given.log.notes[-1] == "the log holds 4 samples of sums, its own results are of 10"
    assert {o.settings["model"] for o in given.log.outputs} == {'"one-7b"'}
    assert len(read_logs([lm_run(tmp_path / "whole", 10)])[0].log.notes) == 1
    errors = lm_run(tmp_path / "b", 10, higher=False)
    assert "less of exact_match,none is better, as the harness says. Declare which score is a success" in refused(
        errors
    )
    assert set(outcomes(errors, Reading(threshold="<=0")).values()) == {False}
    [given] = read_logs([lm_run(tmp_path / "c", 10, higher=False, score=0.5)])
    assert "less of exact_match,none is better" in given.log.notes


@pytest.mark.slow
def test_one_answer_is_no_text_for_everything_and_a_models_name_tells_nothing_of_its_decoding(tmp_path):
    log = eval_log(tmp_path / "a.eval", [inspect_sample(1, "C")])
    result = CliRunner().invoke(app, ["gate", "--base", str(log), "--sft", str(log), "--verbose"])
    assert result.exit_code == 1 and "say nothing" not in result.output, result.output
    assert "nor is decoding" in result.output


def test_scores_of_different_scales_are_not_mixed_and_empty_ones_do_not_decide(tmp_path):
    def path(*values):
        rows = [lm_sample(k, None, task_name=n, metrics=[n], **{n: v}) for k, (n, v) in enumerate(values)]
        return lines(tmp_path / "mixed.jsonl", rows)

    mixed = path(("f1", 0.4), ("bleu", 34.0))
    assert "the tasks are decided by f1,none, bleu,none" in refused(mixed)
    assert "nor held to one threshold" in refused(mixed, threshold="0.5")
    half = path(("acc", 1.0), ("f1", 0.4))
    assert "of which f1,none are no booleans" in refused(half)
    assert outcomes(half, Reading(threshold="0.3")) == {"acc/0": True, "f1/1": True}
    rows = [lm_sample(k, None, metrics=["exact_match", "acc"], acc=1.0) for k in range(3)]
    assert set(outcomes(lines(tmp_path / "empty.jsonl", rows)).values()) == {True}


def test_scores_that_are_lists_or_missing_are_reported(tmp_path):
    rows = [lm_sample(0, None), lm_sample(1, 1.0, metrics=["exact_match", "pair"], pair=[1, 2])]
    [given] = read_logs([lines(tmp_path / "s.jsonl", rows)])
    assert [o.success for o in given.log.outputs] == [None, True]
    assert given.log.notes[-1] == "scores that are no numbers are not read: pair"


def lighteval(path: Path, order) -> Path:
    """Details in the layout before 0.10."""
    rows = [
        {
            "full_prompt": f"Q{k}",
            "example": f"Q{k}",
            "gold": ["yes"],
            "predictions": ["yes" if k else "no"],
            "metrics": {"em": float(k > 0)},
            "hashes": {"hash_example": f"h{k}"},
        }
        for k in order
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_files_that_were_renamed_are_joined_by_the_hashes_of_their_items(tmp_path):
    base = lighteval(tmp_path / "base.parquet", range(3))
    given = read_logs([base, lighteval(tmp_path / "tuned.parquet", [2, 0, 1])])
    assert [o.id for o in given[1].log.outputs] == ["3", "1", "2"]
    assert {o.item["type"] for g in given for o in g.log.outputs} == {"base.parquet"}
    odd = tmp_path / "odd.parquet"
    pq.write_table(pa.Table.from_pylist([{"full_prompt": "Q", "predictions": ["a"], "metrics": 1.0}]), odd)
    assert "odd.parquet, row 1: is not laid out as LightEval's details" in refused(odd)


def test_the_year_in_a_task_of_lighteval_is_part_of_its_name(tmp_path):
    for year in (2024, 2025):
        lighteval(tmp_path / f"details_aime_{year}|0_2026-01-01T00-00-00.parquet", range(2))
    assert list(outcomes(tmp_path)) == ["aime_2024|0/1", "aime_2024|0/2", "aime_2025|0/1", "aime_2025|0/2"]


def test_lightevals_examples_in_the_prompt_are_part_of_the_question(tmp_path):
    def details(name: str, shots: list[str]) -> Path:
        doc = {"id": "1", "query": "Q", "choices": ["a"], "gold_index": 0, "fewshot_samples": shots, "task_name": "t"}
        row = {"doc": doc, "metric": {"em": 1.0}, "model_response": {"text": ["a"], "input": None}}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / name)
        return tmp_path / name

    assert "they differ in prompt of 1 items" in refused(details("a.parquet", ["one"]), details("b.parquet", []))


def test_choices_that_helm_scores_by_themselves_are_answered_with_the_likeliest(tmp_path):
    def stat(name, mean):
        return {"name": {"name": name, "split": "test"}, "mean": mean}

    instance = {
        "id": "id1",
        "input": {"text": "Is it?"},
        "references": [{"output": {"text": t}, "tags": ["correct"] * (t == "no")} for t in ("yes", "no")],
    }
    states = [
        {"instance": instance, "train_trial_index": 0, "reference_index": k, "request": {"prompt": f"Is it? {t}"},
         "result": {"success": True, "completions": [{"text": f"Is it? {t}"}]}} for k, t in enumerate(("yes", "no"))
    ]  # fmt: skip
    (tmp_path / "scenario_state.json").write_text(json.dumps({"adapter_spec": {}, "request_states": states}))
    stats = {"instance_id": "id1", "train_trial_index": 0}
    stats["stats"] = [stat("exact_match", 0.5), stat("predicted_index", 1.0)]
    (tmp_path / "per_instance_stats.json").write_text(json.dumps([stats]))
    [given] = read_logs([tmp_path])
    assert (given.log.outputs[0].output, given.log.metrics) == ("no", ("exact_match",))
    assert given.scores == {"id1": 0.5}, "the index of a choice is no score"
    shown = lines(
        tmp_path / "shown.json", [{"instance_id": "id1", "predicted_text": "no", "stats": {"exact_match": 1.0}}]
    )
    assert "HELM's predictions for its web page" in refused(shown)


# ---------------------------------------------------------------------------------------------------------- inspect


@pytest.mark.parametrize(("reducer", "success"), [
    ("mode", {"1": True, "2": False, "3": True}), ("at_least_1", {"1": True, "2": True, "3": True}),
    ("max", {"1": True, "2": True, "3": True}), ("median", {"1": True, "2": False, "3": True}),
])  # fmt: skip
def test_epochs_are_reduced_as_inspect_reduces_them(tmp_path, reducer, success):
    values = {1: "CIC", 2: "IIC", 3: "CCC"}
    samples = [inspect_sample(k, v, e) for k, row in values.items() for e, v in enumerate(row, 1)]
    path = eval_log(tmp_path / "a.eval", samples, inspect_header(reducer=reducer))
    assert outcomes(path) == success


def test_epochs_under_the_mean_are_observations_in_clusters(tmp_path):
    samples = [inspect_sample(k, "C", e) for k in (1, 2) for e in (1, 2)]
    [given] = read_logs([eval_log(tmp_path / "a.eval", samples, zstandard=True)])
    assert [(o.id, o.item["group"]) for o in given.log.outputs] == [
        ("1", "1"),
        ("1 (epoch 2)", "1"),
        ("2", "2"),
        ("2 (epoch 2)", "2"),
    ]


def test_the_estimate_of_pass_at_k_is_a_score_between(tmp_path):
    samples = [inspect_sample(1, v, e) for e, v in enumerate("CIIC", 1)]
    [given] = read_logs([eval_log(tmp_path / "a.eval", samples, inspect_header(reducer="pass_at_2"))])
    assert given.scores == {"1": pytest.approx(1 - 1 / 6)}


def test_errors_and_unscored_samples_are_no_failures_and_partial_credit_is_a_score(tmp_path):
    error = {"message": "boom", "traceback": "", "traceback_ansi": ""}
    samples = [
        inspect_sample(1, "C"),
        inspect_sample(2, None, scores={}, error=error),
        inspect_sample(3, float("nan")),
        inspect_sample(4, "N"),
        inspect_sample(5, "I", error=error),  # scored although it failed, as score_on_error does
        inspect_sample(6, "C", invalidation={"author": "a", "reason": "r", "timestamp": "t"}),
    ]
    path = eval_log(tmp_path / "a.eval", samples)
    assert list(outcomes(path).values()) == [True, None, None, False, False, None]
    samples[0]["scores"]["match"]["value"] = "P"
    [given] = read_logs([eval_log(tmp_path / "b.eval", samples)])
    assert given.scores["1"] == 0.5
    assert list(outcomes(tmp_path / "b.eval", Reading(threshold="0.5")).values()) == [
        True,
        None,
        None,
        False,
        False,
        None,
    ]


def test_several_scorers_are_scores_and_long_texts_are_attached(tmp_path):
    sample = inspect_sample(
        1, "C", attachments={"a1": "a long question"}, input=[{"role": "user", "content": "attachment://a1"}]
    )
    sample["scores"]["rules"] = {"value": {"strict": 1, "parts": 3}}
    sample["scores"]["grade"] = {"value": "excellent"}
    [given] = read_logs([eval_log(tmp_path / "a.eval", [sample])])
    assert given.log.metrics == ("match", "rules/strict", "rules/parts")
    assert "scores that are no numbers are not read: grade" in given.log.notes
    assert given.log.outputs[0].item["instruction"] == "a long question"
    assert read_logs([tmp_path / "a.eval"], Reading(metric="strict"))[0].log.metric == "rules/strict"


def test_prompts_that_a_solver_made_of_one_input_differently_are_refused(tmp_path):
    def log(name: str, system: str) -> Path:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "Is 1 even?", "source": "input"}]
        answer = {"role": "assistant", "content": name, "source": "generate"}
        return eval_log(tmp_path / name, [inspect_sample(1, "C", messages=[*messages, answer])])

    first = log("a.eval", "Think.")
    assert "they differ in prompt of 1 items" in refused(first, log("b.eval", "Answer at once."))
    assert len(read_logs([first, log("c.eval", "Think.")])) == 2


def test_models_that_graded_themselves_or_tried_more_often_are_not_compared(tmp_path):
    def graded(name: str, model: str) -> Path:
        sample = inspect_sample(1, "C")
        sample["scores"]["match"]["metadata"] = {"grading": [{"role": "user"}, {"role": "assistant", "model": model}]}
        return eval_log(tmp_path / name, [sample])

    def tried(name: str, epochs: int, reducer: str) -> Path:
        return eval_log(
            tmp_path / name, [inspect_sample(1, "C", e + 1) for e in range(epochs)], inspect_header(reducer=reducer)
        )

    assert "differ in grader of match of 1 items" in refused(graded("a.eval", "base"), graded("b.eval", "tuned"))
    assert len(read_logs([graded("a.eval", "judge"), graded("b.eval", "judge")])) == 2
    five = tried("c.eval", 5, "max")
    assert "differ in epochs of 1 items" in refused(tried("d.eval", 1, "max"), five)
    assert "differ in epochs of 1 items" in refused(tried("e.eval", 5, "mode"), five)
    assert len(read_logs([five, tried("f.eval", 5, "max")])) == 2


@pytest.mark.parametrize("status", ["started", "error", "cancelled"])
def test_a_run_that_did_not_end_is_refused(tmp_path, status):
    message = refused(eval_log(tmp_path / "a.eval", [inspect_sample(1, "C")], inspect_header(status)))
    assert f"the run did not end ({status}): 1 samples of a dataset of 3" in message
    document = tmp_path / "a.json"
    document.write_text(json.dumps(inspect_header(status, samples=[inspect_sample(1, "C")])))
    assert "did not end" in refused(document)


@pytest.mark.slow
def test_a_log_without_scores_needs_scorers(tmp_path):
    samples = [inspect_sample(k, "C", scores={}) for k in range(5)]
    path = eval_log(tmp_path / "a.eval", samples)
    command = ["gate", "--base", str(path), "--sft", str(path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "none of its 5 answers has a score. Score it there, or name a specification" in result.output
    spec = tmp_path / "spec.yaml"
    spec.write_text("evaluation: {scorers: {default: {kind: exact}}}")
    assert "5 of 5" in CliRunner().invoke(app, [*command, "--spec", str(spec)]).output


def test_archives_that_are_cut_or_bombs_or_something_else_are_refused(tmp_path, monkeypatch):
    path = eval_log(tmp_path / "a.eval", [inspect_sample(k, "C") for k in range(50)])
    cut = tmp_path / "cut.eval"
    cut.write_bytes(path.read_bytes()[:-400])
    assert "the archive is damaged or was cut" in refused(cut)
    damaged = bytearray(path.read_bytes())
    damaged[80:120] = bytes(40)
    (tmp_path / "damaged.eval").write_bytes(damaged)
    assert "samples/0_epoch_1.json: cannot be read" in refused(tmp_path / "damaged.eval")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    assert "it is a ZIP archive without the header of an inspect log" in refused(tmp_path / "other.zip")
    monkeypatch.setattr(content, "UNPACKED", 1 << 20)
    bomb = eval_log(tmp_path / "bomb.eval", [inspect_sample(1, "C", metadata={"x": " " * (2 << 20)})])
    assert "would unpack from" in refused(bomb)
    monkeypatch.setattr(content, "UNPACKED", 1 << 30)
    monkeypatch.setattr(inspect_logs, "SAMPLE", 1 << 20)
    assert "samples/1_epoch_1.json: is longer than 1 MiB" in refused(bomb)


def test_a_compressed_file_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "UNPACKED", 1 << 20)
    for name, start in (("a.jsonl.gz", b""), ("b.csv.gz", b"id,output,success\n")):
        path = tmp_path / name
        path.write_bytes(gzip.compress(start + b"\n" * (8 << 20)))
        assert "would unpack from" in refused(path)
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(json.dumps(lm_sample(0, 1.0)).encode())[:-20])
    assert "cannot be read: Compressed file ended before the end-of-stream marker was reached; copy" in refused(cut)


def test_a_document_that_fills_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "DOCUMENT", 1 << 20)
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(inspect_header(samples=[inspect_sample(1, "C", metadata={"x": " " * (2 << 20)})]), indent=1)
    )
    assert "is one JSON document of more than 1 MiB" in refused(path)


# ------------------------------------------------------------------------------------- services, judgements, tables


def batch_row(id: str, text: str | None = "yes", **fields) -> dict:
    body = {
        "model": "m",
        "choices": [{"message": {"content": text}, "finish_reason": "length"}],
        "usage": {"completion_tokens": 4},
    }
    return {"id": "r", "custom_id": id, "response": {"status_code": 200, "body": body}, "error": None, **fields}


def test_a_failed_request_of_a_batch_leaves_its_item_out_for_both_models(tmp_path):
    rows = [batch_row(str(k), f"It is {k}.") for k in range(30)]
    base = lines(tmp_path / "base.jsonl", rows)
    failed = batch_row("3", response={"status_code": 500, "body": {"error": {"message": "overloaded"}}})
    tuned = lines(tmp_path / "sft.jsonl", [failed if r["custom_id"] == "3" else r for r in rows])
    [given] = read_logs([tuned])
    assert given.log.notes == ("1 requests failed",)
    assert [(o.failure, o.output, o.cut) for o in given.log.outputs[3:5]] == [
        ("overloaded", None, None),
        ("", "It is 4.", True),
    ]
    items = lines(
        tmp_path / "items.jsonl", [{"id": k, "instruction": f"n {k}", "response": f"It is {k}."} for k in range(30)]
    )
    spec = tmp_path / "spec.yaml"
    spec.write_text("evaluation: {scorers: {default: {kind: exact}}}")
    options = ["--items", str(items), "--spec", str(spec), "--verbose"]
    result = CliRunner().invoke(app, ["gate", "--base", str(base), "--sft", str(tuned), *options])
    assert "1 of 30 pairs" in result.output, result.output
    assert "holds 2 completions" in refused(
        lines(tmp_path / "n.jsonl", [batch_row("1", response={"status_code": 200, "body": {"choices": [{}, {}]}})])
    )


def test_the_responses_endpoint_of_a_batch_is_read(tmp_path):
    message = {
        "type": "message",
        "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
    }
    body = {
        "model": "m",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [message],
    }
    row = {"custom_id": "1", "response": {"status_code": 200, "body": body}, "error": None}
    [given] = read_logs([lines(tmp_path / "a.jsonl", [row])])
    assert (given.log.outputs[0].output, given.log.outputs[0].cut) == ("ab", True)


def test_an_answer_of_a_batch_without_text_is_an_answer(tmp_path):
    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    messages = [{"content": None, "refusal": "I will not."}, {"content": None, "tool_calls": calls}, {"content": None}]
    rows = [batch_row(str(k), response={"body": {"choices": [{"message": m}]}}) for k, m in enumerate(messages)]
    [given] = read_logs([lines(tmp_path / "a.jsonl", rows)])
    expected = ["I will not.", '[{"function":{"arguments":"{}","name":"f"}}]', ""]
    assert [(o.output, o.failure) for o in given.log.outputs] == [(text, "") for text in expected]
    [given] = read_logs([lines(tmp_path / "b.jsonl", [batch_row("1", response={"body": {"choices": []}})])])
    assert given.log.outputs[0].failure == "the response holds no text"


def promptfoo(path: Path, providers=("one", "two"), **row) -> Path:
    results = [
        {
            "testIdx": k,
            "promptIdx": 0,
            "provider": {"id": name, "label": ""},
            "prompt": {"raw": f"Say {k}", "label": "Say {{n}}"},
            "vars": {"n": k},
            "response": {"output": str(k), "tokenUsage": {"completion": 1}},
            "success": (k + place) % 2 == 0,
            "score": 0.5,
            "failureReason": 1,
            "gradingResult": {"pass": True},
            "namedScores": {"tone": 0.25},
            "testCase": {"vars": {"n": k}, "assert": [{"type": "equals"}]},
            **row,
        }
        for k in range(3)
        for place, name in enumerate(providers)
    ]
    path.write_text(json.dumps({"evalId": "e", "results": {"version": 3, "results": results}}))
    return path


def test_one_promptfoo_file_holds_both_models(tmp_path):
    path = promptfoo(tmp_path / "a.json")
    base, tuned = read_logs([path, path])
    assert [o.success for o in base.log.outputs] == [True, False, True]
    assert [o.success for o in tuned.log.outputs] == [False, True, False]
    assert tuned.log.metrics == ("success", "score", "tone")
    swapped, _ = read_logs([path, path], Reading(models=["two", "one"]))
    assert [o.output for o in swapped.log.outputs] == ["0", "1", "2"]
    assert "holds no answers of 'three'" in refused(path, models=["three"])
    assert "holds the answers of 2 models ('one', 'two'); say which one is meant" in refused(path)


def test_promptfoos_json_lines_are_read_as_its_document(tmp_path):
    path = promptfoo(tmp_path / "a.json")
    rows = lines(tmp_path / "a.jsonl", json.loads(path.read_text())["results"]["results"])
    given = [read_logs([p, p]) for p in (path, rows)]
    assert [g.log.outputs for g in given[0]] == [g.log.outputs for g in given[1]]


def test_a_finish_reason_that_is_no_known_word_is_named_of_every_format(tmp_path):
    response = {"output": "a", "finishReason": "melted"}
    paths = [
        promptfoo(tmp_path / "a.json", ["one"], response=response),
        lines(tmp_path / "b.jsonl", [{"id": 1, "output": "a", "success": True, "finish_reason": "melted"}]),
    ]
    for path in paths:
        [given] = read_logs([path])
        assert {(o.cut, o.unknown_finish) for o in given.log.outputs} == {(None, "melted")}


def test_promptfoos_errors_are_no_failures_and_tests_without_assertions_are_not_judged(tmp_path):
    path = promptfoo(tmp_path / "a.json", ["one"], failureReason=2, error="timeout", success=False)
    assert set(outcomes(path).values()) == {None}
    [given] = read_logs([promptfoo(tmp_path / "b.json", ["one"], testCase={"assert": []}, success=True)])
    assert not any(o.judged for o in given.log.outputs)


def alpaca(path: Path, preferences, models=("ref", "mine"), **row) -> Path:
    rows = [
        {
            "instruction": f"Do {k}.",
            "output_1": "theirs",
            "output_2": f"mine {k}",
            "generator_1": models[0],
            "generator_2": models[1],
            "preference": preference,
            **row,
        }
        for k, preference in enumerate(preferences)
    ]
    path.write_text(json.dumps(rows))
    return path


def test_alpaca_eval_counts_preferences_beyond_the_middle(tmp_path):
    path = alpaca(tmp_path / "a.json", [2.0, 1.0, 1.5, 1.7, float("nan")])
    base, tuned = read_logs([path, path])
    assert [o.success for o in tuned.log.outputs] == [True, False, False, True, None]
    assert [o.success for o in base.log.outputs] == [False, True, False, False, None]
    assert ["tie" in o.labels for o in tuned.log.outputs] == [False, False, True, False, False]
    other = alpaca(tmp_path / "b.json", [1.0, 1.0, 2.0, 2.0, 2.0], ("ref", "tuned"))
    first, second = read_logs([path, other])
    assert [o.success for o in second.log.outputs] == [False, False, True, True, True]
    assert not first.log.outputs[0].compared
    assert "answer of ref of 5 items" in refused(path, alpaca(tmp_path / "c.json", [1.0] * 5, output_1="else"))
    assert "must be from 1 to 2, is 3.0" in refused(alpaca(tmp_path / "d.json", [3.0]))
    pd.DataFrame(json.loads(path.read_text())).to_csv(tmp_path / "e.csv", index=False)
    assert list(outcomes(tmp_path / "e.csv").values()) == list(outcomes(path).values())


def test_two_models_are_taken_from_a_file_of_judgements_of_many(tmp_path):
    def pair(first: str, second: str, question: int, winner: str) -> dict:
        return {"question_id": question, "model_1": first, "model_2": second, "g1_winner": winner, "g2_winner": winner}

    against_one = [pair("ref", m, k, "model_2" if m == "b" else "model_1") for m in ("a", "b") for k in range(3)]
    path = lines(tmp_path / "judgements.jsonl", against_one)
    assert "judges ref against 2 models (a, b)" in refused(path, models=["ref"])
    for models, wins, compared in ((["ref", "b"], [0, 3], True), (["a", "b"], [0, 3], False)):
        given = read_logs([path, path], Reading(models=models))
        assert [sum(bool(o.success) for o in g.log.outputs) for g in given] == wins
        assert {o.compared for g in given for o in g.log.outputs} == {compared}
    grade = {"question_id": 1, "model": "a", "judge": ["j"], "score": 7}
    assert "holds no answers of 'b' (--models), but of 'a'" in refused(
        lines(tmp_path / "g.jsonl", [grade]), models=["b"]
    )


# -------------------------------------------------------------------------------------------------- scores, options


@pytest.mark.slow
def test_scores_need_a_threshold_in_the_gate_and_are_tested_as_they_are_by_compare(tmp_path):
    rows = [[{"id": k, "output": f"answer {k}", "score": 0.1 * (k % 7) + d} for k in range(40)] for d in (0.0, 0.05)]
    files = [str(lines(tmp_path / f"{n}.jsonl", r)) for n, r in zip(("a", "b"), rows)]
    gate = ["gate", "--base", files[0], "--sft", files[1]]
    result = CliRunner().invoke(app, gate)
    assert result.exit_code == 2
    assert "the scores score are no booleans (14 values from 0 to 0.65)" in result.output
    assert CliRunner().invoke(app, [*gate, "--threshold", "0.3"]).exit_code in (1, 2)
    report = CliRunner().invoke(app, ["compare", *files, "--out", str(tmp_path / "out")])
    assert report.exit_code == 0, report.output
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    [comparison] = found["comparisons"]
    assert comparison["difference"] == pytest.approx(0.05)
    assert (comparison["better"], comparison["worse"], comparison["p"]) == (40, 0, 1e-4)
    assert "higher" in report.output
    assert ">2 models on 40 items" in (tmp_path / "out" / "compare.html").read_text()
    nothing = str(lines(tmp_path / "c.jsonl", [{"id": k, "output": "a", "score": None} for k in range(40)]))
    unscored = CliRunner().invoke(app, ["compare", files[0], nothing])
    assert "no item is judged for all models" in unscored.output, unscored.output
    below = CliRunner().invoke(app, ["compare", *files, "--threshold", "<=0.2"])
    assert "18 of 40" in below.output, below.output
    assert "must be a number" in refused(Path(files[0]), threshold="half")


def test_fields_that_are_not_what_they_are_there_are_refused_by_row(tmp_path):
    path = lines(tmp_path / "s.jsonl", [lm_sample(0, 1.0), lm_sample(1, 1.0, resps=5)])
    assert "row 2: is not laid out as lm-evaluation-harness's samples" in refused(path)
    path = lines(tmp_path / "t.jsonl", [lm_sample(0, 1.0, doc_id="\ud800")])
    assert "holds a lone surrogate" in refused(path)
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps(inspect_header(samples=[inspect_sample(1, "C"), inspect_sample(1, "I")])))
    assert "the id 1 stands more than once (rows 1, 2)" in refused(twice)
    empty = tmp_path / "samples_x.json"
    empty.write_text(json.dumps({"samples": {"x": [lm_sample(0, 1.0)], "y": [{"doc_id": 1}]}}))
    assert "is no sample of lm-eval" in refused(empty)


def test_files_of_different_harnesses_and_wrong_names_are_refused(tmp_path):
    log = eval_log(tmp_path / "a.eval", [inspect_sample(1, "C")])
    rows = lines(tmp_path / "a.jsonl", [{"id": 1, "output": "yes", "success": True}])
    samples = lines(tmp_path / "samples_a.jsonl", [lm_sample(1, 1.0)])
    assert "are of different harnesses" in refused(log, samples)
    assert "are of different harnesses" in refused(rows, log)
    assert "is not of the format inspect (--format); it looks like rows" in refused(rows, formats=["inspect"])
    assert "--format 'inspct' is not known; known are lm-eval, inspect" in refused(rows, formats=["inspct"])
    assert "--format names 3 for 2 files" in refused(rows, rows, formats=["rows"] * 3)
    odd = lines(tmp_path / "odd.jsonl", [{"prompt": "p", "answer": "a"}])
    message = refused(odd)
    assert "it holds objects with the fields prompt, answer. Known are lm-eval: " in message
    assert "no such file" in refused(tmp_path / "none.jsonl")


def test_files_in_utf_16_and_ragged_tables_are_refused_in_words(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(lm_sample(0, 1.0)), "utf-16")
    assert "it is JSON in UTF-16; write it as UTF-8" in refused(tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("id,output,success\n1,a,true,x\n")
    assert refused(tmp_path / "b.csv").endswith("row 2: 4 fields, where the first line has 3")


def test_an_array_and_a_table_are_read_as_rows(tmp_path):
    rows = [{"id": k, "output": "a", "success": k < 2} for k in range(3)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.csv").write_text("id,output,success\n0,a,true\n1,a,1\n2,a,false\n")
    pd.DataFrame(rows).to_excel(tmp_path / "c.xlsx", index=False)  # an archive by its first bytes
    given = read_logs([tmp_path / name for name in ("a.json", "b.csv", "c.xlsx")])
    assert [[o.success for o in g.log.outputs] for g in given] == [[True, True, False]] * 3
