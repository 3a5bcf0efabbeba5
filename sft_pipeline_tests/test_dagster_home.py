"""DAGSTER_HOME: what `sft-pipeline run` says of one that cannot be used, and what the project's own sets."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.commands.dagster_home import dagster_home
from sft_pipeline.errors import PipelineError
from sft_pipeline_tests.permissions import obey_permissions

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGURATION = REPOSITORY / "dagster_home" / "dagster.yaml"


def test_unset_it_is_the_projects_own(toy_project, monkeypatch):
    for value in (None, ""):
        monkeypatch.delenv("DAGSTER_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("DAGSTER_HOME", value)
        assert dagster_home() == toy_project / "dagster_home"
    assert (toy_project / "dagster_home").is_dir()


def test_a_relative_one_is_refused_with_the_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "some/home")
    with pytest.raises(PipelineError, match=f"export DAGSTER_HOME={tmp_path}/some/home"):
        dagster_home()
    assert not (tmp_path / "some").exists()


def test_one_that_is_made_gets_the_configuration_that_ships_with_the_checkout(toy_project, monkeypatch, capsys):
    for home in (None, toy_project / "new" / "home"):  # the root of the experiments is another folder than the checkout
        monkeypatch.setenv("DAGSTER_HOME", str(home or ""))
        made = dagster_home()
        assert made == (home or toy_project / "dagster_home") and [p.name for p in made.iterdir()] == ["dagster.yaml"]
        assert (made / "dagster.yaml").read_bytes() == CONFIGURATION.read_bytes()
        dagster_home()
    assert capsys.readouterr().err == ""


def test_one_without_a_configuration_is_used_and_the_remedy_works(toy_project, monkeypatch, capsys):
    home = toy_project / "a home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    assert dagster_home() == home and not any(home.iterdir())
    said = capsys.readouterr().err
    assert "holds no dagster.yaml" in said
    subprocess.run(shlex.split(said.rpartition("; ")[2]), check=True)
    dagster_home()
    assert capsys.readouterr().err == "" and (home / "dagster.yaml").read_bytes() == CONFIGURATION.read_bytes()


def test_an_installed_package_has_none_to_give_and_names_no_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sft_pipeline.commands.dagster_home.SHIPPED", tmp_path / "site-packages" / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new"))
    assert not any(dagster_home().iterdir())
    said = capsys.readouterr().err
    assert "of the project's sources" in said and "site-packages" not in said


def test_a_file_in_its_place_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    for home in ("home", "home/below"):
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / home))
        with pytest.raises(PipelineError, match="cannot be written"):
            dagster_home()


@pytest.mark.slow
def test_a_read_only_one_stops_the_command_before_anything_runs(toy_project):
    home = toy_project / "home"
    home.mkdir()
    home.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-m", "sft_pipeline.cli", "run", "toy"],
        env=os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=obey_permissions,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and list(home.iterdir()) == []
    assert f"DAGSTER_HOME {home} cannot be written: Permission denied" in done.stderr
    assert "set DAGSTER_HOME to another folder" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_projects_configuration_works_from_a_fresh_clone(tmp_path):
    """Telemetry off, limits of runs and pools, run monitoring, and an end for the ticks of schedules and sensors."""
    shutil.copy(CONFIGURATION, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled and not instance.nux_enabled and instance.run_monitoring_enabled
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config.max_concurrent_runs == 2 and limits.pool_config.default_pool_limit == 1
        retention = instance.get_settings("retention")
        assert retention.keys() == {"schedule", "sensor", "auto_materialize"}
        assert all(days > 0 for kind in retention.values() for days in kind["purge_after_days"].values())
