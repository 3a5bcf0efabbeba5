"""verify.py: nothing of a release can be changed, removed, added or exchanged without being named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sft_pipeline.provenance.hashing import files_below, hash_file
from sft_pipeline.release import verify
from sft_pipeline_tests.release.conftest import sums_again


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))


def test_somebody_with_nothing_but_the_folder_and_python_can_check_it(release, tmp_path):
    """In isolated mode, without site packages, in an empty folder, and with nothing of the environment."""
    empty = tmp_path / "empty"
    empty.mkdir()
    script = str(release / "verify.py")
    command = [sys.executable, "-I", "-S", script]
    ran = subprocess.run(command, cwd=empty, env={}, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stderr == "" and not any(empty.iterdir())
    assert "release made: verdict pass, every file and every link matches" in ran.stdout
    assert "gate_report <- sft_generations" in ran.stdout and "signature: unsigned" in ran.stdout
    (release / "README.md").write_text("another card")
    ran = subprocess.run(command, cwd=empty, env={}, capture_output=True, text=True)
    assert ran.returncode == 1 and "README.md: was changed" in ran.stderr and "matches" not in ran.stdout
    assert len(Path(verify.__file__).read_text().splitlines()) <= 150


def test_one_changed_byte_in_any_file_is_named(release):
    assert verify.check(str(release))[0] == []
    for path in files_below(release):
        name, content = path.relative_to(release).as_posix(), path.read_bytes()
        for at in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            problems = verify.check(str(release))[0]
            assert problems and (name == "SHA256SUMS" or any(p.startswith(f"{name}: was changed") for p in problems)), (
                name
            )
        path.write_bytes(content)
    assert verify.check(str(release))[0] == []


def test_a_missing_file_is_named_whichever_it_is(release):
    for path in files_below(release):
        content = path.read_bytes()
        path.unlink()
        assert any(
            p.startswith(f"{path.relative_to(release).as_posix()}: is missing") for p in verify.check(str(release))[0]
        )
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (lambda f: (f / "extra.bin").write_text("x"), "extra.bin: was added"),
        (lambda f: (f / "reports" / ".hidden").write_text("x"), "reports/.hidden: was added"),
        (lambda f: (f / "empty").mkdir(), "empty: was added"),
        (lambda f: (f / "new\nline").write_text("x"), "new\nline: was added"),
        (lambda f: os.mkfifo(f / "pipe"), "pipe: is no regular file"),
        (lambda f: (f / "link").symlink_to("README.md"), "link: is a symbolic link"),
        (lambda f: (f / "folder").symlink_to("reports", target_is_directory=True), "folder: is a symbolic link"),
        (lambda f: (f / "dangling").symlink_to("nowhere"), "dangling: is a symbolic link"),
        (lambda f: (f / "model.sig").symlink_to("README.md"), "model.sig: is a symbolic link"),
    ],
)
def test_what_was_added_is_named(release, add, named):
    add(release)
    assert any(problem.startswith(named) for problem in verify.check(str(release))[0])


def test_what_was_added_is_named_even_if_the_sums_fit(release):
    (release / "modeling.py").write_text("x")
    sums_again(release)
    assert verify.check(str(release))[0] == ["modeling.py: was added, release.json does not name it"]


def test_a_file_behind_a_link_is_no_file_even_if_its_bytes_are_right(release):
    shutil.move(release / "README.md", release.parent / "elsewhere.md")
    (release / "README.md").symlink_to(release.parent / "elsewhere.md")
    assert any(problem.startswith("README.md: is a symbolic link") for problem in verify.check(str(release))[0])


@pytest.mark.parametrize(
    "name", ["reports/gate.json", "reports/gate.txt", "training_manifest.json", "TRAINING_SUCCESS"]
)
def test_a_swapped_report_is_named_even_if_the_sums_fit(release, name):
    text = (release / name).read_text()
    (release / name).write_text(text.replace("250", "299") if "250" in text else text + " ")
    sums_again(release)
    assert any(problem.startswith(f"{name}: is not the") for problem in verify.check(str(release))[0])


@pytest.mark.parametrize(
    "name", ["README.md", "data/README.md", "bom.cdx.json", "specification.yaml", "verify.py", "lineage.json"]
)
def test_what_the_release_wrote_itself_is_named_too_if_the_sums_fit(release, name):
    (release / name).write_text((release / name).read_text() + " ")
    sums_again(release)
    assert any(problem.startswith(f"{name}: is not the one") for problem in verify.check(str(release))[0])


@pytest.mark.slow
def test_the_report_of_another_run_is_named(release, failed):
    for file in ("gate.json", "gate.txt", "rates.png", "differences.png", "environment.json"):
        shutil.copy(failed["gate_report"].path(file), release / "reports" / file)
    sums_again(release)
    problems = verify.check(str(release))[0]
    assert any("reports/gate.json: is not the gate.json of gate_report" in problem for problem in problems)
    assert any("the verdict is not that of the gate report" in problem for problem in problems)


def test_another_adapter_is_named_wherever_its_hash_is_put(release):
    path = release / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    digest = hash_file(path)
    sums_again(release)
    assert any("adapter_model.safetensors: is not the" in problem for problem in verify.check(str(release))[0])

    def describe(lineage):
        lineage["artifacts"]["lora_adapter"]["described"]["files"]["adapter/adapter_model.safetensors"] = digest

    edit(release / "lineage.json", describe)
    sums_again(release)
    problems = verify.check(str(release))[0]
    assert "lineage.json: lora_adapter is not what its hash says" in problems

    def rehash(lineage):
        entry = lineage["artifacts"]["lora_adapter"]
        entry["digest"] = entry["version"] = verify.hash_value(entry["described"])

    edit(release / "lineage.json", rehash)
    sums_again(release)
    problems = verify.check(str(release))[0]
    assert "lineage.json: sft_generations was made from another lora_adapter than the one described" in problems
    assert any(problem.startswith("provenance.intoto.json: its subjects are not") for problem in problems)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("release.json", lambda m: m.update(verdict="fail"), "the verdict is not that of the gate report"),
        ("release.json", lambda m: m["origin"].pop("adapter_model.safetensors"), "no adapter is in it"),
        ("release.json", lambda m: m["artifacts"].pop(), "does not name the artifacts of lineage.json"),
        ("release.json", lambda m: m.clear(), "cannot be checked to its end"),
        ("release.json", lambda m: m.update(subjects=[]), "its subjects are not the files"),
        ("lineage.json", lambda m: m["artifacts"].pop("clean_dataset"), "was made from another clean_dataset"),
        (
            "provenance.intoto.json",
            lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"].pop(),
            "provenance.intoto.json: does not state",
        ),
        (
            "provenance.intoto.json",
            lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"].update(sha256="0" * 64),
            "does not state the raw_dataset",
        ),
    ],
)
def test_a_proof_that_says_something_else_is_named(release, name, change, says):
    edit(release / name, change)
    if name == "provenance.intoto.json" and says.endswith("state"):
        edit(release / name, lambda s: s["predicate"]["buildDefinition"]["resolvedDependencies"].pop())
    sums_again(release)
    assert any(says in problem for problem in verify.check(str(release))[0])


@pytest.mark.parametrize(
    "line", ["no sum at all", "0" * 64 + "  SHA256SUMS", "0" * 64 + "  README.md", "0" * 64 + "  ../outside"]
)
def test_lines_of_the_sums_that_are_no_sums_of_the_folder_are_named(release, line):
    with open(release / "SHA256SUMS", "a") as sums:
        sums.write(line + "\n")
    assert verify.check(str(release))[0]
