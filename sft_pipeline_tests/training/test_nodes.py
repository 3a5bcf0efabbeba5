"""Several nodes: what an environment says, which command line follows, and a training over two of them."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError, SpecificationError, TrainingError
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.training import distributed, nodes, tokenization, trainer
from sft_pipeline_tests.architectures import token_loss

DEPLOY = Path(__file__).parents[2] / "deploy"
POD = {"SFT_PIPELINE_NODES": "2", "JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "training-0.training"}
SLURM = {
    "SFT_PIPELINE_NODES": "3",
    "SLURM_NODEID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_JOB_NODELIST": "gpu[03-04,11]",
}


def test_the_command_line_in_a_pod_of_an_indexed_job():
    assert nodes.here(POD).torchrun(4, "sft_pipeline.training.worker", "/shared/processes.json") == [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "2", "--node-rank", "1", "--nproc-per-node", "4"),
        *("--rdzv-backend", "static", "--rdzv-endpoint", "training-0.training:29500"),
        *(
            "--rdzv-id",
            "sft-pipeline",
            "--rdzv-conf",
            "timeout=900",
            "--max-restarts",
            "0",
            "--shutdown-timeout",
            "600",
        ),
        *("-m", "sft_pipeline.training.worker", "/shared/processes.json"),
    ]


def test_the_command_line_of_a_slurm_task():
    assert nodes.here(SLURM | {"MASTER_PORT": "24711"}).torchrun(8, "sft_pipeline.training.worker", seconds=60) == [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nnodes", "3", "--node-rank", "2", "--nproc-per-node", "8"),
        *("--rdzv-backend", "static", "--rdzv-endpoint", "gpu03:24711"),
        *("--rdzv-id", "4711", "--rdzv-conf", "timeout=60", "--max-restarts", "0", "--shutdown-timeout", "600"),
        *("-m", "sft_pipeline.training.worker"),
    ]


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu1,gpu2", "gpu1"),
        ("gpu[007-010,12],login", "gpu007"),
        ("gpu[7,9]-ib0", "gpu7-ib0"),
        ("rack[2-3]node[01-16].cluster.example", "rack2node01.cluster.example"),
    ],
)
def test_node_0_is_the_first_host_of_slurms_list(hosts, first):
    assert nodes.here(SLURM | {"SLURM_JOB_NODELIST": hosts}).address == first


def test_a_step_of_slurm_counts_before_its_job_and_a_declared_address_before_the_list():
    part = SLURM | {"SLURM_JOB_NUM_NODES": "8", "SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NODELIST": "gpu[04-06]"}
    assert nodes.here(part).address == "gpu04"
    assert nodes.here(part | {"MASTER_ADDR": "gpu04-ib"}).address == "gpu04-ib"


@pytest.mark.parametrize("count", ["", "1"])
def test_whatever_a_scheduler_sets_a_training_stays_on_its_machine_unless_nodes_are_declared(count):
    assert nodes.here(SLURM | POD | {"SFT_PIPELINE_NODES": count}) is None


@pytest.mark.parametrize(
    ("environment", "wrong", "message"),
    [
        (POD, {"SFT_PIPELINE_NODES": "two"}, "SFT_PIPELINE_NODES is 'two'"),
        (POD, {"SFT_PIPELINE_NODES": "0"}, "SFT_PIPELINE_NODES is '0'"),
        (POD, {"JOB_COMPLETION_INDEX": ""}, "JOB_COMPLETION_INDEX in the pods .* SLURM_NODEID"),
        (POD, {"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX is 2, but SFT_PIPELINE_NODES is 2"),
        (POD, {"JOB_COMPLETION_INDEX": "-1"}, "JOB_COMPLETION_INDEX is '-1'"),
        (POD, {"SLURM_NODEID": "0"}, "JOB_COMPLETION_INDEX=1 and SLURM_NODEID=0 contradict"),
        (POD, {"MASTER_ADDR": " "}, "not MASTER_ADDR: .* JOB-0.SERVICE"),
        (POD, {"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        (POD, {"MASTER_PORT": "65536"}, "MASTER_PORT is 65536"),
        (SLURM, {"SLURM_NODEID": "3"}, "SLURM_NODEID is 3, but SFT_PIPELINE_NODES is 3"),
        (SLURM, {"SLURM_JOB_NUM_NODES": "4"}, "SLURM_JOB_NUM_NODES is 4, but SFT_PIPELINE_NODES is 3"),
        (SLURM, {"SLURM_STEP_NUM_NODES": "1"}, "SLURM_STEP_NUM_NODES is 1, but SFT_PIPELINE_NODES is 3"),
        (SLURM, {"SLURM_LOCALID": "1"}, "SLURM_LOCALID is 1: .* --ntasks-per-node=1"),
        (SLURM, {"SLURM_JOB_NODELIST": "gpu[03"}, "SLURM_JOB_NODELIST is .* set MASTER_ADDR"),
        (SLURM, {"SLURM_JOB_NODELIST": "gpu]03"}, "SLURM_JOB_NODELIST is .* set MASTER_ADDR"),
        (SLURM, {"SLURM_JOB_NODELIST": ""}, "not MASTER_ADDR"),
    ],
)
def test_an_environment_that_cannot_be_is_refused_by_the_name_of_its_variable(environment, wrong, message):
    with pytest.raises(SpecificationError, match=message):
        nodes.here(environment | wrong)


def test_processes_that_cannot_be_divided_are_refused_and_only_node_0_begins(monkeypatch):
    for name, value in (POD | {"JOB_COMPLETION_INDEX": "0"}).items():
        monkeypatch.setenv(name, value)
    assert [nodes.share(count) for count in (1, 2, 8)] == [1, 1, 4]
    with pytest.raises(PreconditionError, match=r"training\.processes is 3.*SFT_PIPELINE_NODES=2"):
        nodes.share(3)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    with pytest.raises(PreconditionError, match="node 1 of 2: node 0 begins .*train-node"):
        nodes.share(2)


def test_a_node_with_too_few_devices_says_which_share_is_its_own(toy, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(PreconditionError, match=r"processes is 4 on .*cuda, 2 of them on node 1, .*sees 1\. .*are 2,"):
        distributed.join(toy(processes=4, model={"device": "cuda"}), nodes.here(POD), 1)


def test_train_node_says_where_it_cannot_be(monkeypatch):
    def said(**environment):
        done = CliRunner().invoke(app, ["train-node", "tiny"], env=dict.fromkeys(POD) | environment)
        assert done.exit_code == 2
        return done.output

    assert "SFT_PIPELINE_NODES does not say" in said()
    assert "node 0 of 2, which runs the lineage" in said(**POD | {"JOB_COMPLETION_INDEX": "0"})
    assert "training.processes is 1, which cannot be divided" in said(**POD)


def test_the_manifest_of_the_indexed_job_describes_nodes():
    service, policy, job = yaml.safe_load_all((DEPLOY / "kubernetes" / "training_job.yaml").read_text())
    template = job["spec"]["template"]
    pod, (container,) = template["spec"], template["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    found = [nodes.here(env | {"JOB_COMPLETION_INDEX": str(index)}) for index in range(job["spec"]["completions"])]
    assert [node.index for node in found] == [0, 1] and job["spec"]["completionMode"] == "Indexed"
    assert {node.count for node in found} == {job["spec"]["completions"]} == {job["spec"]["parallelism"]}
    assert found[0].address == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    labels = template["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == policy["spec"]["podSelector"]["matchLabels"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels}}]
    assert pod["terminationGracePeriodSeconds"] > nodes.SAVING


def test_the_slurm_script_starts_each_node_in_its_part(tmp_path):
    def program(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    program(tmp_path / "bin" / "srun", 'for n in 0 1; do SLURM_NODEID=$n SLURM_LOCALID=0 bash -c "${@: -1}"; done')
    see = "import json, os; from sft_pipeline.training import nodes; print(json.dumps(vars(nodes.here())))"
    program(tmp_path / ".venv" / "bin" / "sft-pipeline", f'echo "$@"; {sys.executable} -c "{see}"')
    job = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "gpu[3-4]"}
    done = subprocess.run(
        [DEPLOY / "slurm" / "training.sbatch", "math"],
        cwd=tmp_path,
        env=os.environ | job | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    first, zero, second, one = done.stdout.splitlines()
    assert (first, second) == ("run math", "train-node math")
    common = {"count": 2, "address": "gpu3", "port": 24711, "job": "4711"}
    assert (json.loads(zero), json.loads(one)) == ({"index": 0, **common}, {"index": 1, **common})


@pytest.fixture
def two(monkeypatch):
    """The environment of node 0 of two on this machine, and of node 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"SFT_PIPELINE_NODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    for name, value in (common | {"JOB_COMPLETION_INDEX": "0"}).items():
        monkeypatch.setenv(name, value)
    return os.environ | common | {"JOB_COMPLETION_INDEX": "1"}


