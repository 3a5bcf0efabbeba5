"""What the UI shows of the definitions: owners, kinds, descriptions, links; and misnamed specifications beside others."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.definitions import build_defs
from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage import io_managers
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.io_managers import STORE_URL, report_page, serve_pages
from sft_pipeline.lineage.presentation import DOCS_URL, OWNERS
from sft_pipeline.provenance.store import Store
from sft_pipeline.report.page_server import address, server
from sft_pipeline.specification import project_root

FOLDER = "/somewhere/store/objects/gate_report/0a1b/files"


@pytest.fixture
def assets(monkeypatch):
    """The assets as the UI gets them, under the given environment."""

    def load(**environment):
        for name in (OWNERS, DOCS_URL, STORE_URL):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        graph = build_defs().resolve_asset_graph()
        return [graph.get(key) for key in graph.materializable_asset_keys]

    return load


def test_every_asset_has_an_owner_kinds_a_description_and_a_page_that_exists(assets):
    for asset in assets():
        assert asset.owners == ["team:sft-pipeline"] and asset.kinds and asset.description
        (reference,) = asset.metadata["dagster/code_references"].code_references
        lines = Path(reference.file_path).read_text().splitlines()[reference.line_number - 1 :][:20]
        assert any(line.startswith("def ") for line in lines)
        assert (project_root() / asset.metadata["docs"].path).is_file()


def test_every_check_job_and_sensor_says_what_it_is_for():
    defs = build_defs()
    graph = defs.resolve_asset_graph()
    checks = [graph.get(key) for key in graph.asset_check_keys]
    jobs = [defs.resolve_job_def(name) for name in ("full_lineage", "data_only", "re_evaluate")]
    undescribed = [thing for thing in (*checks, *jobs, *(defs.sensors or ())) if not thing.description]
    assert checks and undescribed == []


def test_owners_and_links_come_from_the_environment(assets):
    shown = assets(**{OWNERS: "team:one, two@example.com", DOCS_URL: "https://example.com/files/"})
    assert all(asset.owners == ["team:one", "two@example.com"] for asset in shown)
    docs = {asset.key.path[-1]: asset.metadata["docs"].url for asset in shown}
    assert docs == {name: f"https://example.com/files/{asset.docs}" for name, asset in ASSETS.items()}
    code = shown[0].metadata["dagster/code_references"].code_references[0].url
    assert code.startswith("https://example.com/files/sft_pipeline/lineage/assets/") and "#L" in code


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (OWNERS, "somebody"),
        (DOCS_URL, "javascript:alert(1)"),
        (DOCS_URL, "https://me:hidden-word@example.com/"),
        (STORE_URL, "file:///etc"),
    ],
)
def test_a_setting_that_cannot_be_shown_is_an_error_that_names_the_variable(assets, variable, value):
    with pytest.raises(SpecificationError, match=variable) as caught:
        assets(**{variable: value})
    assert "hidden-word" not in str(caught.value)


def test_a_report_is_a_link_and_a_path_only_where_no_browser_reaches_the_store(monkeypatch, tmp_path):
    monkeypatch.delenv(STORE_URL, raising=False)
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path))
    local, remote = Store(tmp_path / "store"), Store("s3://bucket/store")
    link = f"{address(local.root)}/gate_report/0a1b/files/a%20b.html"
    assert link.startswith("http://127.0.0.1:3001/") and report_page("a b.html", FOLDER, local).url == link
    assert report_page("gate.html", FOLDER, remote) == dg.MetadataValue.path(f"{FOLDER}/gate.html")
    monkeypatch.setenv(STORE_URL, "https://reports.example/")
    for store in (local, remote):
        shown = report_page("a b.html", FOLDER, store)
        assert shown.url == "https://reports.example/gate_report/0a1b/files/a%20b.html"


@pytest.mark.slow
def test_a_code_server_serves_the_pages_once_where_nobody_does_and_says_when_it_cannot(monkeypatch, tmp_path):
    monkeypatch.delenv(STORE_URL, raising=False)
    opened, port = [], 0
    monkeypatch.setattr(io_managers, "server", lambda root: opened.append(server(root, port)) or opened[-1])
    stores = [Store(tmp_path / name) for name in ("one", "two")]
    page = stores[0].root / "objects" / "gate_report" / "0a1b" / "files" / "gate.html"
    page.parent.mkdir(parents=True)
    page.write_text("verdict")
    assert serve_pages(stores[0]) == "" == serve_pages(stores[0]) and len(opened) == 1
    port = opened[0].server_port
    link = f"{address(stores[0].root, port)}/gate_report/0a1b/files/gate.html"
    assert urllib.request.urlopen(link, timeout=10).read() == b"verdict"
    assert f"port {port} of this machine" in serve_pages(stores[1])
    opened[0].shutdown()
    opened[0].server_close()
    monkeypatch.setenv(STORE_URL, "https://reports.example/")
    assert serve_pages(stores[1]) == "" and len(opened) == 1


@pytest.mark.slow
def test_a_misnamed_specification_is_named_and_the_others_still_load(toy_project):
    specs = toy_project / "specs"
    for name in ("my plan.yaml", "..yaml", "...yaml", "pläne.yaml", "-rf.yaml", "a\nb.yaml", "other.yml"):
        (specs / name).write_text("description: x\n")
    (specs / b"\xff.yaml".decode(errors="surrogateescape")).write_text("description: x\n")
    (specs / "folder.yaml").mkdir()
    (specs / "planned.yaml").write_text("plan_only: true\n")  # no run is made of it, so it is no partition
    code = "from sft_pipeline.definitions import defs; print(*defs.resolve_job_def('full_lineage').partitions_def.get_partition_keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["toy"], done.stderr
    for shown in (
        "'my plan.yaml'",
        "'..yaml'",
        "'...yaml'",
        "'pläne.yaml'",
        "'-rf.yaml'",
        r"'a\nb.yaml'",
        r"'\udcff.yaml'",
    ):
        assert f"specs/{shown}: the file name is the experiment's name" in done.stderr
    assert "specs/'other.yml': name it .yaml" in done.stderr and "folder.yaml" not in done.stderr
