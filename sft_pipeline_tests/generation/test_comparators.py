"""The prompted base: which examples, what fits, what is said, and that a killed generation ends with the same bytes."""

import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.table import ROW, read_table, row_id, write_table
from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Comparator, Evaluation
from sft_pipeline.generation.comparators import NONE, generate_comparators
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.generation.examples import choose, fill, fit, stops
from sft_pipeline_tests.generation.conftest import PROMPTS

COLOURS = ("red", "green", "blue", "black", "white", "brown", "grey")
THINGS = ("hat", "kettle", "drum", "lamp", "door", "wagon", "fig", "bench")


def row(instruction, response, number=1):
    id = row_id(instruction, response, "plain", None)
    made = {"id": id, "instruction": instruction, "response": response, "type": "plain", "group": None}
    return made | {"reference": None, "critics": None, "source_file": "train.jsonl", "source_row": number}


TRAIN = [
    row(f"Which colour does the {thing} of number {k} have in the {colour} house?", colour, 8 * k + at)
    for k, colour in enumerate(COLOURS)
    for at, thing in enumerate(THINGS)
]
ITEMS = [
    row("Which colour does the hat of number 3 have in the old garden?", "grey"),
    row("In the year 3 the people of the coast sold what?", "figs"),
    row("Say who built this bridge over the river.", "Felix"),
]


def chosen(experiment, spec, train=TRAIN, items=ITEMS):
    pool, found, notes = choose("few", spec, experiment, train, items)
    return [[pool[p] for p in of] for of in found], notes


def test_examples_by_seed_are_the_same_for_every_item_in_whatever_order_the_rows_come(experiment):
    spec = Comparator(examples=4)
    one, notes = chosen(experiment, spec)
    assert one[0] == one[1] == one[2] and len(one[0]) == 4 and notes == []
    assert chosen(experiment, spec, TRAIN[::-1])[0] == one
    assert chosen(experiment, Comparator(examples=4, seed=12))[0] != one


def test_the_nearest_examples_are_those_of_an_oracle_and_the_most_similar_comes_last(experiment):
    n = experiment.data.duplicates.ngram

    def similarity(a, b):
        return jaccard(shingles(a["instruction"], n), shingles(b["instruction"], n))

    found, notes = chosen(experiment, Comparator(examples=3, choose="nearest"))
    first = [similarity(ITEMS[0], example) for example in found[0]]
    assert first == sorted(first) and first[-1] > 0
    assert first[::-1] == sorted((similarity(ITEMS[0], r) for r in TRAIN), reverse=True)[:3]
    assert all(len({e["id"] for e in of}) == 3 for of in found)
    assert notes == [
        "2 of 3 items share a shingle with fewer than 3 training rows: theirs are filled up with rows drawn by the seed"
    ]


@pytest.mark.parametrize("choice", ["seed", "nearest"])
def test_a_row_that_is_near_an_item_is_no_example_for_it_and_is_named(experiment, choice):
    copy = row(ITEMS[0]["instruction"].upper(), "grey", 77)
    group = row("Name a month.", "May", 78) | {"group": "calendar"}
    held = row("Quote what the clerk of the harbour said to the tired baker on the seventh day of spring.", "Nothing.")
    inside = row(f"Read this first. {held['instruction']} Then count to three.", "Nothing.", 79)
    items = [ITEMS[0], ITEMS[1] | {"group": "calendar"}, held]
    spec = Comparator(examples=3, choose=choice)
    found, notes = chosen(experiment, spec, [copy, group, inside], items)
    assert [{e["id"] for e in of} for of in found] == [
        {group["id"], inside["id"]}, {copy["id"], inside["id"]}, {copy["id"], group["id"]},
    ]  # fmt: skip
    assert notes[0].startswith("3 training rows are near 3 test items and are not shown to these: the first is row ")
    assert "train.jsonl, row 7" in notes[0]


def test_more_examples_than_rows_and_no_rows_at_all_are_refused(experiment):
    for train, problem in (
        (TRAIN, "99 examples, but the training split has 56 rows"),
        ([], "training split has no rows"),
    ):
        with pytest.raises(DataError, match=problem):
            chosen(experiment, Comparator(examples=99), train)


def test_nothing_in_a_text_is_interpreted():
    assert fill("{examples}Q: {instruction}", examples="{instruction} ", instruction="{examples} {0}") == (
        "{instruction} Q: {examples} {0}"
    )


