"""The provenance: an in-toto statement with SLSA's predicate, over the whole chain.

Specifications: https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1.
"""

import re
from collections.abc import Mapping
from typing import Any

import sft_pipeline
from sft_pipeline.artifacts import Artifact, ModelSnapshot

STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:sft-pipeline:lineage:v1"
"""Says how to read the parameters: `specification` is the experiment, the dependencies are its artifacts by version."""


def statement(
    found: Mapping[str, Artifact],
    subjects: Mapping[str, str],
    specification: Mapping[str, Any],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """The statement; the same artifacts give the same.

    Args:
        found: the artifacts, by asset, each after what it was made from.
        subjects: SHA-256 of the released files, by name.
        specification: the experiment as plain values.
        training: the training manifest, whose record of the environment and end it takes.
    """
    made = training["environment"]
    into = _upstream(found, "lora_adapter") | _upstream(found, "test_split") | {"test_split"}
    inputs = {asset: artifact for asset, artifact in found.items() if asset in into}
    source = []
    if re.fullmatch(r"[0-9a-f]{40}", made["commit"]):
        source = [{"name": "sft-pipeline", "digest": {"gitCommit": made["commit"]}}]
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"specification": dict(specification)},
                "internalParameters": {"environment": made},
                "resolvedDependencies": [_descriptor(a, artifact) for a, artifact in inputs.items()] + source,
            },
            "runDetails": {
                "builder": {"id": f"pkg:pypi/sft-pipeline@{sft_pipeline.__version__}"},
                "metadata": {"invocationId": found["gate_report"].version, "finishedOn": training["finished"]},
                "byproducts": [_descriptor(a, artifact) for a, artifact in found.items() if a not in inputs],
            },
        },
    }


def _upstream(found: Mapping[str, Artifact], asset: str) -> set[str]:
    """All that an artifact was made from, directly and through others."""
    named = set(found[asset].upstream) & found.keys()
    return named.union(*(_upstream(found, name) for name in named))


def _descriptor(asset: str, artifact: Artifact) -> dict[str, Any]:
    """A resource by the version under which lineage.json describes it."""
    files = (
        {f"file:{name}": ref.sha256 for name, ref in sorted(artifact.files.items())} if asset == "base_model" else {}
    )
    notes = {"type": type(artifact).__name__, **files}
    if isinstance(artifact, ModelSnapshot):
        notes |= {"source": artifact.source, "revision": artifact.revision}
    return {"name": asset, "digest": {"sha256": artifact.version}, "annotations": notes}
