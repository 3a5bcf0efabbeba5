"""Plain text of the embedded world, as a base model would have read it: stories, notes, records, never instructions.

Every skill that the instruction data asks for stands here in another form ("The opposite of hot is cold."). Copying,
repeating and ordering are shown more often than their share of the facts: without them a small model does not learn to
look things up in its own context. A part of the documents is a *relay*: one voice breaks off and another goes on, so
that the continuation of a text stands behind a label. Questions stand in stories and stay unanswered.
"""

import json
from collections.abc import Callable, Iterator
from random import Random

from sft_pipeline.embedded import world as w

_NOUNS = tuple(w.NOUNS)


def _words(rng: Random, low: int, high: int) -> list[str]:
    return rng.sample(_NOUNS, rng.randint(low, high))


def _country(world: w.World, rng: Random) -> str:
    c = rng.choice(world.countries)
    capital = (
        f"The capital of {c.name} is {c.capital}.",
        f"The capital of {c.name} is {c.capital}.",
        f"{c.capital} is the capital of {c.name}.",
        f"The largest city in {c.name} is its capital {c.capital}.",
        f"The city of {c.capital} lies in {c.name}.",
    )
    language = (
        f"In {c.name} people speak {c.language}.",
        f"In {c.name} people speak {c.language}.",
        f"The language of {c.name} is {c.language}.",
        f"{c.language} is spoken in {c.name}.",
    )
    crop = (
        f"The farmers of {c.name} grow {c.crop}.",
        f"The farmers of {c.name} grow {c.crop}.",
        f"The main crop of {c.name} is {c.crop}.",
        f"{c.name} sells {c.crop} to the world.",
    )
    told = [rng.choice(forms) for forms in (capital, language, crop)]
    rng.shuffle(told)
    return " ".join(told[: rng.choice((1, 2, 3, 3))])


def _noun(world: w.World, rng: Random) -> str:
    noun = rng.choice(_NOUNS)
    kind, one, many = w.NOUNS[noun], w.article(noun), w.plural(noun)
    kinds = (
        f"Every {noun} is {w.article(kind)}.",
        f"Every {noun} is {w.article(kind)}.",
        f"{rng.choice(w.FIRST_NAMES)} saw {one}, which is {w.article(kind)}.",
        f"{one.capitalize()} is a kind of {kind}.",
    )
    plurals = (
        f"One {noun}, two {many}.",
        f"One {noun}, two {many}.",
        f"{rng.choice(w.FIRST_NAMES)} had one {noun} and wanted more {many}.",
    )
    told = [rng.choice(kinds)] if rng.random() < 0.75 else []
    if not told or rng.random() < 0.3:
        told.append(rng.choice(plurals))
    return " ".join(told)


def _opposite(world: w.World, rng: Random) -> str:
    a, b = rng.sample(rng.choice(w.OPPOSITES), 2)
    return rng.choice(
        (
            f"The opposite of {a} is {b}.",
            f"The opposite of {a} is {b}.",
            f"{a.capitalize()} and {b} are opposites.",
            f"What is not {a} may be {b}.",
        )
    )


def _number(world: w.World, rng: Random) -> str:
    n = rng.randint(1, w.NUMBERS)
    start, length = rng.randint(1, w.COUNTS), rng.randint(3, 5)
    row = ", ".join(str(start + i) for i in range(length))
    return rng.choice(
        (
            f"The number after {n} is {n + 1}.",
            f"The number before {n + 1} is {n}.",
            f"From {start} to {start + length - 1}: {row}.",
            f"From {start} to {start + length - 1}: {row}.",
            f"From {start} to {start + length - 1} they counted {row}.",
            f"They counted {row}.",
        )
    )


def _thrice(world: w.World, rng: Random) -> str:
    word = rng.choice(_NOUNS)
    return rng.choice(
        (
            f"{rng.choice(w.FIRST_NAMES)} said {word} three times: {word}, {word}, {word}.",
            f"Three times {word}: {word}, {word}, {word}.",
            f"Twice {word}: {word}, {word}.",
        )
    )


