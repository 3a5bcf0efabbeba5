"""Specifications: what is read, what is refused, and whether the message says where."""

import time
from pathlib import Path

import pytest

from sft_pipeline import specification
from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.experiment import Experiment
from sft_pipeline.specification import expand_path, load, load_by_name, plan_only, project_root, specifications

MINIMAL = """\
description: the smallest one
data:
  source: {kind: embedded}
model:
  source: {kind: folder, path: base}
training:
  epochs: 1
  learning_rate: 1e-4
evaluation:
  scorers: {default: {kind: exact}}
"""


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "it.yaml"
        path.write_text(text)
        return path

    return write


def test_numbers_are_read_as_yaml_1_2_has_them(written):
    assert load(written(MINIMAL)).training.learning_rate == 1e-4


def test_a_key_is_the_text_that_it_is_written_as(written):
    text = MINIMAL.replace("{default: {kind: exact}}", "{yes: {kind: choice}, NO: {kind: regex}, 1: {kind: math}}")
    assert load(written(text)).evaluation.scorers.keys() == {"yes", "NO", "1"}


@pytest.mark.parametrize("name", specifications(project_root())[0])
def test_every_specification_of_the_project_holds(name):
    assert load_by_name(name, project_root()).description


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  epochs: 1", "  epoch: 1", ["it.yaml:7", "training.epoch", "did you mean 'epochs'?"]),
        ("kind: embedded", "kind: embedded, rowz: 3", ["it.yaml:3", "data.source.rowz", "'rows'"]),
        ("kind: folder", "kind: floppy", ["it.yaml:5", "model.source", "'folder'"]),
        ("  epochs: 1", "  epochs: -1", ["it.yaml:7", "training.epochs", "greater than 0"]),
        ("  epochs: 1", "  epochs: '1'", ["it.yaml:7", "training.epochs", "valid number"]),
        ("  epochs: 1", "  epochs: 1\n  max_steps: 5", ["it.yaml:6", "exactly one of epochs and max_steps"]),
        ("  epochs: 1", "  epochs: 1\n  epochs: 2", ["it.yaml:8", "'epochs' stands twice"]),
        ("kind: exact", "kind: exactly", ["it.yaml:10", "evaluation.scorers.default.kind", "'numeric'"]),
        ("description: the smallest one\n", "", ["it.yaml:1", "description", "required"]),
        ("training:", "training: [", ["it.yaml:", "not valid YAML"]),
        ("  epochs: 1", "  epochs: 0x_", ["it.yaml:7", "valid number", "'0x_'"]),
        ("  epochs: 1", "  epochs: " + "9" * 5000, ["it.yaml:7", "cannot be read as int"]),
        ("  epochs: 1", "  epochs: !!bool zz", ["it.yaml:7", "'zz' cannot be read as bool"]),
        ("  epochs: 1", "  epochs: !!int ''", ["it.yaml:7", "'' cannot be read as int"]),
        ("  epochs: 1", "  epochs: !!timestamp zz", ["it.yaml:7", "cannot be read as timestamp"]),
        ("the smallest one", "&a [*a]", ["it.yaml", "*a stands within what it names"]),
        ("the smallest one", "&a {b: *a}", ["it.yaml", "*a stands within what it names"]),
        ("the smallest one", "*a", ["it.yaml", "*a names nothing"]),
        ("the smallest one", "[" * 5000, ["it.yaml", "nested more than 100 levels deep"]),
        ("the smallest one", "[" * 1_000_000, ["it.yaml", "nested more than 100 levels deep"]),
        ("the smallest one", "the smallest one\n---\na: 1", ["a second document"]),
    ],
)
def test_an_error_names_line_field_and_remedy(written, old, new, expected):
    with pytest.raises(SpecificationError) as caught:
        load(written(MINIMAL.replace(old, new)))
    for part in expected:
        assert part in str(caught.value)


def test_all_errors_are_reported_at_once(written):
    with pytest.raises(SpecificationError) as caught:
        load(written(MINIMAL.replace("epochs", "epoch").replace("embedded", "hub")))
    assert len(str(caught.value).splitlines()) >= 3


