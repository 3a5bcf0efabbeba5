"""Logs of inspect and lm-eval: what was written is read again with the same judgements, and the harnesses' own fields are there."""

import hashlib
import json
import zipfile

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.evaluation.inputs.reading import Reading, read_logs
from sft_pipeline.provenance.store import Store


@pytest.fixture
def stored(case, tmp_path, monkeypatch):
    """A decided experiment in a store, by name."""
    monkeypatch.setenv("SFT_PIPELINE_STORE", str(tmp_path / "store"))
    case.add("sum", 20, 5, 15).add("a/b", 10, 2, 8)
    case.decide()
    store = Store(tmp_path / "store")
    for asset, artifact in case.made.items():
        store.put(asset, "tiny", artifact)
    return case


def export(tmp_path, *options):
    result = CliRunner().invoke(app, ["export-log", "tiny", "--out", str(tmp_path / "logs"), *options])
    assert result.exit_code == 0, result.output
    return tmp_path / "logs"


@pytest.mark.slow
@pytest.mark.parametrize(("format", "names"), [("inspect", "{}.eval"), ("lm-eval", "{}")])
def test_exported_logs_are_read_again_with_the_same_judgements(stored, tmp_path, format, names):
    folder = export(tmp_path, "--format", format)
    base, tuned = read_logs([folder / names.format(model) for model in ("base", "sft")])
    assert base.format.name == format
    assert [sum(o.success is True for o in g.log.outputs) for g in (base, tuned)] == [5 + 2, 15 + 8]
    assert sorted(o.output for o in tuned.log.outputs) == sorted(stored.sft.values())
    files = [str(folder / names.format(model)) for model in ("base", "sft")]
    result = CliRunner().invoke(app, ["gate", "--base", files[0], "--sft", files[1]])
    assert "+53.3 points" in result.output, result.output


@pytest.mark.slow
def test_an_inspect_log_has_what_its_viewer_reads(stored, tmp_path):
    folder = export(tmp_path)
    with zipfile.ZipFile(folder / "sft.eval") as archive:
        header, start, summaries = (
            json.loads(archive.read(n)) for n in ("header.json", "_journal/start.json", "summaries.json")
        )
        sample = json.loads(archive.read(f"samples/{summaries[0]['id']}_epoch_1.json"))
    assert (header["version"], header["status"], header["eval"]) == (2, "success", start["eval"])
    assert header["eval"]["model"] == "tiny/sft"
    assert header["results"]["scores"][0]["metrics"]["accuracy"]["value"] == pytest.approx(23 / 30)
    assert (len(summaries), header["results"]["total_samples"]) == (30, 30)
    assert header["stats"]["model_usage"]["tiny/sft"]["total_tokens"] == sum(
        s["model_usage"]["tiny/sft"]["total_tokens"] for s in summaries
    )
    assert sample["scores"]["success"]["value"] in ("C", "I")
    assert sample["output"]["choices"][0]["message"]["content"] == sample["output"]["completion"]


@pytest.mark.slow
def test_an_lm_eval_log_has_its_hashes_and_results(stored, tmp_path):
    folder = export(tmp_path, "--format", "lm-eval") / "base"
    [samples] = folder.glob("samples_a-b_*.jsonl")
    [results] = folder.glob("results_*.json")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    for row in rows:
        assert (
            row["doc_hash"] == hashlib.sha256(json.dumps(row["doc"], indent=2, ensure_ascii=False).encode()).hexdigest()
        )
        assert row["prompt_hash"] == hashlib.sha256(row["arguments"]["gen_args_0"]["arg_0"].encode()).hexdigest()
    found = json.loads(results.read_text())
    assert found["results"]["a-b"]["success,none"] == sum(row["success"] for row in rows) / 10 == 0.2
    assert found["n-samples"]["sum"] == {"original": 20, "effective": 20}


@pytest.mark.slow
def test_without_a_gate_report_the_logs_have_no_scores(stored, tmp_path):
    (tmp_path / "store" / "pointers" / "gate_report" / "tiny.json").unlink()
    folder = export(tmp_path)
    [given] = read_logs([folder / "base.eval"], Reading())
    assert not any(o.judged for o in given.log.outputs)


@pytest.mark.slow
def test_another_format_is_refused(stored, tmp_path):
    result = CliRunner().invoke(app, ["export-log", "tiny", "--out", str(tmp_path / "l"), "--format", "helm"])
    assert (result.exit_code, "inspect or lm-eval, not as 'helm'" in result.output) == (2, True)
    assert not (tmp_path / "l").exists()