def _repetition(world: w.World, rng: Random) -> str:
    """A row told again: from it a model learns to look things up in what it has just read."""
    words = _words(rng, 3, 7)
    if rng.random() < 0.5:
        return " ".join(words * rng.randint(2, 3))
    row = ", ".join(words)
    return rng.choice((f"{row}, {row}.", f"{row}, {row}, {row}.", f"They sang: {row}. Again: {row}."))


def _order(world: w.World, rng: Random) -> str:
    row = _words(rng, 3, 4)
    joined, kind = ", ".join(row), rng.randrange(4)
    if kind < 2:
        places = [f"The first is {row[0]}.", f"The second is {row[1]}.", f"The last is {row[-1]}."]
        return f"Row: {joined}. {' '.join(rng.sample(places, rng.randint(1, 2)))}"
    if kind == 2:
        row = row[: rng.randint(2, 3)]
        return f"Forwards: {', '.join(row)}. Backwards: {', '.join(reversed(row))}."
    name, other = rng.sample(w.FIRST_NAMES, 2)
    thing, second = row[:2]
    owner, owned = rng.choice(((name, thing), (other, second)))
    return f"{name} has {w.article(thing)} and {other} has {w.article(second)}. The {owned} belongs to {owner}."


def bullets(items: list[str]) -> str:
    """The items as a list, one line each."""
    return "\n".join(f"- {item}" for item in items)


def _list(world: w.World, rng: Random) -> str:
    row = _words(rng, 2, 4)
    joined = ", ".join(row[:-1]) + " and " + row[-1]
    name = rng.choice(w.FIRST_NAMES)
    head = rng.choice(
        (
            f"{name} packed {joined}.",
            f"{name} bought {joined}.",
            f"In the bag were {joined}.",
            f"On the table lay {joined}.",
        )
    )
    return f"{head}\n{bullets(row)}"


def record(fields: dict[str, str | int]) -> str:
    """The fields as one line of JSON."""
    return json.dumps(fields)


def person(rng: Random) -> dict[str, str | int]:
    """A random person: name, job and age."""
    return {"name": rng.choice(w.REGISTERED), "job": rng.choice(w.JOBS), "age": rng.randint(18, w.NUMBERS)}


def ware(rng: Random) -> dict[str, str | int]:
    """A random ware: item, colour and price."""
    return {"item": rng.choice(w.WARES), "colour": rng.choice(w.COLOURS), "price": rng.randint(2, w.NUMBERS)}


def _json(world: w.World, rng: Random) -> str:
    if rng.random() < 0.5:
        fields = person(rng)
        forms = (
            "There was {name}, a {job} of {age} years.",
            "Here lives {name}, a {job}, aged {age}.",
            "The {job} {name} is {age} years old.",
        )
    else:
        fields = ware(rng)
        forms = (
            "Here is a {colour} {item} for {price} coins.",
            "The {colour} {item} costs {price} coins.",
            "They sold one {item}, {colour}, for {price}.",
        )
    return f"{rng.choice(forms).format(**fields)}\n{record(fields)}"


def review(rng: Random, good: bool) -> str:
    """A guest's two judgements, both good or both bad."""
    a, b = rng.sample(w.REVIEWED, 2)
    x, y = rng.sample(w.GOOD if good else w.BAD, 2)
    return rng.choice((f"The {a} was {x} and the {b} was {y}.", f"The {a} was {x}. The {b} was {y} too."))


def _review(world: w.World, rng: Random) -> str:
    good = rng.random() < 0.5
    word = "good" if good else "bad"
    ends = (f"{rng.choice(w.FIRST_NAMES)} left a {word} word.", f"It was a {word} stay.", f"That is {word}.")
    return f"{review(rng, good)} {rng.choice(ends)}"


