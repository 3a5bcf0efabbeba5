"""Which scorer judges which item, and joining answers by id."""

from importlib.metadata import version

import pytest

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scoring.score import (
    LIBRARIES,
    left_out,
    libraries,
    outside_files,
    score_both,
    score_items,
    scorer_for,
)
from sft_pipeline.experiment import Evaluation, ScorerSpec
from sft_pipeline.provenance.environment import library_versions
from sft_pipeline.provenance.hashing import hash_bytes

EXACT, NUMERIC = ScorerSpec(kind="exact"), ScorerSpec(kind="numeric")


def evaluation(**scorers: ScorerSpec) -> Evaluation:
    return Evaluation(scorers=scorers)


def from_file(file) -> Evaluation:
    return evaluation(default=ScorerSpec(kind="judgements", options={"file": file}))


def row(id, type="t", response="blue", reference=None):
    return {"id": id, "instruction": "Do it.", "response": response, "type": type, "reference": reference}


def test_items_are_judged_by_the_scorer_of_their_type_and_joined_by_id(tmp_path):
    rows = [row("a"), row("b", "sum", "7"), row("c", reference='{"answer": "red"}')]
    outputs = {"c": "Red.", "a": "green", "b": "3 + 4 = 7", "other": "ignored"}
    judged = score_items(rows, outputs, evaluation(default=EXACT, sum=NUMERIC), tmp_path)
    assert [(j.id, j.type, j.success) for j in judged] == [("a", "t", False), ("b", "sum", True), ("c", "t", True)]
    assert judged[0].reason and not judged[1].reason
    assert all(j.verifier for j in judged)


def test_every_kind_of_the_schema_has_its_scorer():
    from typing import get_args

    for kind in get_args(ScorerSpec.model_fields["kind"].annotation):
        assert scorer_for("t", {"t": ScorerSpec(kind=kind)}).kind == kind


def test_a_type_without_a_scorer_is_named(tmp_path):
    with pytest.raises(SpecificationError, match="'poem'.*declared are sum"):
        score_items([row("a", "poem")], {"a": "x"}, evaluation(sum=NUMERIC), tmp_path)


def test_an_unknown_option_is_named():
    with pytest.raises(SpecificationError, match=r"scorers\.default\.options.*exact has no option refusal"):
        scorer_for("t", {"default": ScorerSpec(kind="exact", options={"refusal": "x"})})


def test_missing_answers_and_repeated_items_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no answer to 1 items \(b\)"):
        score_items([row("a"), row("b")], {"a": "blue"}, evaluation(default=EXACT), tmp_path)
    with pytest.raises(DataError, match=r"1 items \(a\) occur more than once"):
        score_items([row("a"), row("a")], {"a": "blue"}, evaluation(default=EXACT), tmp_path)


@pytest.mark.parametrize("reference", ["{not json", "[1]", '"text"'])
def test_a_reference_that_is_no_object_is_named(reference, tmp_path):
    with pytest.raises(DataError, match="item a, field reference"):
        score_items([row("a", reference=reference)], {"a": "blue"}, evaluation(default=EXACT), tmp_path)


def test_labels_and_whether_a_scorer_verifies_come_with_the_verdict(tmp_path):
    think = ScorerSpec(kind="think_answer", options={"inner": "exact"})
    rows = [row("a", "think"), row("b", "unsafe")]
    outputs = {"a": "<think></think><answer>blue</answer>", "b": "I cannot help with that."}
    judged = score_items(rows, outputs, evaluation(think=think, unsafe=ScorerSpec(kind="refusal")), tmp_path)
    assert [(j.success, j.labels, j.verifier) for j in judged][0] == (True, ("correct",), True)
    assert (judged[1].success, judged[1].verifier) == (True, False)


def test_both_sides_are_judged_in_the_order_of_the_rows(tmp_path):
    rows = [row("a"), row("b", "sum", "7")]
    pairs = score_both(
        rows, {"a": "red", "b": "7"}, {"b": "8", "a": "blue"}, evaluation(default=EXACT, sum=NUMERIC), tmp_path
    )
    assert [(b.id, b.success, s.id, s.success) for b, s in pairs] == [("a", False, "a", True), ("b", True, "b", False)]
    with pytest.raises(DataError, match=r"no answer to 1 items \(b\)"):
        score_both(rows, {"a": "x", "b": "x"}, {"a": "x"}, evaluation(default=EXACT), tmp_path)


def test_a_type_that_is_compared_is_not_judged_alone(tmp_path):
    judged = score_items([row("a")], {"a": "x"}, evaluation(default=ScorerSpec(kind="judge")), tmp_path)
    assert (judged[0].success, judged[0].reason, judged[0].verifier) == (None, "judged in pairs only", False)


def test_code_runs_only_where_the_specification_says_so(tmp_path):
    with pytest.raises(SpecificationError, match=r"evaluation\.scorers\.default: .* set evaluation\.run_code: true"):
        score_items([row("a")], {"a": "x"}, evaluation(default=ScorerSpec(kind="code")), tmp_path)


def test_a_file_of_judgements_is_read_from_the_project_and_its_content_counts(tmp_path, monkeypatch):
    judged = b'{"id": "a", "output": "x", "success": true}'
    (tmp_path / "judged.jsonl").write_bytes(judged)
    outcomes = score_items([row("a"), row("b")], {"a": "x", "b": "x"}, from_file("judged.jsonl"), tmp_path)
    assert [j.success for j in outcomes] == [True, None]
    human = from_file("judged.jsonl").model_copy(update={"human_labels": str(tmp_path / "judged.jsonl")})
    assert outside_files(human, tmp_path) == {
        "evaluation.scorers.default.options.file": hash_bytes(judged),
        "evaluation.human_labels": hash_bytes(judged),
    }
    assert outside_files(evaluation(default=EXACT), tmp_path) == {}
    monkeypatch.setenv("JUDGED", str(tmp_path))
    assert outside_files(from_file("${JUDGED}/judged.jsonl"), tmp_path / "elsewhere")


