"""Cleaning as a whole: nothing is lost, the planted faults are found, the figures are right."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import InstructionDataset, QualityManifest
from sft_pipeline.dataset import source, table
from sft_pipeline.dataset.cleaning import clean
from sft_pipeline.dataset.duplicates import near_pairs
from sft_pipeline.embedded.instructions import generate_with_faults
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import (
    Data,
    Duplicates,
    EmbeddedData,
    FileData,
    PersonalData,
    Quality,
    TokenBounds,
    Toxicity,
)


def folder(base: Path) -> Path:
    path = base / str(len(list(base.iterdir())))
    path.mkdir()
    return path


def run(tmp_path: Path, values: list, quality: Quality | None = None, duplicates: Duplicates | None = None, **how):
    root = folder(tmp_path)
    (root / "data.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    data = Data(
        source=FileData(kind="file", path="data.jsonl"),
        quality=quality or Quality(),
        duplicates=duplicates or Duplicates(),
    )
    raw = source.read(data.source, root, folder(tmp_path))
    return raw, clean(raw, data, folder(tmp_path), root=root, **how)


def rejected(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.REJECTED))


def manifest(dataset: InstructionDataset) -> QualityManifest:
    return QualityManifest.model_validate_json(dataset.path(dataset.MANIFEST).read_text("utf-8"))


def clusters(dataset: InstructionDataset, level: str) -> list[tuple]:
    """(cluster, source row, kept, similarity) of one level."""
    found = table.read_table(dataset.path(dataset.DUPLICATES))
    return [(r["cluster"], r["source_row"], r["kept"], r["similarity"]) for r in found if r["level"] == level]


def rows(dataset: InstructionDataset) -> list[dict]:
    return table.read_table(dataset.path(dataset.ROWS))


def pair(instruction: str, response: str) -> dict[str, str]:
    return {"instruction": instruction, "response": response}


def test_every_dropped_row_stands_in_the_rejected_table_with_filter_reason_and_text(tmp_path):
    raw, found = run(
        tmp_path,
        [
            pair("Name a fruit.", "Apple."),
            pair("name a  FRUIT.", "apple."),
            pair("Name a fruit.", "Pear."),
            pair("Name a tree.", ""),
            pair("Tell the story of the old fox and the raven.", "The fox flattered the raven until it sang for him."),
            pair("Tell the story of the old fox and the raven.!", "The fox flattered the raven until it sang for him!"),
            pair("Name a town.", "Instruction: x\nInstruction: y ###END###"),
        ],
    )
    shown = {r["source_row"]: (r["filter"], r["reason"]) for r in rejected(found)}
    assert [r["source_row"] for r in rows(found)] == [1, 5]
    assert found.rejected == Counter(name for name, _ in shown.values())
    first, fifth = (r["id"] for r in rows(found))
    assert shown[2][0] == "exact_duplicate" and first in shown[2][1]
    assert shown[3][0] == "other_response" and first in shown[3][1]
    assert shown[4] == ("empty", "the response is empty")
    assert shown[6][0] == "near_duplicate" and f"similarity 1.000 to the kept row {fifth}" in shown[6][1]
    assert shown[7] == ("delimiter", "the response holds the delimiter ###END### (also: runaway)")
    assert all(r["instruction"] and r["matched"] is not None for r in rejected(found))


def test_ids_are_unique_after_cleaning(tmp_path):
    _, found = run(tmp_path, [pair("a", "b")] * 5 + [pair("c", "d")])
    assert len({r["id"] for r in rows(found)}) == found.rows == 2


def test_all_rows_duplicates_of_one(tmp_path):
    raw, found = run(tmp_path, [pair("Name a fruit.", "Apple.")] * 300)
    assert (raw.rows, found.rows, found.rejected) == (300, 1, {"exact_duplicate": 299})
    kept = next(t for t in found.thresholds if t.name == "kept_share")
    assert not kept.passed


def test_nothing_left_is_an_empty_dataset_whose_thresholds_fail(tmp_path):
    _, found = run(tmp_path, [pair("a", ""), pair("b", "<noinput>")])
    assert (found.rows, found.statistics) == (0, {"rows": 0, "unique_instructions": 0})
    assert [t.name for t in found.thresholds if not t.passed] == ["kept_share"]


def test_thresholds_count_what_the_filters_object_to_among_the_raw_rows(tmp_path):
    values = [pair(f"Question {i} about {i * 7}?", f"Answer {i * 13}.") for i in range(16)]
    values += [pair("r", "Yes.\nUser: and now?"), pair("t", "The numerical value of the equation is")]
    values += [pair("both", "No ###END###\nUser: and now?"), {"instruction": "unreadable"}]
    _, found = run(tmp_path, values, Quality(max_runaway_share=0.1, max_truncated_share=0.1))
    value = {t.name: t.value for t in found.thresholds}
    assert value["runaway_share"] == pytest.approx(2 / 19, abs=1e-6)
    assert value["truncated_share"] == pytest.approx(1 / 19, abs=1e-6)
    assert value["unreadable_share"] == pytest.approx(1 / 20)
    assert value["kept_share"] == pytest.approx(16 / 19, abs=1e-6)
    assert value["delimiters_in_kept_rows"] == 0
    assert {t.name for t in found.thresholds if not t.passed} == {"runaway_share", "unreadable_share"}


def test_statistics_count_words_and_with_a_tokenizer_tokens(tmp_path):
    values = [pair(f"w{i} " * i, f"v{i} " * (2 * i)) for i in range(1, 21)]
    quality = Quality(max_median_response_tokens=40, max_repeated_share=1)
    _, found = run(tmp_path, values, quality, count_tokens=lambda texts: [len(text.replace(" ", "")) for text in texts])
    assert found.statistics["instruction_words_median"] == 10.5
    assert found.statistics["instruction_words_mean"] == 10.5
    assert found.statistics["instruction_words_p95"] == 19
    assert found.statistics["response_words_max"] == 40
    median = next(t for t in found.thresholds if t.name == "median_response_tokens")
    assert median.value == found.statistics["response_tokens_median"] > 40
    assert not median.passed
    _, without = run(tmp_path, values, quality)
    assert "response_tokens_median" not in without.statistics
    assert without.notes and "max_median_response_tokens" in without.notes[0]


def length(texts) -> list[int]:
    return [len(text.split()) for text in texts]


def test_what_is_declared_in_tokens_is_judged_by_the_tokenizer_or_said_not_to_be(tmp_path):
    values = [pair(f"Say it {i} times.", "word " * i + ".") for i in range(1, 9)]
    quality = Quality(
        token_limit=8, response_tokens=TokenBounds(least=3), max_token_limit_share=0.1, max_repeated_share=1
    )
    _, found = run(tmp_path, values, quality, count_tokens=length)
    assert found.rejected == {"token_bounds": 1, "token_limit": 2}
    limit = next(t for t in found.thresholds if t.name == "token_limit_share")
    assert (limit.value, limit.limit, limit.passed) == (2 / 8, 0.1, False)
    _, without = run(tmp_path, values, quality)
    assert without.rejected == {}
    assert [note.split()[0] for note in without.notes] == ["token_limit", "response_tokens"]
    assert "token_limit_share" not in {t.name for t in without.thresholds}


def test_a_critic_judges_the_rows_without_verdict_and_its_verdicts_are_kept(tmp_path):
    values = [pair(f"Question {i} about {i * 7}?", f"Answer {i * 13}.") for i in range(10)]
    asked = []

    def criticise(some):
        asked.extend(row["source_row"] for row in some)
        return [{"pair": {"is_good": row["source_row"] > 6, "confident": True}} for row in some]

    _, found = run(tmp_path, values, Quality(min_acceptance=0.5), criticise=criticise)
    assert asked == list(range(1, 11))
    assert [r["source_row"] for r in rows(found)] == [7, 8, 9, 10]
    assert {r["critics"] for r in rows(found)} == {'{"pair":{"confident":true,"is_good":true}}'}
    assert found.rejected == {"critics": 6}
    assert next((t.value, t.passed) for t in found.thresholds if t.name == "acceptance_pair") == (0.4, False)
    assert manifest(found).acceptance == {"pair": 0.4}
    _, ignored = run(tmp_path, values, Quality(critics="ignored"), criticise=criticise)
    assert ignored.rows == 10 and not any(t.name.startswith("acceptance") for t in ignored.thresholds)


STORY = "Tell the story of the old fox and the raven in your own words"
TALE = "The fox flattered the raven until it sang for him and lost the cheese."


def test_duplicates_are_listed_on_three_levels_with_what_was_kept_and_why(tmp_path):
    values = [
        pair("Name a fruit.", "Apple."),
        pair("name a  FRUIT.", "apple."),
        pair("Name a fruit.", "Pear."),
        pair(f"{STORY}.", TALE),
        pair(f"{STORY}!", TALE + " Ha"),
        pair(f"{STORY}?", "Once upon a time there was a raven with a piece of cheese; a fox wanted it."),
        pair("Name a tree.", "Oak."),
    ]
    _, found = run(tmp_path, values)
    assert clusters(found, "exact") == [(0, 1, True, None), (0, 2, False, 1.0), (0, 3, False, pytest.approx(1 / 3))]
    assert clusters(found, "pair") == [(0, 4, True, None), (0, 5, False, pytest.approx(26 / 27))]
    assert clusters(found, "instruction") == [(0, 4, True, None), (0, 6, True, 1.0)]
    levels = {d.level: (d.clusters, d.rows, d.largest, d.dropped) for d in manifest(found).duplicates}
    assert levels == {"exact": (1, 3, 3, 2), "pair": (1, 2, 2, 1), "instruction": (1, 2, 2, 0)}
    reasons = [r["reason"] for r in table.read_table(found.path(found.DUPLICATES))]
    first, fourth = (r["id"] for r in rows(found)[:2])
    assert reasons[0] == "kept: the first of its cluster"
    assert reasons[1] == f"the same instruction and response as the kept row {first} (data.jsonl, row 1)"
    assert "both stay" in reasons[-1] and fourth in reasons[-1]
    _, strict = run(tmp_path, values, duplicates=Duplicates(drop="instruction"))
    assert [r["source_row"] for r in rows(strict)] == [1, 4, 7]
    assert strict.rejected == {"exact_duplicate": 1, "other_response": 1, "near_duplicate_instruction": 2}
    assert clusters(strict, "instruction") == [(0, 4, True, None), (0, 5, False, 1.0), (0, 6, False, 1.0)]
    assert clusters(strict, "pair") == []


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.tuples(*[st.lists(st.sampled_from("abcd"), min_size=1, max_size=7)] * 2), max_size=40, min_size=1
    ),
    drop=st.sampled_from(["pair", "instruction"]),
)
def test_what_is_kept_holds_no_duplicates_and_what_goes_names_what_is_kept(tmp_path, texts, drop):
    quality = Quality(max_repeated_share=1, repeats_instruction=False, truncation=False)
    values = [pair(" ".join(asked), " ".join(answered)) for asked, answered in texts]
    _, found = run(tmp_path, values, quality, Duplicates(drop=drop))
    kept = rows(found)
    compared = [r["instruction"] if drop == "instruction" else f"{r['instruction']}\n{r['response']}" for r in kept]
    assert len({r["instruction"] for r in kept}) == len(kept)
    assert not list(near_pairs(compared, Duplicates()))
    earlier = {(r["id"], r["source_row"]) for r in kept}
    for row in rejected(found):
        assert any(id in row["reason"] and number < row["source_row"] for id, number in earlier), row


def test_every_dropped_duplicate_names_a_row_that_is_kept_before_it(tmp_path):
    """Also where a near-duplicate goes whose instruction stands again below it, with the same or another response."""
    values = [
        pair(f"{STORY}.", TALE),
        pair(f"{STORY}!", TALE),
        pair(f"{STORY}!", TALE),
        pair(f"{STORY}!", "Once upon a time there was a raven with a piece of cheese; a fox wanted it."),
        pair(f"{STORY}!", "No."),
    ]
    _, found = run(tmp_path, values)
    assert [r["source_row"] for r in rows(found)] == [1, 4]
    assert [(r["source_row"], r["filter"]) for r in rejected(found)] == [
        (2, "near_duplicate"),
        (3, "near_duplicate"),
        (5, "other_response"),
    ]
    kept = {r["id"] for r in rows(found)}
    assert all(any(id in r["reason"] for id in kept) for r in rejected(found))


def test_the_manifest_accounts_for_every_row(tmp_path):
    values = [pair(f"Question {i % 40} of many?", f"Answer {i % 37}.") for i in range(100)]
    values += [pair("empty", ""), pair("both", "No ###END###\nUser: and now?"), {"instruction": "unreadable"}]
    raw, found = run(tmp_path, values)
    told = manifest(found)
    assert (told.rows_read, told.rows_unreadable, told.rows_kept) == (103, 1, found.rows)
    dropped = sum(f.dropped for f in told.filters) + sum(d.dropped for d in told.duplicates)
    assert told.rows_read == told.rows_unreadable + told.rows_kept + dropped
    outcome = {f.name: (f.matched, f.dropped) for f in told.filters}
    assert (outcome["empty"], outcome["delimiter"], outcome["runaway"]) == ((1, 1), (1, 1), (1, 0))
    assert told.unique_instructions == len({r["instruction"] for r in rows(found)})
    assert told.thresholds == found.thresholds
    assert told.libraries.keys() == {"ftfy", "regex"}
    assert {found.REPORT, found.CROISSANT, found.DUPLICATES} <= found.files.keys()


def test_progress_tells_of_every_stage_to_its_end(tmp_path):
    told = {}
    run(
        tmp_path,
        [pair(f"Question {i}?", f"Answer {i}.") for i in range(5)],
        progress=lambda *at: told.update({at[0]: at}),
    )
    assert list(told) == ["learn", "filter", "duplicates", "write"]
    assert all(done == total for _, done, total in told.values())


def test_the_same_input_gives_the_same_bytes(tmp_path):
    values = [pair(f"Question {i % 40} of many?", f"Answer {i % 37}") for i in range(100)]
    first, second = (run(tmp_path, values)[1] for _ in range(2))
    stable = [n for n in first.files if not n.endswith((".html", ".png"))]
    assert {n: first.files[n].sha256 for n in stable} == {n: second.files[n].sha256 for n in stable}
    assert first.digest == second.digest


@pytest.mark.slow
def test_the_size_of_a_batch_changes_nothing(tmp_path, monkeypatch):
    values = [pair(f"Question {i % 40} of many?", f"Answer {i % 37}") for i in range(90)]
    values += [pair("empty", ""), pair(f"{STORY}.", TALE), pair(f"{STORY}!", TALE)]
    # A chain of instructions, each like the next but not like the one after it: many kept rows in one cluster.
    values += [pair(" ".join(f"c{k}" for k in range(i, i + 12)), f"Number {i * 7}.") for i in range(30)]

    def found():
        made = run(tmp_path, values, count_tokens=length)[1]
        tables = [table.read_table(made.path(name)) for name in (made.ROWS, made.REJECTED, made.DUPLICATES)]
        return tables, manifest(made)

    whole = found()
    monkeypatch.setattr(table, "BATCH", 7)
    assert found() == whole


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "🙂" * 40,
            "שלום עולם",
            "a\u0000b",
            "\ud800",
            "<script>alert(1)</script>",
            "=1+1",
            "\u202eabc",
            "\ufeff",
            "a\u2028b",
        ]
    ),
    st.lists(st.sampled_from(["the", "cat", "sat", "Q:", "\nUser:", "</s>", "1."]), max_size=12).map(" ".join),
    st.none(),
    st.integers(),
)


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.fixed_dictionaries({"instruction": HOSTILE, "response": HOSTILE}), min_size=1, max_size=40))
def test_no_row_is_lost_whatever_stands_in_it(tmp_path, values):
    try:
        raw, found = run(tmp_path, values)
    except DataError as error:
        assert "can be used" in str(error)
        return
    assert raw.rows + sum(raw.rejected.values()) == len(values)
    assert found.rows + sum(found.rejected.values()) == raw.rows
    positions = [r["source_row"] for r in rows(found) + rejected(found) + rejected(raw)]
    assert sorted(positions) == list(range(1, len(values) + 1))


def test_the_planted_faults_of_the_embedded_data_are_found_and_clean_rows_stay(tmp_path):
    spec = EmbeddedData(kind="embedded", rows=1500)
    faults = generate_with_faults(spec)[1]
    raw = source.read(spec, tmp_path, folder(tmp_path))
    found = clean(raw, Data(source=spec), folder(tmp_path))
    dropped = {r["source_row"]: r["filter"] for r in rejected(found)}
    by_fault = Counter((fault, dropped.get(i)) for i, fault in enumerate(faults, 1))
    for fault, name in {
        "empty": "empty",
        "placeholder": "placeholder",
        "runaway": "runaway",
        "delimiter": "delimiter",
        "echo": "repeats_instruction",
        "repetition": "repetition",
        "truncated": "truncated",
    }.items():
        planted = sum(n for (f, _), n in by_fault.items() if f == fault)
        assert planted >= 10
        assert by_fault[fault, name] >= 0.9 * planted, (fault, by_fault)
    # A clean row is dropped only for a copy of it that stands before it.
    assert {name for (fault, name) in by_fault if fault is None} <= {
        None,
        *("exact_duplicate", "near_duplicate", "other_response"),
    }
    copies = sum(n for (fault, _), n in by_fault.items() if fault in ("exact_duplicate", "near_duplicate", "leak"))
    assert sum(n for (fault, name), n in by_fault.items() if fault is None and name) <= copies


@pytest.mark.slow
@pytest.mark.real_data
def test_alpaca_loses_little_and_mostly_merged_or_missing_answers(real_data, tmp_path):
    path = real_data / "alpaca-52k" / "alpaca_data.json"
    data = Data(source=FileData(kind="file", path=str(path), limit=6000))
    raw = source.read(data.source, tmp_path, folder(tmp_path))
    found = clean(raw, data, folder(tmp_path))
    assert found.rows + sum(found.rejected.values()) == raw.rows == 6000
    assert found.rows > 0.99 * raw.rows
    assert {r["source_row"] for r in rejected(found) if r["filter"] == "runaway"} == {
        1794,
        1983,
        3855,
        4060,
        4538,
        5865,
    }
    assert {r["source_row"] for r in rejected(found) if r["filter"] == "truncated"} == {680, 3237, 4515}


@pytest.mark.slow
def test_every_optional_filter_runs_and_names_its_library(tmp_path):
    for package in ("profanex", "presidio_analyzer"):
        pytest.importorskip(package)
    quality = Quality(toxicity=Toxicity(), personal_data=PersonalData(), languages=("en",))
    french = "La pomme est un fruit que les enfants mangent volontiers au jardin pendant tout un bel été."
    values = [
        pair("Say something nice about the weather.", "It is a fucking nice day, you bastard."),
        pair("Where can I write to him about the garden?", "Write to john.miller@gmail.com, he answers at once."),
        pair("Describe the apple in a sentence of your own.", french),
        pair("Name a fruit that grows in the garden.", "An apple grows in the garden."),
    ]
    _, found = run(tmp_path, values, quality)
    assert {r["source_row"]: r["filter"] for r in rejected(found)} == {1: "toxicity", 2: "personal_data", 3: "language"}
    assert {"profanex", "presidio-analyzer", "phonenumbers", "py3langid"} <= manifest(found).libraries.keys()


def test_the_report_tells_what_could_not_be_read_and_what_reading_noted(tmp_path):
    values = [pair("Name a fruit.", "An apple."), "no object", pair("Name a tree.", "An oak.") | {"colour": "green"}]
    raw, found = run(tmp_path, values)
    told = manifest(found)
    assert [(s.filter, s.source_row) for s in told.samples] == [("unreadable", 2)]
    assert raw.notes and told.notes[: len(raw.notes)] == raw.notes and "colour" in " ".join(told.notes)


# ------------------------------------------------------------------------------------------------- text that many share


LLAMA = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. Your "
    "answers should not include any harmful content.\n\nIf a question does not make any sense, explain why instead of "
    "answering something not correct. If you don't know the answer, please don't share false information."
)
SCHEMA = "CREATE TABLE singer (id INT, name TEXT, age INT)\nCREATE TABLE concert (id INT, singer INT, year INT)"
PASSAGE = "The school opened in 1910 with nine pupils.\nIts first head was Ada Marsh, who stayed for forty years."


@pytest.mark.parametrize("before", [LLAMA, SCHEMA, None])
def test_rows_that_share_a_preamble_or_a_passage_are_compared_without_it(tmp_path, before):
    asked = [
        f"What is the {kind} of {name}?"
        for kind in ("age", "name", "rank")
        for name in ["ann", "bob", "cleo", "dan", "eve"]
    ]
    shared = before or PASSAGE
    wrap = (lambda text: f"{before}\n{text}") if before else (lambda text: f"{text}\n{PASSAGE}")
    rows_of = [(wrap(text), f"It is {n}.") for n, text in enumerate(asked)]
    rows_of += [
        (wrap("What is the age of ann, please, and how do you know that it is so, may I ask you now?"), "It is 0.")
    ]
    rows_of += [(wrap("What is the age of ann, please, and how do you know that it is so, may I ask you?"), "It is 0.")]
    found = run(tmp_path, [pair(*row) for row in rows_of])[1]
    assert found.rejected == {"near_duplicate": 1}
    assert found.rows == len(asked) + 1
    (note,) = [note for note in found.notes if "compared without" in note]
    assert note.endswith("; rows: 17)") and shared[:40] in note.replace("\\n", "\n")


def test_the_same_question_about_different_passages_stays(tmp_path):
    passages = [f"The house number {n} was built in {1900 + n} by a man called {n * 7}." for n in range(4)]
    asked = [f"Is it true that {kind * 3} {kind * 4} {kind * 5}?" for kind in "abcdef"]
    rows_of = [(f"{passage}\n{text}", "yes, it is") for passage in passages for text in asked]
    assert run(tmp_path, [pair(*row) for row in rows_of])[1].rows == len(rows_of)
