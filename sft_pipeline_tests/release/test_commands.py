"""release, verify and reproduce at the command line, over a store with a whole lineage."""

import json
import resource
import shutil

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.provenance.store import Store
from sft_pipeline.release.reproduce import compare, read, stored
from sft_pipeline_tests.release.hub import TOKEN, Hub


@pytest.fixture
def run():
    """Runs the command; gives its exit code and what it printed."""

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        return result.exit_code, result.output

    return call


@pytest.mark.slow
def test_a_release_is_written_checked_and_found_broken(project, run, made, monkeypatch):
    out = project / "out"
    code, text = run("release", "made", "--out", out)
    assert code == 0 and "release of made" in text and "7.22 USD in all" in text, text
    assert (out / "SHA256SUMS").read_bytes() == (made / "SHA256SUMS").read_bytes()
    code, text = run("verify", out)
    assert code == 0 and "every file and link matches" in text and "signature: unsigned" in text
    code, text = run("release", "made", "--out", out)
    assert code == 2 and "is there already" in text
    monkeypatch.chdir(project)
    (out / "README.md").unlink()
    code, text = run("verify", "out")
    assert code == 1 and "README.md: is missing" in text and "broken" in text
    assert run("verify", "made")[0] == 0, "the experiment, which is no folder"
    code, text = run("verify", project / "nowhere")
    assert code == 2 and "there is no folder" in text


def test_what_may_not_be_released_leaves_no_folder(project, run):
    path = project / "specs" / "made.yaml"
    path.write_text(path.read_text().replace('"epochs": 1.0', '"epochs": 2.0'))
    code, text = run("release", "made", "--out", project / "out")
    assert code == 2 and "another training.epochs" in text and not (project / "out").exists()
    code, text = run("release", "made", "--out", project / "report", "--report")
    assert code == 0 and "report of made" in text
    code, text = run("release", "other", "--out", project / "out")
    assert code == 2 and "other" in text


def test_a_disk_that_fills_leaves_no_half_release(project, run):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # the kernel's own refusal to write on
    try:
        code, text = run("release", "made", "--out", project / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2 and "File too large" in text
    assert not (project / "out").exists() and not list(project.glob(".out*"))


def test_a_damaged_artifact_is_not_released(project, run):
    path = Store(project / "store").root
    (weights,) = path.glob("objects/lora_adapter/*/files/adapter/adapter_model.safetensors")
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, text = run("release", "made", "--out", project / "out")
    assert code == 2 and "adapter_model.safetensors was changed" in text and not (project / "out").exists()


@pytest.mark.slow
def test_a_push_that_broke_off_resumes_with_the_folder_that_is_there(project, run, keys, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    hub = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    hub.fails = {"POST /api/models/me/model/commit": 503}
    out = project / "out"
    code, text = run("release", "made", "--out", out, "--push", "me/model")
    assert code == 2 and "answered 503" in text and (out / "SHA256SUMS").is_file()
    hub.fails = {}
    code, text = run("release", "made", "--out", out, "--push", "me/model")
    assert code == 0 and "published: " in text and "verify.py" in hub.branches["main"]
    code, text = run("release", "made", "--out", out, "--push", "me/model", "--sign", keys["own.key"])
    assert code == 0 and "model.sig" in hub.branches["main"]
    code, text = run("verify", out, "--key", keys["own.pub"])
    assert code == 0 and "signature: signed" in text
    (out / "README.md").write_text("edited")
    code, text = run("release", "made", "--out", out, "--push", "me/model")
    assert code == 2 and "is not this release" in text
    hub.shutdown()
    hub.server_close()


def test_the_same_lineage_elsewhere_is_the_same(project, run, made, tmp_path):
    code, text = run("reproduce", "made", made)
    assert code == 0 and "lora_adapter         same" in text and "differ" not in text
    code, text = run("reproduce", "made", tmp_path)
    assert code == 2 and "no sound release" in text
    code, text = run("reproduce", "stranger", made)
    assert code == 2 and "nothing was materialized" in text


def test_where_lineages_differ_the_first_asset_and_the_reason_are_named(passed, made):
    there, here = read(made), stored(passed)
    assert compare(there, here).first == ()
    # Another machine: another adapter came out, and all after it.
    weights = dict(here["lora_adapter"]["described"]["files"])
    weights["adapter/adapter_model.safetensors"] = "0" * 64
    adapter = here["lora_adapter"]
    adapter |= {"version": "1" * 64, "described": adapter["described"] | {"files": weights}}
    adapter["environment"] = adapter["environment"] | {"torch": "2.14.0", "instructions": "AVX2"}
    for asset in ("sft_generations", "gate_report", "training_report"):
        here[asset] = here[asset] | {"version": "2" * 64}
    found = compare(there, here)
    assert found.first == ("lora_adapter",) and set(found.later) == {
        "sft_generations",
        "gate_report",
        "training_report",
    }
    reasons = "\n".join(found.reasons)
    assert "different are adapter/adapter_model.safetensors" in reasons
    assert "instructions unknown there, AVX2 here; torch 2.13.0 there, 2.14.0 here" in reasons
    assert "the same inputs, code, specification and libraries" in reasons
    adapter["key"] = "another"
    assert "its code, its part of the specification" in "\n".join(compare(there, here).reasons)
    del here["clean_dataset"]
    assert compare(there, here).missing == ("clean_dataset",)


def test_the_report_says_what_it_cost(project, run):
    code, text = run("report", "made")
    assert code == 0 and "cost: 2.006 h in 11 steps" in text
    pointer = project / "store" / "pointers" / "lora_adapter" / "made.json"
    shutil.rmtree(project / "store" / "objects" / "lora_adapter" / json.loads(pointer.read_text())["address"])
    assert run("report", "made")[0] == 0