def test_the_packages_that_decide_a_verdict_are_those_of_the_declared_scorers():
    assert libraries(evaluation(default=EXACT)) == {}
    assert libraries(evaluation(default=EXACT, sums=ScorerSpec(kind="math")))["math-verify"] == version("math-verify")
    installed = {name for names in LIBRARIES.values() for name in names}
    assert installed == library_versions(*installed).keys()  # a name that is none would never tell a change


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("../judged.jsonl", "leads out of the project"),
        ("none.jsonl", "there is no file .*none.jsonl"),
        ("", "must be the path of a file"),
        (3, "must be the path of a file, is 3"),
        ("${UNSET_FOR_THIS_TEST}/x", "the environment variable UNSET_FOR_THIS_TEST is not set"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_field(tmp_path, file, problem):
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "judged.jsonl").write_text("")
    for use in (lambda e: outside_files(e, root), lambda e: score_items([row("a")], {"a": "x"}, e, root)):
        with pytest.raises(SpecificationError, match=rf"evaluation\.scorers\.default\.options\.file: .*{problem}"):
            use(from_file(file))


@pytest.mark.parametrize(
    ("kind", "reference", "wrong", "unreadable"),
    [
        ("exact", '{"answer": "blue"}', "green", " "),
        ("contains", '{"answer": "blue"}', "green", ""),
        ("numeric", '{"answer": 7}', "8", "seven"),
        ("choice", '{"answer": "A", "choices": ["A", "B"]}', "B", "Neither."),
        ("regex", '{"pattern": "x+"}', "y", "\n"),
        ("math", '{"answer": "7"}', "$8$", "seven"),
        ("json_record", '{"record": {"a": 1}}', '{"a": 2}', "a is 1"),
        ("json_schema", '{"schema": {"type": "object"}}', "[]", "an object"),
        ("item_list", '{"count": 2}', "a", ","),
        ("think_answer", '{"answer": "7"}', "<think></think><answer>8</answer>", "8"),
        ("code", '{"tests": "assert x"}', "x = 0", "It is x, of course."),
    ],
)
def test_an_answer_is_readable_where_the_scorer_found_one_be_it_wrong(kind, reference, wrong, unreadable, tmp_path):
    rows, spec = (
        [row("a", reference=reference), row("b", reference=reference)],
        evaluation(default=ScorerSpec(kind=kind)),
    )
    spec = spec.model_copy(update={"run_code": True})
    judged = score_items(rows, {"a": wrong, "b": unreadable}, spec, tmp_path)
    assert [(j.success, j.readable) for j in judged] == [(False, True), (False, False)]


def many(bad, n=200):
    """Rows for the scorer numeric, of which `bad` have other references, with right answers of both models."""
    rows = [
        row(f"i{k}", reference=f'{{"answer": {k}}}') | {"source_file": "d.jsonl", "source_row": k} for k in range(n)
    ]
    for k, reference in bad.items():
        rows[k]["reference"] = reference
    return rows, {f"i{k}": str(k) for k in range(n)}


@pytest.mark.parametrize("reference", ['{"answer": "none"}', '{"answer": null}', '{"answer": " "}', "[1]", "{", None])
def test_a_bad_reference_is_left_out_on_both_sides_and_reported(reference, tmp_path, caplog):
    rows, outputs = many({7: reference, 9: '{"answer": ""}'})
    judged = score_both(rows, outputs, outputs | {"i3": "0"}, evaluation(default=NUMERIC), tmp_path)
    assert [both[0].success for both in judged].count(True) == 198 and len(judged) == 200
    assert all(one.success is None and one.reference_problem for k in (7, 9) for one in judged[k])
    out = left_out(rows, [base for base, _ in judged])
    assert [(o.id, o.file, o.row) for o in out] == [("i7", "d.jsonl", 7), ("i9", "d.jsonl", 9)]
    assert all("item i" in o.reason and o.reason in caplog.text for o in out)
    (lone,) = [j for j in score_items(rows[:300], outputs, evaluation(default=NUMERIC), tmp_path) if j.id == "i7"]
    assert lone.reference_problem


def test_more_bad_references_than_accepted_are_an_error_that_names_the_first(tmp_path):
    rows, outputs = many(dict.fromkeys((7, 8, 9), '{"answer": "none"}'))
    with pytest.raises(DataError, match=r"^d.jsonl, row 7: item i7 .* 3 of the 200 items \(1.5%\).*accepts 1.0%"):
        score_both(rows, outputs, outputs, evaluation(default=NUMERIC), tmp_path)
    accepted = evaluation(default=NUMERIC)
    accepted = accepted.model_copy(update={"gate": accepted.gate.model_copy(update={"max_bad_reference_share": 0.02})})
    assert len(score_both(rows, outputs, outputs, accepted, tmp_path)) == 200


def test_an_option_that_cannot_be_used_is_no_bad_reference(tmp_path):
    rows, outputs = many({})
    spec = ScorerSpec(kind="regex", options={"pattern": "("})
    with pytest.raises(DataError, match="option pattern of its scorer"):
        score_items(rows, outputs, evaluation(default=spec), tmp_path)