def test_an_unknown_experiment_is_answered_with_the_known_ones():
    with pytest.raises(SpecificationError, match="tiny"):
        load_by_name("tinny", project_root())


@pytest.mark.parametrize("name", ["../tiny", "a/b", "", "."])
def test_a_name_never_leaves_the_folder_of_specifications(name):
    with pytest.raises(SpecificationError):
        load_by_name(name, project_root())


def test_every_field_is_described():
    undescribed = [
        f"{title}.{name}"
        for title, schema in Experiment.model_json_schema()["$defs"].items()
        for name, field in schema.get("properties", {}).items()
        if "description" not in field and name not in ("kind",)
    ]
    assert undescribed == []


def test_paths_expand_variables_and_start_at_the_root(monkeypatch, tmp_path):
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path / "elsewhere"))
    assert expand_path("${SOME_FOLDER}/a", tmp_path) == tmp_path / "elsewhere" / "a"
    assert expand_path("a/b", tmp_path) == tmp_path / "a" / "b"
    with pytest.raises(DataError, match="NOT_SET"):
        expand_path("${NOT_SET}/a", tmp_path)


def test_a_prompt_inserts_the_instruction_as_it_is(written):
    prompt = load(written(MINIMAL)).prompt
    assert prompt.render("{instruction} {0} {{ 7*7 }}") == "Instruction: {instruction} {0} {{ 7*7 }}\nResponse:"


def bomb(link):
    """Nine lines, each of nine aliases of the line before."""
    lines = ["a0: &a0 {lol: lol}"]
    lines += [f"a{n}: &a{n} {link(f'*a{n - 1}')}" for n in range(1, 9)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "link",
    [
        lambda alias: "[" + ", ".join([alias] * 9) + "]",
        lambda alias: "{" + ", ".join(f"k{n}: {alias}" for n in range(9)) + "}",
        lambda alias: "{<<: [" + ", ".join([alias] * 9) + "]}",
    ],
    ids=["lists", "mappings", "merges"],
)
def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(written, link):
    path = written(MINIMAL + bomb(link))
    began = time.process_time()
    with pytest.raises(SpecificationError, match=r"it\.yaml:\d+: .*aliases .* stand for more than 100,000"):
        load(path)
    assert time.process_time() - began < 2


def test_an_anchor_a_merge_and_a_key_that_is_overridden_mean_what_they_say(written):
    text = MINIMAL.replace("training:", "training:\n  <<: &common {batch_size: 4, epochs: 7}")
    spec = load(written(text))
    assert (spec.training.batch_size, spec.training.epochs) == (4, 1)
    with pytest.raises(SpecificationError, match=r"it\.yaml:7: training\.batch_size.*greater than 0"):
        load(written(text.replace("batch_size: 4", "batch_size: -4")))


def test_a_file_that_extends_another_says_what_differs(written, tmp_path):
    base = written(MINIMAL.replace("epochs: 1", "epochs: 1\n  lora: {r: 4, alpha: 8}\n  report_to: [wandb]"))
    (tmp_path / "own.yaml").write_text(
        "extends: it\ndata: {source: {kind: file, path: rows.jsonl}}\n"
        "training:\n  epochs: null\n  max_steps: 5\n  report_to: [mlflow]\n  lora: {r: 2}\n"
    )
    (tmp_path / "third.yaml").write_text("extends: own\ntraining: {lora: {rslora: true}}\n")
    found, own = load(tmp_path / "third.yaml"), load(tmp_path / "own.yaml")
    assert found.training.lora.model_dump(include={"r", "alpha", "rslora"}) == {"r": 2, "alpha": 8, "rslora": True}
    assert (found.training.epochs, found.training.max_steps, found.training.learning_rate) == (None, 5, 1e-4)
    assert found.training.report_to == ("mlflow",) and found.data.source.path == "rows.jsonl"
    assert own.training.lora.rslora is False and own.evaluation == load(base).evaluation and own.extends is None
    base.write_text(base.read_text().replace("alpha: 8", "alpha: 16"))
    assert load(tmp_path / "third.yaml").training.lora.alpha == 16


