"""Which commit a result is recorded with, and how large libraries are imported."""

import gc
import subprocess

import pytest

from sft_pipeline.provenance import environment


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit; gives its folder and the commit."""

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    return tmp_path, git("rev-parse", "HEAD")


def test_a_checkout_has_its_commit_and_says_when_files_differ(repository, monkeypatch):
    root, head = repository
    monkeypatch.setattr(environment, "PACKAGE", root / "sft_pipeline")
    monkeypatch.setenv(environment.COMMIT, "of the image")
    (root / "sft_pipeline").mkdir()
    assert environment.commit() == head
    (root / "file").write_text("two")
    assert environment.commit() == f"{head}+changes"


def test_a_repository_around_the_installed_package_is_not_ours(repository, monkeypatch):
    root, _ = repository
    packages = root / ".venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    monkeypatch.setattr(environment, "PACKAGE", packages / "sft_pipeline")
    assert environment.commit() == "unknown"
    monkeypatch.setenv(environment.COMMIT, "abc123")
    assert environment.commit() == "abc123"


def test_without_git_the_environment_says_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for value, expected in (("abc123", "abc123"), ("", "unknown")):
        monkeypatch.setenv(environment.COMMIT, value)
        assert environment.commit() == expected


def test_the_garbage_collector_is_off_while_libraries_are_imported_and_on_again_whatever_happens():
    with environment.importing():
        during = gc.isenabled()
    assert not during and gc.isenabled()
    with pytest.raises(ModuleNotFoundError), environment.importing():
        import no_such_library  # noqa: F401
    assert gc.isenabled()
