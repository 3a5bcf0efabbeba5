"""DAGSTER_HOME: what `sft-pipeline run` says of one that cannot be used, and what the project's own sets."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.commands.dagster_home import dagster_home
from sft_pipeline.errors import PipelineError

REPOSITORY = Path(__file__).resolve().parent.parent


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


def test_one_without_a_configuration_is_used_and_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new"))
    assert dagster_home().is_dir()
    assert "holds no dagster.yaml" in capsys.readouterr().err
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", tmp_path / "new")
    dagster_home()
    assert capsys.readouterr().err == ""


def test_a_file_in_its_place_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("")
    for home in ("home", "home/below"):
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / home))
        with pytest.raises(PipelineError, match="cannot be written"):
            dagster_home()


def _obey_permissions():
    """Root reads and writes everything; after the next exec no longer (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_a_read_only_one_stops_the_command_before_anything_runs(toy_project):
    home = toy_project / "home"
    home.mkdir()
    home.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-m", "sft_pipeline.cli", "run", "toy"],
        env=os.environ | {"DAGSTER_HOME": str(home), "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=_obey_permissions,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and list(home.iterdir()) == []
    assert f"DAGSTER_HOME {home} cannot be written: Permission denied" in done.stderr
    assert "set DAGSTER_HOME to another folder" in done.stderr and "Traceback" not in done.stderr


def test_the_projects_configuration_works_from_a_fresh_clone(tmp_path):
    """Telemetry off, limits of runs and pools, run monitoring, and an end for the ticks of schedules and sensors."""
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled and not instance.nux_enabled and instance.run_monitoring_enabled
        limits = instance.get_concurrency_config()
        assert limits.run_queue_config.max_concurrent_runs == 2 and limits.pool_config.default_pool_limit == 1
        retention = instance.get_settings("retention")
        assert retention.keys() == {"schedule", "sensor", "auto_materialize"}
        assert all(days > 0 for kind in retention.values() for days in kind["purge_after_days"].values())
