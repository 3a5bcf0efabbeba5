"""Dagster's own storage in a real Postgres, with the configuration that ships with the project."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg
import pytest

pytestmark = pytest.mark.slow

HOME = Path(__file__).resolve().parents[2] / "dagster_home"

RUN = """
import dagster as dg
from sft_pipeline.definitions import build_defs
defs = build_defs()
with dg.DagsterInstance.get() as instance:
    done = defs.resolve_job_def("full_lineage").execute_in_process(
        instance=instance, partition_key="toy", asset_selection=[dg.AssetKey("raw_dataset")]
    )
raise SystemExit(0 if done.success else 1)
"""


@pytest.fixture
def postgres(monkeypatch):
    """An empty database server on the loopback interface, known by the variables of dagster.postgres.yaml."""
    programs = {name: shutil.which(name) for name in ("initdb", "postgres", "pg_ctl")}
    if not all(programs.values()):
        pytest.skip(f"no Postgres server here: {', '.join(n for n, p in programs.items() if not p)} not found")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # pytest's own folders are closed to other users
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        if shutil.which("setpriv") is None:
            pytest.skip("Postgres does not run as root, and there is no setpriv to become somebody else")
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (folder / "password").write_text("planted-password")
    (folder / "password").chmod(0o644)

    def call(*command):
        done = subprocess.run([*as_user, *command], cwd=folder, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    login = ["-U", "dagster", "-A", "scram-sha-256", "--pwfile", str(folder / "password")]
    call(programs["initdb"], "-D", data, *login, "--no-locale", "--encoding=UTF8")  # not what the shell exports
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    call(programs["pg_ctl"], "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    for name, value in {
        "DAGSTER_PG_USERNAME": "dagster",
        "DAGSTER_PG_PASSWORD": "planted-password",
        "DAGSTER_PG_HOST": "127.0.0.1",
        "DAGSTER_PG_PORT": port,
        "DAGSTER_PG_DB": "postgres",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    call(programs["pg_ctl"], "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_two_processes_materialize_at_once_over_an_empty_database(postgres, toy_project, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    shipped = [(HOME / name).read_text() for name in ("dagster.yaml", "dagster.postgres.yaml")]
    (home / "dagster.yaml").write_text("\n".join(shipped))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    runs = [subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=600)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    with dg.DagsterInstance.get() as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2
        made = instance.fetch_materializations(dg.AssetKey("raw_dataset"), limit=5).records
        assert len({record.run_id for record in made}) == 2
        versions = {record.asset_materialization.tags["dagster/data_version"] for record in made}
        assert len(versions) == 1, "the second run waited for the first and took its result"
    written = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in written if path.suffix == ".db"], "SQLite was used after all"
    assert not [path for path in written if b"planted-password" in path.read_bytes()]
    assert "planted-password" not in "".join(said)
