"""The same specification elsewhere: which artifacts came out the same, and from which on they differ, and why."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.artifacts import Artifact
from sft_pipeline.errors import DataError
from sft_pipeline.release import verify
from sft_pipeline.release.eligibility import OPTIONAL, PARTS


class Reproduction(NamedTuple):
    """What a comparison found.

    Attributes:
        same: assets with the same version.
        first: assets that differ although all that they were made from is the same.
        later: assets that differ, and that were made from what differs.
        missing: assets of one side only.
        reasons: why the first ones differ, as far as it was recorded, a sentence each.
    """

    same: tuple[str, ...]
    first: tuple[str, ...]
    later: tuple[str, ...]
    missing: tuple[str, ...]
    reasons: tuple[str, ...]


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """The described artifacts of a release or report, with the environments that were recorded, by asset.

    Raises:
        DataError: the folder is none, or does not match itself.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give that of a release or report.")
    if problems := verify.check(str(folder))[0]:
        raise DataError(f"{folder} is no sound release: {problems[0]}")
    artifacts = json.loads((folder / verify.LINEAGE).read_text("utf-8"))["artifacts"]
    for asset, (_, name) in RECORDS.items():
        if asset in artifacts and (folder / name).is_file():
            artifacts[asset]["environment"] = _environment(folder / name)
    return dict(artifacts)


def stored(found: Mapping[str, Artifact]) -> dict[str, dict[str, Any]]:
    """The same of stored artifacts, of those that a release is made from: a search is not."""
    described: dict[str, dict[str, Any]] = {}
    for asset, artifact in found.items():
        if asset not in (*PARTS, *OPTIONAL):
            continue
        described[asset] = {"version": artifact.version, "described": artifact.described, "key": artifact.key}
        if asset in RECORDS and RECORDS[asset][0] in artifact.files:
            described[asset]["environment"] = _environment(artifact.path(RECORDS[asset][0]))
    return described


RECORDS = {
    "lora_adapter": ("training_manifest.json", "training_manifest.json"),
    "gate_report": ("environment.json", "reports/environment.json"),
}
"""Files in which assets record the machine and the libraries that they were made with: in the artifact, in the release."""


def compare(there: Mapping[str, Mapping[str, Any]], here: Mapping[str, Mapping[str, Any]]) -> Reproduction:
    """Hold the artifacts of two lineages against each other.

    Args:
        there: those of a release, by `read`.
        here: those of the store, by `stored`.
    """
    common = [asset for asset in there if asset in here]
    same = [asset for asset in common if there[asset]["version"] == here[asset]["version"]]
    differ = [asset for asset in common if asset not in same]
    first = [a for a in differ if not any(name in differ for name in there[a]["described"]["content"]["upstream"])]
    missing = [asset for asset in (*there, *here) if (asset in there) != (asset in here)]
    reasons = [reason for asset in first for reason in _reasons(asset, there, here)]
    return Reproduction(
        tuple(same), tuple(first), tuple(a for a in differ if a not in first), tuple(missing), tuple(reasons)
    )


def _reasons(asset: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Why an asset differs whose inputs do not: what was recorded of it, and of the environments on both sides."""
    one, other = there[asset], here[asset]
    found = []
    if one.get("key") == other.get("key"):
        found.append(f"{asset}: from the same inputs, code, specification and libraries came another result")
    else:
        found.append(f"{asset}: its code, its part of the specification, or libraries or files that it names differ")
    contents = [side["described"]["content"] for side in (one, other)]
    fields = sorted(
        name for name in contents[0].keys() | contents[1].keys() if contents[0].get(name) != contents[1].get(name)
    )
    files = [side["described"]["files"] for side in (one, other)]
    names = sorted(name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name))
    if fields or names:
        found.append(f"{asset}: different are {', '.join([*fields, *names])}")
    records = [_nearest(asset, side) for side in (there, here)]
    machine = [
        f"{name} {records[0].get(name, 'unknown')} there, {records[1].get(name, 'unknown')} here"
        for name in sorted(records[0].keys() | records[1].keys())
        if records[0].get(name) != records[1].get(name)
    ]
    if not all(records):
        found.append("the environment was not recorded on both sides")
    elif machine:
        found.append(f"the environments differ: {'; '.join(machine)}")
    else:
        found.append("the recorded environments do not differ")
    return found


def _nearest(asset: str, side: Mapping[str, Any]) -> dict[str, str]:
    """The asset's own record, else that of the adapter, or of the gate where there is no other."""
    order = (asset, *RECORDS)
    return next((side[a]["environment"] for a in order if a in side and side[a].get("environment")), {})


def _environment(path: Path) -> dict[str, str]:
    content = json.loads(path.read_text("utf-8"))
    return dict(content.get("environment", content))
