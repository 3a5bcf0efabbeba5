"""The bill of materials in CycloneDX 1.6: the adapter as a machine-learning model, its base, its data, its libraries."""

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sft_pipeline
from sft_pipeline.artifacts import Artifact, GateReport, InstructionDataset, ModelSnapshot
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.environment import LIBRARIES
from sft_pipeline.release.eligibility import part

NAMESPACE = uuid.UUID("6f2b8f0e-5a0c-5d5e-9c1e-7d6c2f1b9a10")
"""Of the serial numbers: a bill of the same release has the same one."""


def bom(
    found: Mapping[str, Artifact],
    subjects: Mapping[str, str],
    experiment: Experiment,
    name: str,
    training: Mapping[str, Any],
) -> str:
    """The content of bom.cdx.json; the same artifacts give the same text.

    The library knows no model card yet, so that part is added to its JSON by the schema of CycloneDX 1.6.

    Args:
        found: the artifacts, by asset.
        subjects: SHA-256 of the released files, by name.
        experiment: the specification.
        name: of the model.
        training: the training manifest, for libraries and time.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    def component(kind: ComponentType, ref: str, of: str, **more: Any) -> Component:
        return Component(type=kind, name=of, bom_ref=ref, **more)

    def hashes(digests: Mapping[str, str]) -> list[HashType]:
        return [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests.values()]

    def licences(text: str | None) -> list[DisjunctiveLicense]:
        return [DisjunctiveLicense(name=text)] if text else []

    gate, base = part(found, "gate_report", GateReport), part(found, "base_model", ModelSnapshot)
    model = component(
        ComponentType.MACHINE_LEARNING_MODEL,
        "model",
        name,
        version=found["lora_adapter"].version,
        description=experiment.description,
        licenses=licences(experiment.release.license),
        components=[
            component(ComponentType.FILE, f"file/{file}", file, hashes=hashes({file: digest}))
            for file, digest in sorted(subjects.items())
        ],
    )
    parent = component(
        ComponentType.MACHINE_LEARNING_MODEL,
        "base",
        base.source,
        version=base.revision,
        licenses=licences(experiment.release.base_license),
        components=[
            component(ComponentType.FILE, f"base/{file}", file, hashes=hashes({file: ref.sha256}))
            for file, ref in sorted(base.files.items())
        ],
    )
    data = [
        component(
            ComponentType.DATA,
            asset,
            asset,
            version=artifact.version,
            properties=[Property(name="rows", value=str(artifact.rows))],
            hashes=hashes({"rows": artifact.files[artifact.ROWS].sha256}),
        )
        for asset, artifact in found.items()
        if isinstance(artifact, InstructionDataset)
    ]
    libraries = [
        component(ComponentType.LIBRARY, f"pkg:pypi/{library}@{version}", library, version=version,
                  purl=PackageURL("pypi", None, library, version))
        for library, version in sorted(training["environment"].items())
        if library in LIBRARIES
    ]  # fmt: skip
    made = Bom(
        components=[parent, *data, *libraries],
        serial_number=uuid.uuid5(NAMESPACE, gate.version),
    )
    made.metadata.component = model
    made.metadata.timestamp = datetime.fromisoformat(training["finished"])
    made.metadata.tools.components.add(
        Component(type=ComponentType.APPLICATION, name="sft-pipeline", version=sft_pipeline.__version__)
    )
    made.register_dependency(model, [parent, *data, *libraries])
    content = json.loads(JsonV1Dot6(made).output_as_string())
    content["metadata"]["component"]["modelCard"] = _model_card(found, gate, experiment)
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _model_card(found: Mapping[str, Artifact], gate: GateReport, experiment: Experiment) -> dict[str, Any]:
    overall = gate.overall
    rates = {"base": (overall.base_rate, overall.base_interval), "fine-tuned": (overall.sft_rate, overall.sft_interval)}
    metrics = [
        {"type": "success rate", "slice": f"test split, {who}", "value": f"{rate:.6g}",
         "confidenceInterval": {"lowerBound": f"{low:.6g}", "upperBound": f"{high:.6g}"}}
        for who, (rate, (low, high)) in rates.items()
    ]  # fmt: skip
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "text-generation",
            "architectureFamily": "transformer",
            "modelArchitecture": part(found, "base_model", ModelSnapshot).architecture,
            "datasets": [{"ref": asset} for asset, a in found.items() if isinstance(a, InstructionDataset)],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {"technicalLimitations": list(experiment.release.limits)},
    }
