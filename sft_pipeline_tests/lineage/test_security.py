"""Secrets stay in the environment; what data and specifications say stays text, and inside the store.

What runs write is looked through in test_end_to_end.py and test_launch.py, and what trackers write in training/test_trackers.py.
"""

import ast
import json
import re
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline_tests.lineage.planted import SECRETS

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "sft_pipeline"


HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`; touch pwned",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7*191 }}{% for x in range(3) %}1337{% endfor %}",
    "{instruction.__class__} %(x)s ${HF_TOKEN}",
    "[link](javascript:alert(3)) ![](http://example.com/x.png)",
    "../../../../pwned",
)


@pytest.mark.slow
def test_hostile_text_in_data_stays_text(toy_project, materialize, monkeypatch):
    """Rows that would run, leave or load something if anything took them for more than text."""
    monkeypatch.chdir(toy_project)
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    rows = [
        {
            "instruction": f"Question {n}: what is {n} plus {n * 7}? {text}",
            "response": f"{text} makes {n * 8}.",
            "type": text,
        }
        for n in range(60)
        for text in HOSTILE
    ]
    (toy_project / "it; touch pwned.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    toy = toy_project / "specs" / "toy.yaml"
    source = "{kind: file, path: 'it; touch pwned.jsonl', columns: {instruction: instruction, response: response, type: type}}"
    toy.write_text(toy.read_text().replace("{kind: embedded, rows: 1500, world_seed: 7}", source))
    run = materialize(toy_project, "raw_dataset,base_model,clean_dataset")
    assert {"raw_dataset", "clean_dataset"} <= run.made.keys()
    assert [path for path in toy_project.rglob("pwned*") if path.name == "pwned"] == []
    pages = [path.read_text() for path in (toy_project / "store" / "objects").rglob("*.html")]
    values = [value for m in run.made.values() for value in m.metadata.values()]
    shown = [str(value.value) for value in values if isinstance(value, dg.MarkdownMetadataValue)]
    # The UI takes the cells of a table as texts.
    tables = [str(value.records) for value in values if isinstance(value, dg.TableMetadataValue)]
    assert pages and any("alert(1)" in page for page in pages), "the text is shown, so that the rest means something"
    assert any("alert(1)" in text for text in tables)
    assert not any(SECRETS["HF_TOKEN"] in text for text in tables)
    for text in (*pages, *shown):
        assert "<script>alert" not in text and "<img src=x" not in text and SECRETS["HF_TOKEN"] not in text
        assert str(7 * 191) not in text.replace("1337{% endfor %}", "")
    assert not any(re.search(r"(?<!\\)\]\((javascript|http)", text) for text in shown), "a link or a picture from data"


def test_a_name_in_a_specification_never_becomes_a_path_outside(tmp_path):
    from sft_pipeline.errors import SpecificationError
    from sft_pipeline.specification import load
    from sft_pipeline_tests.conftest import TOY

    path = tmp_path / "it.yaml"
    for name in ("../../../evil", "/evil", "a/b", ".hidden", ""):
        path.write_text(
            TOY.replace("model:\n", f"  leakage: {{benchmarks: {{{json.dumps(name)}: {{path: x}}}}}}\nmodel:\n", 1)
        )
        with pytest.raises(SpecificationError, match=r"it\.yaml:5: data\.leakage\.benchmarks"):
            load(path)


@pytest.mark.parametrize("command", ["report", "verify", "run", "plan"])
@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a b", "$(id)", "ünïcode"])
def test_a_name_on_the_command_line_never_becomes_a_path_outside(command, name, toy_project):
    from typer.testing import CliRunner

    from sft_pipeline.cli import app

    done = CliRunner().invoke(app, [command, name])
    assert done.exit_code == 2 and "error: " in done.output and repr(name) in done.output


def test_a_path_of_a_specification_takes_no_secret_from_the_environment(monkeypatch, tmp_path):
    from sft_pipeline.errors import DataError
    from sft_pipeline.specification import expand_path

    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
        with pytest.raises(DataError, match=name) as caught:
            expand_path(f"${{{name}}}/rows.jsonl", tmp_path)
        assert value not in str(caught.value)
    monkeypatch.setenv("TOKENIZER_DIR", "here")
    assert expand_path("$TOKENIZER_DIR/x", tmp_path) == tmp_path / "here" / "x"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("request to http://me:pass@host:5000/api failed", "request to http://host:5000/api failed"),
        ("postgresql://u:p/a@ss@db/x", "postgresql://db/x"),
        ("https://token@host/", "https://host/"),
        ("see https://host/a and mail me@host", "see https://host/a and mail me@host"),
    ],
)
def test_an_error_of_a_library_loses_the_credentials_of_its_urls(text, left):
    from sft_pipeline.provenance.secrets import without_credentials

    assert without_credentials(text) == left


@pytest.mark.slow
def test_no_code_hands_text_to_a_shell_an_interpreter_or_an_unescaped_template():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, words = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if (
                name in ("eval", "exec", "compile", "os.system", "os.popen", "torch.load")
                or name.startswith(("pickle.", "subprocess.getoutput", "subprocess.getstatusoutput"))
                or words.get("shell", "False") != "False"
                or words.get("trust_remote_code", "False") != "False"
                or name == "Environment"
                and words.get("autoescape") != "True"
                or name in ("Markup", "markupsafe.Markup")
                and isinstance(node.args[0], ast.JoinedStr)
                or name == "yaml.load"
                and words.get("Loader") != "_Loader"
                or name in ("subprocess.run", "subprocess.Popen")
                and isinstance(node.args[0], ast.JoinedStr | ast.Constant)
            ):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)[:80]}")
    # What a model wrote runs in the sandbox's own process, where the specification allows it, and nowhere else. The scorer
    # `code` compiles a text to see whether it is a program, and runs nothing. The data stage pickles for its own processes, in
    # a temporary folder that the user alone can open.
    assert {line.partition(":")[0] for line in found} <= {
        "dataset/parallel.py",
        "dataset/split/assignment.py",
        "evaluation/scorers/code.py",
        "evaluation/scoring/sandbox_child.py",
    }


def test_the_ui_is_started_on_the_loopback_address_only():
    text = (PACKAGE / "commands" / "ui.py").read_text()
    assert '"--host", "127.0.0.1"' in text and "0.0.0.0" not in text
