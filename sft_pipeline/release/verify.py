"""Checks a release with nothing but Python (3.9 or newer): every file against SHA256SUMS, and what came from what.

    python3 -I verify.py [FOLDER]     # exit code 0: everything matches, 1: something does not

SHA256SUMS names the hash of each file. lineage.json describes each artifact on the way from the raw data to the gate: the
hash of a description is the artifact's version, and it names the versions of what the artifact was made from, so that none
can be exchanged without all after it. provenance.intoto.json states the same in the form of in-toto and SLSA. Whoever can
write to the folder can rewrite all of this: only a signature (model.sig) says who made it, and checking that needs
`sft-pipeline verify FOLDER --key PUBLIC_KEY`.
"""

import hashlib
import json
import os
import re
import sys
from typing import Any

SUMS, SIGNATURE, MANIFEST = "SHA256SUMS", "model.sig", "release.json"
LINEAGE, STATEMENT = "lineage.json", "provenance.intoto.json"


def sha256(path: str) -> str:
    """Hash of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """Hash of a JSON value in the one spelling that the store uses."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def listed(folder: str) -> tuple[set[str], list[str]]:
    """Names of the regular files, and what else is there."""
    files: set[str] = set()
    problems = []
    for place, folders, names in os.walk(folder):
        for name in sorted(folders + names):
            path = os.path.join(place, name)
            shown = os.path.relpath(path, folder).replace(os.sep, "/")
            if os.path.islink(path):
                problems.append(f"{shown}: is a symbolic link, its target is no part of the release")
            elif os.path.isfile(path):
                files.add(shown)
            elif not os.path.isdir(path):
                problems.append(f"{shown}: is no regular file")
            elif not os.listdir(path):
                problems.append(f"{shown}: was added, an empty folder")
    return files, problems


def check_sums(folder: str, files: set[str]) -> tuple[dict[str, str], list[str]]:
    """The files against SHA256SUMS; returns the hash of each listed file and the problems."""
    sums: dict[str, str] = {}
    problems = []
    with open(os.path.join(folder, SUMS), encoding="utf-8", newline="") as stream:
        for number, line in enumerate(stream.read().split("\n")[:-1], 1):
            found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
            if not found or found[2] in sums or found[2] in (SUMS, SIGNATURE):
                problems.append(f"{SUMS}: line {number} is no sum of a file of its own: {line[:80]!r}")
            else:
                sums[found[2]] = found[1]
    problems += (f"{name}: is missing" for name in sorted(sums.keys() - files))
    added = files - sums.keys() - {SUMS, SIGNATURE}
    problems += (f"{name}: was added, {SUMS} does not name it" for name in sorted(added))
    changed = [name for name in sorted(sums.keys() & files) if sha256(os.path.join(folder, name)) != sums[name]]
    return sums, problems + [f"{name}: was changed, its hash is not the one in {SUMS}" for name in changed]


def check_chain(sums: dict[str, str], manifest: Any, lineage: Any, statement: Any, gate: Any) -> list[str]:
    """The hashes of the artifacts, their links, and where the files of the release come from."""
    problems, versions, contents = [], {}, {}
    for asset, entry in lineage["artifacts"].items():
        described = entry["described"]
        if hash_value(described) != entry["digest"] or hash_value(entry.get("identity", described)) != entry["version"]:
            problems.append(f"{LINEAGE}: {asset} is not what its hash says")
        versions[asset], contents[asset] = entry["version"], {**entry["others"], **described["files"]}
    for asset, entry in lineage["artifacts"].items():
        for name, version in entry["described"]["content"]["upstream"].items():
            if versions.get(name) != version:
                problems.append(f"{LINEAGE}: {asset} was made from another {name} than the one described")
    for name, (asset, file) in manifest["origin"].items():
        if sums.get(name) is None or contents.get(asset, {}).get(file) != sums[name]:
            problems.append(f"{name}: is not the {file} of {asset}, as {LINEAGE} has it")
    for name, digest in manifest["written"].items():
        if sums.get(name) != digest:
            problems.append(f"{name}: is not the one that was written with {MANIFEST}")
    unknown = sums.keys() - manifest["origin"].keys() - manifest["written"].keys() - {MANIFEST}
    problems += [f"{name}: was added, {MANIFEST} does not name it" for name in sorted(unknown)]
    if dict(manifest["artifacts"]) != versions:
        problems.append(f"{MANIFEST}: does not name the artifacts of {LINEAGE}")
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    if not subjects or subjects != {name: sums.get(name) for name in manifest["subjects"]}:
        problems.append(f"{STATEMENT}: its subjects are not the files that {MANIFEST} names as released")
    build = statement["predicate"]
    stated = {d["name"]: d["digest"].get("sha256") for d in build["buildDefinition"]["resolvedDependencies"]}
    stated |= {d["name"]: d["digest"].get("sha256") for d in build["runDetails"]["byproducts"]}
    for asset, version in versions.items():
        if stated.get(asset) != version:
            problems.append(f"{STATEMENT}: does not state the {asset} of {LINEAGE}")
    judged = lineage["artifacts"]["gate_report"]["described"]["content"]["verdict"]
    if {judged, gate["verdict"]} != {manifest["verdict"]}:
        problems.append(f"{MANIFEST}: the verdict is not that of the gate report ({judged})")
    if manifest["kind"] == "release" and judged != "pass":
        problems.append(f"{MANIFEST}: calls itself a release, but the gate's verdict is {judged}")
    if manifest["kind"] == "release" and "adapter_model.safetensors" not in manifest["origin"]:
        problems.append(f"{MANIFEST}: calls itself a release, but no adapter is in it")
    return problems


def check(folder: str) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with a release folder, a sentence each, and its manifest."""
    problems: list[str] = []
    read: dict[str, Any] = {}
    try:
        files, problems = listed(folder)
        needed = (SUMS, MANIFEST, LINEAGE, STATEMENT, "reports/gate.json", "verify.py")
        problems += (f"{name}: is missing, without it this is no release" for name in needed if name not in files)
        if SUMS in files:
            sums, found = check_sums(folder, files)
            problems += (line for line in found if line.split(":")[0] not in needed or "missing" not in line)
        for name in needed[1:5]:
            if name in files:
                with open(os.path.join(folder, name), encoding="utf-8") as stream:
                    read[name] = json.load(stream)
        if set(needed) <= files:
            problems += check_chain(sums, *read.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problems.append(f"the folder cannot be checked to its end: {type(error).__name__}: {error}")
    return problems, read.get(MANIFEST, {})


if __name__ == "__main__":
    place = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    found, manifest = check(place)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(
            f"{manifest['kind']} {manifest['name']}: verdict {manifest['verdict']}, every file and every link matches"
        )
        print(f"chain: {' <- '.join(asset for asset, _ in reversed(manifest['artifacts']))}")
    signed = os.path.lexists(os.path.join(place, SIGNATURE))
    print(f"signature: {'there is one, which this file cannot check' if signed else 'unsigned'}")
    sys.exit(1 if found else 0)
