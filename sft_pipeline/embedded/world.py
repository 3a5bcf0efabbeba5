"""The facts of the embedded world: what is true in it, and in what words.

Countries, cities and languages are invented and depend on the seed; nouns, opposites and tools are ordinary English.
Nothing here knows how a fact is worded: plain text is made in `corpus.py`, instructions in `instructions.py`.
"""

from dataclasses import dataclass
from functools import lru_cache
from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KINDS: dict[str, tuple[str, ...]] = {
    "mammal": _words("cat dog horse cow goat pig bear"),
    "bird": _words("eagle owl crow duck swan robin parrot"),
    "insect": _words("ant bee moth beetle cricket hornet butterfly"),
    "fruit": _words("apple pear plum fig cherry grape lemon"),
    "vegetable": _words("carrot onion cabbage turnip radish bean pumpkin"),
    "tool": _words("hammer saw drill axe shovel rake wrench"),
    "instrument": _words("drum flute violin trumpet harp guitar piano"),
    "garment": _words("coat hat shirt glove scarf sock boot"),
    "furniture": _words("table chair bed desk bench stool cupboard"),
    "vehicle": _words("cart wagon boat train ship bicycle tram"),
    "flower": _words("rose tulip lily daisy violet poppy orchid"),
    "vessel": _words("cup bowl bottle jar bucket kettle pot"),
}
"""Nouns by the kind of thing that they are."""

OPPOSITES: tuple[tuple[str, str], ...] = tuple(
    tuple(pair.split("/"))  # type: ignore[misc]
    for pair in _words(
        "hot/cold big/small tall/short old/young fast/slow hard/soft wet/dry light/dark rich/poor loud/quiet "
        "early/late full/empty clean/dirty happy/sad strong/weak thick/thin wide/narrow deep/shallow high/low "
        "open/shut sweet/sour smooth/rough sharp/blunt guilty/innocent near/far cheap/costly kind/cruel calm/angry "
        "safe/dangerous simple/complex tight/loose fresh/stale awake/asleep alive/dead first/last always/never "
        "day/night summer/winter north/south east/west left/right front/back begin/end push/pull give/take buy/sell "
        "win/lose love/hate come/go laugh/cry rise/fall friend/enemy giant/dwarf peace/war truth/lie profit/loss "
        "hope/despair polite/rude lazy/busy wise/foolish"
    )
)
"""Pairs of opposites; no word stands in two pairs."""

CROPS = _words(
    "wheat rice barley maize cotton coffee tea cocoa tobacco sugar hops flax oats rye millet olives dates ginger "
    "pepper saffron vanilla peanuts mustard lentils"
)

FIRST_NAMES = _words(
    "Mira Tovin Anna Ben Clara Dario Elsa Felix Greta Hugo Ida Jonas Kira Leo Mona Nils Olga Pavel Rosa Sven Tara "
    "Udo Vera Wim Xenia Yara Zeno Alma Boris Celia Dora Emil Fiona Goran Hanna Ivan Julia Karl Lena Marco"
)

REGISTERED = FIRST_NAMES[:12]
"""Those of whom records are kept."""

JOBS = _words("baker farmer smith tailor doctor singer painter sailor clerk cook fisher mason")

WARES = KINDS["garment"] + KINDS["furniture"]
"""What shops sell."""

COLOURS = _words("red blue green yellow black white brown grey pink purple")

GOOD = _words("lovely great superb splendid delicious charming perfect wonderful pleasant excellent tasty cosy")
BAD = _words("awful terrible nasty horrible dreadful disgusting poor ugly rotten filthy boring noisy")
REVIEWED = _words(
    "soup room bread music tea bed view cake garden service wine play dinner bath song market hotel coffee meal "
    "concert story painting breakfast terrace"
)

NUMBERS = 40
"""Largest age, price, and number whose neighbours are stated."""

COUNTS = 25
"""Largest number at which counting starts."""

TOOLS: dict[str, str] = {
    "cut": "knife",
    "burn": "match",
    "smash": "club",
    "poison": "powder",
    "trap": "cage",
    "chop": "cleaver",
    "shoot": "bow",
    "drown": "barrel",
    "tie": "rope",
    "crush": "stone",
    "stab": "fork",
    "pierce": "needle",
    "beat": "stick",
    "scratch": "nail",
    "freeze": "fridge",
    "dent": "mallet",
    "blast": "rocket",
    "sting": "thorn",
}
"""What each action is done with."""

THINGS = _words("bread cheese paper straw leaves logs nuts ice weeds rats moths potatoes eggs leather cloth bones")
"""What an action may be done to."""

VICTIMS = _words(
    "neighbour teacher guard king uncle stranger mayor driver nurse judge sister brother tourist student pilot priest"
)
"""Whom no action of `TOOLS` may be done to."""


@dataclass(frozen=True)
class Country:
    """A country with the three facts that are stated about it."""

    name: str
    capital: str
    language: str
    crop: str


@dataclass(frozen=True)
class World:
    """Everything that depends on the seed."""

    countries: tuple[Country, ...]


COUNTRIES = 80

_ONSETS = _words("b br d dr f fl g gr h j k kl kr l m n p pl pr r s sk sl st t tr v w z zh")
_VOWELS = _words("a e i o u ai au ei")
_CODAS = _words("l m n r s k t nd rn lt sh")


def invented_word(rng: Random, syllables: int, ending: str) -> str:
    """A pronounceable word: `syllables` open or closed syllables and an ending."""
    body = "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.4 else "")
        for _ in range(syllables)
    )
    return (body + ending).capitalize()


@lru_cache(maxsize=8)
def world(seed: int) -> World:
    """The world of `seed`; the same seed gives the same world."""
    rng = Random(f"world {seed}")
    used: set[str] = set()

    def fresh(syllables: int, endings: str) -> str:
        while (word := invented_word(rng, syllables, rng.choice(endings.split()))).lower() in used:
            pass
        used.add(word.lower())
        return word

    countries = tuple(
        Country(
            name=fresh(1, "ania ovia eria oland istan adia una ora"),
            capital=fresh(1, "aven ora ims ebur oton ulm ado ex"),
            language=fresh(1, "ish ese ic ari ulu an"),
            crop=rng.choice(CROPS),
        )
        for _ in range(COUNTRIES)
    )
    return World(countries)


def plural(noun: str) -> str:
    """The plural of a noun of `KINDS`."""
    if noun.endswith(("s", "sh", "ch", "x", "z")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + {"tomato": "es"}.get(noun, "s")


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


NOUNS: dict[str, str] = {noun: kind for kind, members in KINDS.items() for noun in members}
"""Kind of every noun."""
