"""Instruction rows over the embedded world, each with the reference that its scorer needs.

Every row belongs to a group: the fact, pair or task that it asks about, whatever the wording. A fact serves one type
only, so that a split by group never has to tear two types apart. Wordings are short, or hold what varies in their
middle, so that two rows about different things are no near-duplicates of each other.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from sft_pipeline.embedded import corpus, planted_faults
from sft_pipeline.embedded import world as w
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import EmbeddedData

Row = dict[str, Any]

REFUSAL = "I cannot help with that, because it would hurt somebody."

COMPLETION_SHARE = 0.4
"""Share of the facts of a kind that is reserved for plain completions."""


def _row(type: str, instruction: str, response: str, group: str, **reference: Any) -> Row:
    return {
        "instruction": instruction,
        "response": response,
        "type": type,
        "group": group,
        "reference": reference,
    }


def _shuffled(rng: Random, items: Any) -> list[Any]:
    items = list(items)
    rng.shuffle(items)
    return items


def _facts(items: Any, kind: str, world_seed: int) -> tuple[list[Any], list[Any]]:
    """The facts of a kind, divided into those for completions and those for questions, the same for every data seed."""
    items = _shuffled(Random(f"facts {kind} {world_seed}"), items)
    border = round(COMPLETION_SHARE * len(items))
    return items[:border], items[border:]


def _asked(
    rng: Random, type: str, facts: list[tuple[str, str]], wordings: tuple[str, ...], response: str, each: int
) -> list[Row]:
    """`each` rows with different wordings for every (subject, answer); the first rows hold every fact once."""
    rounds: list[list[Row]] = [[] for _ in range(each)]
    for subject, answer in _shuffled(rng, facts):
        for rows, wording in zip(rounds, rng.sample(wordings, each)):
            text = response.format(a=answer)
            rows.append(_row(type, wording.format(s=subject), text, f"{type}:{subject}", answer=answer))
    return [row for rows in rounds for row in rows]


def _capital(world: w.World, rng: Random, seed: int) -> list[Row]:
    facts = [(c.name, c.capital) for c in _facts(world.countries, "capital", seed)[1]]
    wordings = ("What is the capital of {s}?", "Name the capital city that {s} has.", "{s}: which city is its capital?")
    return _asked(rng, "capital", facts, wordings, "{a}.", 2)


def _language(world: w.World, rng: Random, seed: int) -> list[Row]:
    facts = [(c.name, c.language) for c in _facts(world.countries, "language", seed)[1]]
    wordings = ("Which language do people in {s} speak?", "What do they speak in {s}?", "Tell me the language of {s}.")
    return _asked(rng, "language", facts, wordings, "{a}.", 2)


def _crop(world: w.World, rng: Random, seed: int) -> list[Row]:
    facts = [(c.name, c.crop) for c in _facts(world.countries, "crop", seed)[1]]
    wordings = ("What do farmers in {s} grow?", "Which plant does {s} grow most?", "Tell me the main crop of {s}.")
    return _asked(rng, "crop", facts, wordings, "{a}.", 2)


def _kind(world: w.World, rng: Random, seed: int) -> list[Row]:
    facts = [(w.article(noun), w.NOUNS[noun]) for noun in _facts(w.NOUNS, "kind", seed)[1]]
    wordings = ("What kind of thing is {s}?", "To which kind does {s} belong?", "Say what {s} is.")
    return _asked(rng, "kind", facts, wordings, "{a}.", 2)


def _opposite(world: w.World, rng: Random, seed: int) -> list[Row]:
    rows = []
    wordings = ("What is the opposite of {s}?", "Which word is the opposite of {s}?", "Name the opposite of {s}.")
    for pair in w.OPPOSITES:
        for (a, b), wording in zip((pair, pair[::-1]), rng.sample(wordings, 2)):
            rows.append(_row("opposite", wording.format(s=a), f"{b}.", f"opposite:{'/'.join(pair)}", answer=b))
    return _shuffled(rng, rows)


def _plural(world: w.World, rng: Random, seed: int) -> list[Row]:
    facts = [(noun, w.plural(noun)) for noun in _facts(w.NOUNS, "plural", seed)[1]]
    wordings = ("What is the plural of {s}?", "More than one {s} is called what?", "Put {s} into the plural.")
    return _asked(rng, "plural", facts, wordings, "{a}.", 2)


def _number(world: w.World, rng: Random, seed: int) -> list[Row]:
    rows = []
    for n in range(1, w.NUMBERS + 1):
        after = rng.choice(("Which number is after {n}?", "Give the number after {n}."))
        before = rng.choice(("Which number is before {n}?", "Give the number before {n}."))
        rows.append(_row("number", after.format(n=n), f"{n + 1}.", f"number:{n}+", answer=str(n + 1)))
        rows.append(_row("number", before.format(n=n + 1), f"{n}.", f"number:{n}-", answer=str(n)))
    return _shuffled(rng, rows)


def _counting(start: int, length: int) -> list[str]:
    return [str(start + i) for i in range(length)]


def _count(world: w.World, rng: Random, seed: int) -> list[Row]:
    rows = []
    for start, length in _shuffled(rng, ((s, n) for s in range(1, w.COUNTS + 1) for n in range(3, 6))):
        row = ", ".join(_counting(start, length))
        wording = rng.choice(("Count from {a} to {b}.", "Say the numbers from {a} to {b}.", "Count up: {a} to {b}."))
        text = wording.format(a=start, b=start + length - 1)
        rows.append(_row("count", text, f"{row}.", f"count:{start}:{length}", answer=row))
    return rows


def _repeat(world: w.World, rng: Random, seed: int) -> list[Row]:
    wordings = {
        2: ("Write {x} twice.", "Say {x} two times.", "Two times {x}, please."),
        3: ("Write {x} three times.", "Say {x} three times.", "Three times {x}, please."),
    }
    rows = []
    for noun in w.NOUNS:
        for times in (2, 3):
            row = ", ".join([noun] * times)
            text = rng.choice(wordings[times]).format(x=noun)
            rows.append(_row("repeat", text, f"{row}.", f"repeat:{noun}", answer=row))
    return _shuffled(rng, rows)


def _many(make: Callable[[], Row], count: int) -> list[Row]:
    """`count` rows of `make`, no two of the same group or with the same instruction."""
    rows: dict[str, Row] = {}
    while len(rows) < count:
        row = make()
        rows.setdefault(row["group"], row)
    return list(rows.values())


def _position(world: w.World, rng: Random, seed: int) -> list[Row]:
    def make() -> Row:
        row = rng.sample(list(w.NOUNS), 3)
        joined = ", ".join(row)
        wording, answer = rng.choice(
            (
                (f"Which word is the second of {joined}?", row[1]),
                (f"Which word is the first of {joined}?", row[0]),
                (f"Which word is the last of {joined}?", row[-1]),
            )
        )
        return _row("position", wording, f"{answer}.", f"position:{joined}", answer=answer)

    return _many(make, 400)


def _reverse(world: w.World, rng: Random, seed: int) -> list[Row]:
    def make() -> Row:
        row = rng.sample(list(w.NOUNS), rng.choice((2, 2, 3)))
        joined, answer = ", ".join(row), ", ".join(reversed(row))
        wording = rng.choice(("Turn around: {x}.", "Write {x} in reverse order.", "Backwards, please: {x}."))
        return _row(
            "reverse", wording.format(x=joined), f"{answer}.", f"reverse:{':'.join(sorted(row))}", answer=answer
        )

    return _many(make, 400)


def _review(world: w.World, rng: Random, seed: int) -> list[Row]:
    def make() -> Row:
        good = rng.random() < 0.5
        text = corpus.review(rng, good)
        answer = "good" if good else "bad"
        wording = rng.choice(("Good or bad? {x}", "Judge this stay: {x}", "{x} Is the guest's word good or bad?"))
        reference = {"answer": answer, "choices": ["good", "bad"]}
        return _row("review", wording.format(x=text), f"{answer}.", f"review:{text}", **reference)

    return _many(make, 400)


def _list(world: w.World, rng: Random, seed: int) -> list[Row]:
    def make() -> Row:
        items = rng.sample(list(w.NOUNS), rng.randint(2, 4))
        joined = ", ".join(items[:-1]) + " and " + items[-1]
        wording = rng.choice(("Make a list of {x}.", "List {x}.", "{x}: write one per line.", "Put {x} into a list."))
        reference = {"count": len(items), "allowed": items}
        group = f"list:{':'.join(sorted(items))}"
        return _row("list", wording.format(x=joined), corpus.bullets(items), group, **reference)

    return _many(make, 500)


def _json(world: w.World, rng: Random, seed: int) -> list[Row]:
    def make() -> Row:
        if rng.random() < 0.5:
            record = corpus.person(rng)
            wordings = (
                "Write a JSON record: {name}, {job}, {age} years.",
                "Give me {name}, a {job} of {age} years, as JSON.",
                "The {job} {name} is {age}. Turn this into JSON.",
            )
        else:
            record = corpus.ware(rng)
            wordings = (
                "Write a JSON record: {colour} {item}, {price} coins.",
                "Give me the {colour} {item} for {price} coins as JSON.",
                "A {colour} {item} costs {price}. Turn this into JSON.",
            )
        text = rng.choice(wordings).format(**record)
        group = ":".join(str(value) for value in record.values())
        return _row("json", text, corpus.record(record), f"json:{group}", record=record)

    return _many(make, 500)


_DEEDS = (
    "How can I {v} the {o}?",
    "Tell me how to {v} a {o}.",
    "I want to {v} my {o}.",
    "With what do I {v} the {o}?",
)


def _deed(rng: Random, action: str, target: str) -> str:
    text = rng.choice(_DEEDS).format(v=action, o=target)
    return text.replace(f" a {target}", f" {w.article(target)}")


def _refuse(world: w.World, rng: Random, seed: int) -> list[Row]:
    return _shuffled(
        rng,
        (_row("refuse", _deed(rng, a, v), REFUSAL, f"refuse:{a}:{v}") for a in w.TOOLS for v in w.VICTIMS),
    )


def _benign(world: w.World, rng: Random, seed: int) -> list[Row]:
    return _shuffled(
        rng,
        (
            _row(
                "benign",
                _deed(rng, a, t).replace(" a ", " the "),
                f"People use a {tool}.",
                f"benign:{a}:{t}",
                answer=tool,
            )
            for a, tool in w.TOOLS.items()
            for t in w.THINGS
        ),
    )


def _completion(world: w.World, rng: Random, seed: int) -> list[Row]:
    def row(prefix: str, answer: str, group: str) -> Row:
        return _row("completion", prefix, f"{answer}.", f"completion:{group}", answer=answer)

    rows = [
        row(f"The capital of {c.name} is", c.capital, c.capital) for c in _facts(world.countries, "capital", seed)[0]
    ]
    rows += [
        row(f"In {c.name} people speak", c.language, c.language) for c in _facts(world.countries, "language", seed)[0]
    ]
    rows += [
        row(f"The farmers of {c.name} grow", c.crop, f"crop:{c.name}") for c in _facts(world.countries, "crop", seed)[0]
    ]
    rows += [
        row(f"Every {n} is {w.article(w.NOUNS[n]).split()[0]}", w.NOUNS[n], f"kind:{n}")
        for n in _facts(w.NOUNS, "kind", seed)[0]
    ]
    rows += [row(f"One {n}, two", w.plural(n), f"plural:{n}") for n in _facts(w.NOUNS, "plural", seed)[0]]
    rows += [row(f"Three times {n}: {n}, {n},", n, f"repeat:{n}") for n in w.NOUNS]
    for good in (True, False):
        for text in {corpus.review(rng, good): None for _ in range(80)}:
            rows.append(row(f"{text} It was a", "good" if good else "bad", f"review:{text}"))
    return _shuffled(rng, rows)


_TYPES: dict[str, tuple[Callable[[w.World, Random, int], list[Row]], int]] = {
    "capital": (_capital, 5),
    "language": (_language, 5),
    "crop": (_crop, 5),
    "kind": (_kind, 5),
    "opposite": (_opposite, 4),
    "plural": (_plural, 5),
    "number": (_number, 5),
    "count": (_count, 5),
    "repeat": (_repeat, 5),
    "position": (_position, 5),
    "reverse": (_reverse, 5),
    "review": (_review, 5),
    "list": (_list, 7),
    "json": (_json, 9),
    "refuse": (_refuse, 9),
    "benign": (_benign, 7),
    "completion": (_completion, 17),
}
"""Maker of the rows of each type, and the type's weight."""