def test_of_several_files_a_later_one_is_over_an_earlier_one_and_each_counts_once(written, tmp_path):
    written(MINIMAL)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "small.yaml").write_text("training: {epochs: null, max_steps: 5, batch_size: 2}\n")
    (tmp_path / "rank.yaml").write_text("extends: it\ntraining: {lora: {r: 4}, batch_size: 3}\n")
    (tmp_path / "rate.yaml").write_text("extends: it\ntraining: {learning_rate: 3e-4}\n")
    (tmp_path / "own.yaml").write_text("extends: [rank, rate, parts/small]\n")
    found = load(tmp_path / "own.yaml").training
    assert (found.lora.r, found.learning_rate, found.batch_size, found.max_steps, found.epochs) == (4, 3e-4, 2, 5, None)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("extends: it\ntraining:\n  max_steps: -3\n", ["own.yaml:3", "training.max_steps", "greater than 0"]),
        ("extends: it\ntraining:\n  lora: {r: 4}\n  max_steps: 3\n", ["own.yaml:2", "exactly one of"]),
        ("extends: faulty\n", ["faulty.yaml:6", "training.batch_size", "greater than 0"]),
        ("extends: faulty\ntraining: {batch_sizes: 3}\n", ["own.yaml:2", "did you mean 'batch_size'?"]),
        ("extends: broken\n", ["broken.yaml:2", "not valid YAML"]),
        ("description: x\nextends: nothing\n", ["own.yaml:2: extends", "nothing.yaml"]),
        ("extends: ../it\n", ["own.yaml:1: extends", "'../it'"]),
        ("extends: [it, 3]\n", ["own.yaml:1: extends", "got 3"]),
        ("extends: own\n", ["own extends own: a circle"]),
        ("extends: round\n", ["round.yaml:1: extends", "own extends round extends own: a circle"]),
    ],
)
def test_an_error_of_a_file_that_extends_another_names_the_file_that_says_it(written, tmp_path, own, expected):
    written(MINIMAL)
    (tmp_path / "faulty.yaml").write_text("extends: it\n\n\n\ntraining:\n  batch_size: -1\n")
    (tmp_path / "broken.yaml").write_text("training: [\n")
    (tmp_path / "round.yaml").write_text("extends: own\n")
    (tmp_path / "own.yaml").write_text(own)
    with pytest.raises(SpecificationError) as caught:
        load(tmp_path / "own.yaml")
    for part in expected:
        assert part in str(caught.value)


def test_a_file_that_extends_a_plan_is_one_unless_it_says_otherwise(tmp_path):
    (tmp_path / "specs").mkdir()
    for name, text in {
        "plan": "plan_only: true",
        "same": "extends: plan",
        "run": "extends: plan\nplan_only: false",
    }.items():
        (tmp_path / "specs" / f"{name}.yaml").write_text(text)
    assert [plan_only(name, tmp_path) for name in ("plan", "same", "run")] == [True, True, False]


@pytest.mark.slow
def test_a_large_specification_is_read_once_and_then_only_when_it_has_changed(written, monkeypatch):
    rows = "".join(f"  key {n}: {{value: {n}, list: [1, 2.5, three], text: 'row {n}'}}\n" for n in range(20_000))
    path, reads = written(MINIMAL + "unknown:\n" + rows), []
    parse = specification.yaml.parse
    monkeypatch.setattr(specification.yaml, "parse", lambda *given, **how: reads.append(1) or parse(*given, **how))
    for _ in range(3):
        with pytest.raises(SpecificationError, match="unknown: unknown key"):
            load(path)
    assert len(reads) == 1
    path.write_text(path.read_text().replace("value: 7,", "value: 8,"))
    with pytest.raises(SpecificationError, match="unknown: unknown key"):
        load(path)
    assert len(reads) == 2
