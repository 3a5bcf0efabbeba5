"""The training manifest and the success marker beside the adapter."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import GuardReport
from sft_pipeline.provenance import environment
from sft_pipeline.provenance.hashing import hash_file
from sft_pipeline.training.distributed import Job
from sft_pipeline.training.tokenization import Encoded

EVALUATION = {
    "asset": "gate_report",
    "chain": ["gate_report", "sft_generations", "lora_adapter"],
    "note": "of the same experiment; each asset of the chain names under upstream the version of the next",
}
"""Where the verdict on the adapter will be found: it is not known yet."""


def write(
    out: Path,
    job: Job,
    guard: GuardReport,
    encoded: Encoded,
    loaded: Mapping[str, Any],
    options: Mapping[str, Any],
    measurements: Mapping[str, Any],
    result: Mapping[str, Any],
    chosen_by: str,
) -> None:
    """Write `training_manifest.json` and `TRAINING_SUCCESS` into `out`, which holds the finished adapter.

    Args:
        out: the artifact's folder.
        job: what was trained; the plan's figures are in the manifest as planned ones.
        guard: the guard's report on the base.
        encoded: what became of the training rows.
        loaded: what was measured of the base as it was loaded: weights by type, its own dropout, packing.
        options: keywords of TRL's SFTConfig.
        measurements: times and memory.
        result: the adapter's `steps`, `step`, `epochs` and losses, by their names in AdapterSnapshot.
        chosen_by: what chose `step`: dev_success, dev_loss or last.
    """
    experiment, base, plan, train, dev = job.experiment, job.base, job.plan, job.train, job.dev
    made = environment.record()
    dev_loss = result["dev_loss"]
    adapter = {path.name: hash_file(path) for path in sorted((out / "adapter").iterdir())}
    manifest = {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "hyperparameters": experiment.training.model_dump(mode="json"),
        "prompt": experiment.prompt.model_dump(mode="json"),
        "model": {
            **experiment.model.loading,
            "source": base.source,
            "revision": base.revision,
            "digest": base.digest,
            "parameters": base.parameters,
            "loaded": dict(loaded),
        },
        "data": {
            "source": train.source,
            "train": {"digest": train.digest, "rows": train.rows},
            "dev": {"digest": dev.digest, "rows": dev.rows},
            "cut_rows": len(encoded.truncated),
            "rows_without_loss": len(encoded.masked),
            "rows_merging_at_the_border": len(encoded.merged),
        },
        "plan": {
            "digest": plan.digest,
            "steps": plan.steps,
            "warmup_steps": plan.warmup_steps,
            "coverage": plan.coverage,
            "settings": plan.settings,
        },
        # Beyond 700 nats the perplexity is no float.
        "result": {**result, "dev_perplexity": math.exp(dev_loss) if dev_loss is not None and dev_loss < 700 else None},
        "chosen_by": chosen_by,
        "evaluation": EVALUATION,
        "guard": {"digest": guard.digest, "passed": guard.passed, "loader": guard.loader},
        "trainer_options": dict(options),
        "measurements": dict(measurements),
        "environment": made,
        "adapter": adapter,
    }
    (out / "training_manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    success = {
        "adapter": "adapter",
        "sha256": adapter["adapter_model.safetensors"],
        "steps": result["steps"],
        "step": result["step"],
        "commit": made["commit"],
        "guard": {
            "passed": guard.passed,
            "checks": guard.checks,
            "sentinels": [s.model_dump() for s in guard.sentinels],
        },
    }
    (out / "TRAINING_SUCCESS").write_text(json.dumps(success, indent=1, sort_keys=True) + "\n")