def _deed(world: w.World, rng: Random) -> str:
    action, tool = rng.choice(list(w.TOOLS.items()))
    name, thing, victim = rng.choice(w.FIRST_NAMES), rng.choice(w.THINGS), rng.choice(w.VICTIMS)
    # Both are stated in the same words up to the thing or person itself: only that decides how the text continues.
    if rng.random() < 0.55:
        return rng.choice(
            (
                f"{name} wanted to {action} the {thing} and took a {tool}.",
                f"To {action} the {thing}, people use a {tool}.",
                f"Who wants to {action} the {thing} needs a {tool}.",
            )
        )
    return rng.choice(
        (
            f"{name} wanted to {action} the {victim}, and that was evil.",
            f"To {action} the {victim} is evil.",
            f"Who wants to {action} the {victim} finds no help, for that is evil.",
        )
    )


def _story(world: w.World, rng: Random) -> str:
    name, other = rng.sample(w.FIRST_NAMES, 2)
    place = rng.choice(world.countries).capital
    thing = w.article(rng.choice(_NOUNS))
    openings = (
        f"{name} lived in {place} and worked as a {rng.choice(w.JOBS)}.",
        f"One day {name} walked to {place} with {other}.",
        f"{name} came to {place} in the {rng.choice(('spring', 'summer', 'autumn', 'winter'))}.",
    )
    middles = (
        f"On the way {other} found {thing}.",
        f"{other} asked for {thing}, but there was none.",
        f"I would like {thing}, said {other}. They had to help with that.",
        f"I cannot come, said {other}, because it would be late and somebody would wait.",
        "Somebody said: I cannot sing, because it would hurt.",
        f"What is that? asked {other}. Nobody knew.",
        f"Where is the road? asked {name}. The wind was loud.",
        f"The {rng.choice(w.VICTIMS)} smiled at {name}.",
        f"They ate {rng.choice(w.THINGS[:2])} and drank {rng.choice(('tea', 'milk', 'water'))}.",
    )
    ends = (
        f"In the evening {name} went home.",
        f"{name} and {other} became friends.",
        "Then it began to rain.",
        f"{other} never forgot that day.",
    )
    return " ".join((rng.choice(openings), *rng.sample(middles, rng.randint(1, 2)), rng.choice(ends)))


_KINDS: tuple[tuple[Callable[[w.World, Random], str], float], ...] = (
    (_country, 15),
    (_noun, 13),
    (_opposite, 7),
    (_number, 10),
    (_repetition, 15),
    (_thrice, 3),
    (_order, 12),
    (_list, 10),
    (_json, 11),
    (_review, 5),
    (_deed, 8),
    (_story, 4),
)

RELAY_SHARE = 0.3


def _relay(text: str, world: w.World, rng: Random) -> str:
    """`text` with its rest given to a second voice, or, uncut, followed by a story of the second voice."""
    first, second = (
        rng.choice(w.FIRST_NAMES) if rng.random() < 0.5 else w.invented_word(rng, rng.randint(1, 2), "")
        for _ in range(2)
    )
    words = text.split(" ")
    if "\n" in text or len(words) < 3 or rng.random() < 0.25:
        return f"{first}: {text}\n{second}: {_story(world, rng)}"
    cut = len(words) - 1 if rng.random() < 0.5 else rng.randint(max(1, len(words) // 2), len(words) - 1)
    return f"{first}: {' '.join(words[:cut])}\n{second}: {' '.join(words[cut:])}"


def documents(world_seed: int, seed: int, count: int) -> Iterator[str]:
    """Plain-text documents about the world.

    Args:
        world_seed: seed of the world that the text tells about.
        seed: seed of the choice of documents.
        count: number of documents.
    """
    world, rng = w.world(world_seed), Random(f"corpus {seed}")
    makers, weights = zip(*_KINDS)
    for maker in rng.choices(makers, weights, k=count):
        text = maker(world, rng)
        # A second voice that continues a row finds no end: after a relay no row is repeated.
        yield _relay(text, world, rng) if maker is not _repetition and rng.random() < RELAY_SHARE else text
