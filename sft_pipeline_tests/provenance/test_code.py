"""Code versions follow what the code does."""

import ast

import pytest

import sft_pipeline.definitions  # noqa: F401 - it fills the table of assets
from sft_pipeline.lineage import asset as assets
from sft_pipeline.lineage.asset import ASSETS, LEFT_OUT
from sft_pipeline.provenance import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package of its own, files by path, and gives the version of its module `start.py`."""

    def version(stop=(), templates=(), **files):
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "it"
        (folder / "deep").mkdir(parents=True)
        monkeypatch.setattr(code, "PACKAGE", folder)
        for name, text in files.items():
            (folder / f"{name.replace('__', '/')}.py").write_text(text)
        (folder / "report/templates").mkdir(parents=True)
        for name, text in templates:
            (folder / "report/templates" / name).write_text(text)
        return code.code_hash(*sorted(code.with_imports("start.py", stop=stop)))

    return version


def test_comments_and_docstrings_do_not_count(package):
    first = package(start='"""Doc."""\ndef f(x):\n    """Doc."""\n    return x  # why\nclass A:\n    """Doc."""\n')
    other = package(start='"""Other."""\n\n\ndef f(x):\n    return x\nclass A:\n    """Other."""\n    # No.\n')
    assert first == other


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + {}\n",
        "def f(x):\n    return '{}'\n",
        "f = lambda: '{}'\n",
        "f = ['{}' for x in y]\n",
        "f = sum('{}' for x in y)\n",
        "x = '{}'\n",
        "class A:\n    x = '{}'\n",
        "class A:\n    def f(self):\n        x = '{}'\n",
    ],
)
def test_code_and_its_constants_count(package, text):
    assert package(start=text.format(1)) != package(start=text.format(2))


@pytest.mark.parametrize(
    "start",
    [
        "from it.deep import other",
        "from it.deep.other import value",
        "import it.deep.other",
        "def f():\n    if f:\n        try:\n            from it.deep import other\n        finally:\n            pass\n",
        "class A:\n    def f(self):\n        with self:\n            from it.deep.other import value\n",
        "match 1:\n    case 1:\n        import it.middle\n",
    ],
)
def test_what_is_imported_counts_wherever_the_import_stands(package, start):
    files = {"start": start, "middle": "from it.deep import other"}
    one = package(**files, deep__other="value = 1")
    assert one != package(**files, deep__other="value = 2")
    stop = ("deep/other.py",)
    assert package(stop, **files, deep__other="value = 1") == package(stop, **files, deep__other="value = 2")


def test_what_is_not_imported_does_not_count(package):
    assert package(start="import os", other="a = 1") == package(start="import os", other="a = 2")


def test_the_template_of_a_page_counts_with_what_it_includes(package):
    start, page = 'render("page.html.j2")', ("page.html.j2", '<style>{{ file("page.css") }}</style>')
    styles = ("page.css", "a { color: red }"), ("page.css", "a { color: blue }")
    versions = [package(templates=templates, start=start) for templates in ((), *((page, style) for style in styles))]
    assert len(set(versions)) == 3


def test_the_work_of_an_asset_begins_where_its_definition_says():
    """Whatever an asset's function imports from the domain is counted, or left out for a stated reason."""
    begun = by_asset()
    assert begun.keys() == ASSETS.keys()
    for asset, modules in begun.items():
        assert modules <= counted(asset) | code.members(*LEFT_OUT) | borders(asset), asset


@pytest.mark.slow
def test_the_imports_of_the_real_modules_are_followed():
    """An independent walk over every statement and expression finds no module that is neither counted nor named."""
    for asset in ASSETS:
        for module in filter(lambda name: name.endswith(".py"), counted(asset)):
            reached = imported(ast.parse((code.PACKAGE / module).read_text()))
            assert reached <= counted(asset) | code.members(*LEFT_OUT) | borders(asset), (asset, module)
    training = {
        "dataset/table.py",
        "model/generate.py",
        "training/schedule.py",
    }
    assert training <= counted("lora_adapter")
    gate = {"report/templates/gate.html.j2", "report/templates/gate.js", "report/templates/layout.css"}
    gate |= {"evaluation/gate/criteria/criteria.yaml", "evaluation/gate/criteria/stress.py"}
    assert gate <= counted("gate_report")
    assert {"capabilities/benchmarks.yaml", "capabilities/world.yaml"} <= counted("capability_report")
    assert not any(module.startswith("diagnosis/rules/") for module in counted("lora_adapter"))
    # A plan and the data need the items of a benchmark, not how they are asked, nor the page of their report.
    items = {"capabilities/benchmarks.yaml", "capabilities/items.py"}
    for asset in ("raw_dataset", "training_plan"):
        assert {module for module in counted(asset) if "capabilities" in module} == items


def test_what_is_left_out_is_there_and_would_be_counted():
    everything = set().union(*(code.with_imports(*asset.code) for asset in ASSETS.values()))
    assert all(code.members(module) & everything for module in LEFT_OUT)
    for asset, modules in by_asset().items():
        assert all(set(below(border)) & code.with_imports(*modules) for border in ASSETS[asset].borders), asset


def test_modules_that_are_imported_by_a_made_up_name_are_named():
    """`importlib.import_module` hides an import from the walk: only scorers, and what they call, are imported that way."""
    files = code.PACKAGE.rglob("*.py")
    hiding = {f.relative_to(code.PACKAGE).as_posix() for f in files if "import_module(" in f.read_text()}
    assert hiding == {"evaluation/scoring/score.py", "provenance/subprocess_call.py"}
    scorers = {
        *below("evaluation/scorers"),
        "evaluation/scoring/math_equality.py",
        "evaluation/scoring/sandbox_child.py",
    }
    assert all(scorers <= counted(asset) for asset in ASSETS if "evaluation/scoring/score.py" in counted(asset))


def test_versions_are_short_and_differ_between_assets():
    assert (
        len({asset.code_version for asset in ASSETS.values()}) >= len(ASSETS) - 3
    )  # the splits are made together, and base and SFT answers by the same code


def by_asset():
    """Files of the domain that each asset's function imports."""
    files = (code.PACKAGE / "lineage" / "assets").glob("*.py")
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    functions = {node.name: imported(node) for node in nodes if isinstance(node, ast.FunctionDef)}
    made = {name: modules for name, modules in functions.items() if name in ASSETS}
    for step, outputs in {
        "generations": ("base_generations", "sft_generations", "comparator_generations"),
        "splits": ("train_split", "dev_split", "test_split"),
    }.items():
        made |= dict.fromkeys(outputs, functions[step])
    return made


def counted(asset):
    """Modules on which the result of `asset` depends."""
    return assets.counted(ASSETS[asset].code, ASSETS[asset].borders)


def borders(asset):
    """Files at which the walk of `asset` stops."""
    return {file for border in ASSETS[asset].borders for file in below(border)}


def imported(tree):
    """Files of the package that `tree` imports, relative to it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = {name.replace(".", "/").removeprefix("sft_pipeline/") for name in names if name.startswith("sft_pipeline.")}
    files = {file for path in paths for file in (f"{path}.py", f"{path}/__init__.py")}
    return {file for file in files if (code.PACKAGE / file).is_file()}


def below(module):
    """Files of a module or of a folder."""
    path = code.PACKAGE / module
    files = path.rglob("*.py") if path.is_dir() else [path]
    return [file.relative_to(code.PACKAGE).as_posix() for file in files]