@pytest.mark.slow
def test_two_nodes_give_the_course_of_one_process_with_the_same_effective_batch_and_save_once(
    toy, prepared, two, tmp_path
):
    common = {"max_steps": 8, "save_steps": 4, "lora": {"dropout": 0.0}}
    arguments = prepared(toy(batch_size=8, **common))
    experiment = toy(batch_size=4, processes=2, **common, eval_batch_size=3)  # of 8 dev rows: one process repeats some
    specification = tmp_path / "experiment.yaml"
    specification.write_text(experiment.model_dump_json(exclude_unset=True))
    one, seen = trainer.train(*arguments.values()), []
    (tmp_path / "two").mkdir()
    elsewhere = {"experiment": experiment, "work": tmp_path / "two work", "out": tmp_path / "two"}
    command = [sys.executable, "-m", "sft_pipeline.cli", "train-node", str(specification)]
    with (tmp_path / "node 1").open("w") as log:
        other = subprocess.Popen(command, env=two, stdout=log, stderr=log)
        try:
            made = trainer.train(*(arguments | elsewhere).values(), on_log=seen.append)
            assert other.wait(60) == 0, (tmp_path / "node 1").read_text()
        finally:
            other.terminate()
            other.wait()

    rows = [json.loads(adapter.path("log_history.json").read_text()) for adapter in (one, made)]
    losses = [[row["loss"] for row in found if "loss" in row] for found in rows]
    # float32 sums in another order; the logged loss of a step is the mean over the processes
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(losses[0]) == 8 and losses[0][-1] < losses[0][0]
    dev, base = arguments["dev"], arguments["base"]
    examples = tokenization.encode(experiment, load_tokenizer(base.root), read_table(dev.path(dev.ROWS))).examples
    by_hand, _ = token_loss(base, experiment.model, made.root / "adapter", examples)
    assert made.dev_loss == pytest.approx(by_hand, abs=1e-6)
    assert made.step == 8 and made.checkpoints == (4,) and {row["step"] for row in seen} >= set(range(1, 9))
    checkpoint = tmp_path / "two work" / "checkpoint-8"
    assert len(list(checkpoint.glob("adapter_model*"))) == 1
    assert {path.name for path in checkpoint.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.slow
def test_a_node_that_does_not_come_is_an_error_in_the_stated_time(toy, prepared, two, monkeypatch):
    monkeypatch.setattr(nodes, "JOINING", 2)
    arguments = prepared(toy(processes=2))
    with pytest.raises(TrainingError) as said:
        trainer.train(*arguments.values())
    address = f"127.0.0.1:{os.environ['MASTER_PORT']}"
    assert f"the 2 nodes did not meet at {address} within 2 s" in str(said.value)
    assert re.search(r"sft-pipeline train-node.*SFT_PIPELINE_NODES=2", str(said.value))
    assert "1/2 clients joined" in (arguments["work"] / distributed.LOG).read_text()