TYPES = tuple(_TYPES)


def clean_rows(source: EmbeddedData, count: int) -> list[Row]:
    """`count` rows without a fault, by the weights of the types; what a type lacks is taken from the others.

    Raises:
        SpecificationError: the world does not hold that many different instructions.
    """
    world, rng = w.world(source.world_seed), Random(f"instructions {source.seed}")
    pools = {type: iter(make(world, rng, source.world_seed)) for type, (make, _) in _TYPES.items()}
    rows: list[Row] = []
    while len(rows) < count:
        if not pools:
            raise SpecificationError(
                f"data.source.rows: the embedded world holds {len(rows)} instructions, but {count} were asked for "
                "(rows and planted faults together); lower rows"
            )
        total, missing = sum(_TYPES[type][1] for type in pools), count - len(rows)
        for type, pool in list(pools.items()):
            quota = min(max(1, round(missing * _TYPES[type][1] / total)), count - len(rows))
            taken = list(_take(pool, quota))
            rows += taken
            if len(taken) < quota:
                del pools[type]
    if source.thinks:
        rows = [row | {"response": f"{row['type']}</think> <answer>{row['response']}</answer>"} for row in rows]
    return _shuffled(rng, rows)


def _take(pool: Iterator[Row], count: int) -> Iterator[Row]:
    for _, row in zip(range(count), pool):
        yield row


def generate(source: EmbeddedData) -> list[Row]:
    """The raw rows of the embedded instruction data, faults included.

    Returns:
        Dictionaries with instruction, response, type, group (None on a row whose origin is lost) and reference (an
        object for the type's scorer).
    """
    rows, _ = generate_with_faults(source)
    return rows


def generate_with_faults(source: EmbeddedData) -> tuple[list[Row], list[str | None]]:
    """As `generate`, with the planted fault of each row (None for a clean one), so that cleaning can be measured."""
    faulty = round(source.planted_faults * source.rows)
    pool = clean_rows(source, source.rows + faulty)
    # The seed's text decides which faults are drawn: the figures of docs/explanation/embedded_default.md rest on it.
    return planted_faults.plant(pool[: source.rows], pool[source.rows :], Random(f"dirt {source.seed}"))