def test_an_answer_ends_where_a_further_example_would_begin(experiment):
    assert stops(Comparator(examples=2), experiment) == ("\n\nInstruction:",)
    own = Comparator(
        examples=2, template="{examples}{instruction}", example="{instruction} = {response}", separator="\n"
    )
    assert stops(own, experiment) == ("\n",)
    assert stops(own.model_copy(update={"stop": ("!",)}), experiment) == ("!",)
    decoding = experiment.generation.model_copy(update={"stop": ("\nInstruction:",)})
    declared = experiment.model_copy(update={"generation": decoding})
    assert stops(Comparator(examples=2), declared) == ("\nInstruction:",)
    assert stops(Comparator(examples=0, template="{instruction}"), experiment) == ()


def test_what_does_not_fit_is_left_out_the_longest_first_and_said(experiment, ending_base):
    from sft_pipeline.model.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(ending_base.root)
    pool = [row("Say a.", "a"), row("Say it. " + "It is long. " * 30, "no"), row("Say b.", "b")]
    spec = Comparator(examples=3)
    items = [ITEMS[2]]
    [whole] = fit(spec, experiment, pool, [[0, 1, 2]], items, tokenizer, None)
    assert whole.examples == [0, 1, 2] and whole.prompt.endswith(experiment.prompt.render(ITEMS[2]["instruction"]))
    assert whole.prompt.startswith("Instruction: Say a.\nResponse: a\n\nInstruction: Say it.")
    assert whole.tokens == len(tokenizer.encode(whole.prompt))
    limit = experiment.generation.max_new_tokens
    [fewer] = fit(spec, experiment, pool, [[0, 1, 2]], items, tokenizer, whole.tokens + limit - 1)
    assert fewer.examples == [0, 2] and fewer.tokens + limit <= whole.tokens + limit - 1
    plain = len(tokenizer.encode(experiment.prompt.render(ITEMS[2]["instruction"])))
    [none] = fit(spec, experiment, pool, [[0, 1, 2]], items, tokenizer, plain + limit)
    assert none.examples == [] and none.tokens == plain
    long = Comparator(examples=0, template="Think long. " * 40 + "{instruction}")
    [unasked] = fit(long, experiment, pool, [[]], items, tokenizer, plain + limit)
    assert unasked.prompt is None


@pytest.fixture
def train(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    write_table(TRAIN, ROW, folder / InstructionDataset.ROWS)
    return InstructionDataset.finalize(folder, stage="train", rows=len(TRAIN))


@pytest.mark.slow
def test_answers_of_comparators_and_a_killed_generation(experiment, ending_base, items, train, tmp_path):
    comparators = {"few": Comparator(examples=2), "bare": Comparator(examples=0, template="{instruction}")}
    evaluation = Evaluation(scorers=experiment.evaluation.scorers, comparators=comparators)
    asked = experiment.model_copy(update={"evaluation": evaluation})
    folders = [tmp_path / name for name in ("work", "one", "other_work", "cut", "two")]
    for folder in folders:
        folder.mkdir()
    work, one, other_work, cut, two = folders
    with open_engine(asked, ending_base) as engine:
        made = generate_comparators(asked, ending_base, train, items, lambda: engine, work, one)
        complete, calls = engine.answer, []

        def killed(*given, **named):
            calls.append(given)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return complete(*given, **named)

        engine.answer = killed
        with pytest.raises(KeyboardInterrupt):
            generate_comparators(asked, ending_base, train, items, lambda: engine, other_work, cut)
        engine.answer = complete
        again = generate_comparators(asked, ending_base, train, items, lambda: engine, other_work, two)
    assert again.digest == made.digest
    assert (made.measurements["computed_answers"], again.measurements["computed_answers"]) == (80, 80 - 8)
    few, bare = made.comparators["few"], made.comparators["bare"]
    assert (few.label, few.rows, few.unasked, bare.label) == ("a prompt with 2 examples", 40, (), "the template bare")
    assert few.prompt_tokens > made.prompt_tokens > bare.prompt_tokens
    rows = read_table(made.path("few.parquet"))
    assert [r["id"] for r in rows] == [r["id"] for r in read_table(items.path("rows.parquet"))]
    assert all(len(r["examples"]) == 2 and set(r["examples"]) <= {t["id"] for t in TRAIN} for r in rows)
    assert all(r["prompt"].endswith(f"Instruction: {text}\nResponse:") for r, text in zip(rows, PROMPTS, strict=True))
    assert few.conditions["prompt"] != bare.conditions["prompt"] and few.conditions["items"] == items.digest


def test_without_comparators_no_engine_is_opened(experiment, ending_base, items, train, tmp_path):
    made = generate_comparators(
        experiment, ending_base, train, items, lambda: pytest.fail("opened"), tmp_path, tmp_path
    )
    assert NONE in made.files and made.comparators == {}
