"""A job whose steps say which devices they see; run by the real executor, see test_executor.py."""

import json
import os
import time
from pathlib import Path

import dagster as dg

from sft_pipeline.lineage.executor import cuda_executor
from sft_pipeline.lineage.processes.devices import lease
from sft_pipeline.lineage.tags import CUDA, DEVICE


def note(name, **said):
    with open(os.environ["PRETENDED_LOG"], "a") as stream:
        stream.write(json.dumps({"step": name, "pid": os.getpid(), "at": time.monotonic(), **said}) + "\n")


def build(name, tags):
    @dg.op(name=name, tags=tags)
    def step(context):
        note(name, event="start", sees=os.environ["CUDA_VISIBLE_DEVICES"])
        if DEVICE not in context.op.tags:
            return
        with lease(1, context.log.info):
            note(name, event="leased", sees=os.environ["CUDA_VISIBLE_DEVICES"])
            time.sleep(float(os.environ["PRETENDED_SECONDS"]))
            note(name, event="done", sees=os.environ["CUDA_VISIBLE_DEVICES"])

    return step


cuda_steps = [build(f"cuda_{number}", CUDA) for number in range(3)]
plain = build("plain", {})


@dg.job(executor_def=cuda_executor)
def pretended():
    for step in cuda_steps:
        step()
    plain()


def read(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]
