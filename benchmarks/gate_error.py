"""How often does the gate err? The whole decision, `verdict()` with the gate's defaults, on simulated outcomes.

    .venv/bin/python benchmarks/gate_error.py                  # all tables, some minutes on two cores
    .venv/bin/python benchmarks/gate_error.py --runs 500 level # one of them, coarser

level      no true effect, 300 items: how often the verdict is `pass`, by share of discordant pairs and deciding test;
           and with a true lift of 10 points, to see that it can pass
protected  a true fall from 90 % to 80 % in a protected type: how often it is let pass, beside the rule "intervals overlap"
clusters   no true effect, items that stand together: how often the gate passes, and what the intervals cover
support    100 items that a heuristic judges, with a true lift of 10 points, and 100 that a verifier judges, with the same one
           or none: how many significant results are refused because the verified items do not support them
flips      no true effect, one model answered twice with flips in one direction: how often the gate passes without and with
           the floor
sound      a true lift of 15 points, 300 items, texts with the faults that real answers have (cut, repetitive, unreadable, in a
           wrong format, several choices), as likely in both models: how many significant results are refused, by how it was
           judged

Every table of outcomes is decided by a real call; tables that come up again are not decided twice. Except in `sound` all
answers are short and of equal length, for the others are about chance and not about what is scored. The seed is fixed.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np

from sft_pipeline.evaluation.gate.pairs import Answer, Pair
from sft_pipeline.evaluation.gate.verdict import Decision, verdict
from sft_pipeline.evaluation.statistics.paired import deciding_p, from_counts
from sft_pipeline.experiment import Gate, Protected

SEED = 11
OUTCOMES = ((True, True), (True, False), (False, True), (False, False))
"""Of base and fine-tuned model: both, lost, won, neither."""


def decide(outcomes, gate: Gate, clusters=None, heuristic: int = 0, flip_rate: float | None = None) -> Decision:
    """The verdict on outcomes (indices into OUTCOMES), one per item; all items are of one type.

    Who judged is not said, unless `heuristic` is given: that many of the first by a heuristic, the others by a verifier.
    """
    names = [None] * len(outcomes) if clusters is None else [f"text {k}" for k in clusters]
    pairs = [
        Pair(
            id=f"{k:04}",
            type="safety",
            base=Answer(f"It is item {k:04}, base.", OUTCOMES[o][0]),
            sft=Answer(f"It is item {k:04}, tune.", OUTCOMES[o][1]),
            verified=k >= heuristic if heuristic else None,
            cluster=cluster,
        )
        for k, (o, cluster) in enumerate(zip(outcomes, names, strict=True))
    ]
    return verdict(pairs, [], gate, flip_rate=flip_rate)


def share(hits: float, runs: int) -> dict[str, float]:
    """A simulated share with the standard error of the simulation."""
    rate = hits / runs
    return {"rate": rate, "error": (max(rate * (1 - rate), 1 / runs) / runs) ** 0.5}


# --------------------------------------------------------------------------------------------------------------- level


def level(test: str, discordance: float, lift: float, runs: int, n: int = 300) -> dict:
    """Share of passes, and of p at or below alpha in either direction, at a true lift (0: both equally good)."""
    gate, rng = Gate(test=test), np.random.default_rng(SEED)

    @cache
    def decided(lost: int, won: int) -> tuple[bool, bool]:
        both = (n - lost - won) // 2
        made = decide(np.repeat(range(4), [both, lost, won, n - both - lost - won]), gate)
        return made.verdict == "pass", deciding_p(made.overall, gate.test) <= gate.alpha

    shares = [(discordance - lift) / 2, (discordance + lift) / 2, 1 - discordance]
    lost, won, _ = rng.multinomial(n, shares, size=runs).T
    found = np.array([decided(int(b), int(c)) for b, c in zip(lost, won, strict=True)])
    return {
        "table": "level",
        "test": test,
        "discordance": discordance,
        "lift": lift,
        "runs": runs,
        "passes": share(found[:, 0].sum(), runs),
        "significant": share(found[:, 1].sum(), runs),
    }


# ----------------------------------------------------------------------------------------------------------- protected


def protected(n: int, runs: int, after: float = 0.80, before: float = 0.90) -> dict:
    """Share in which a fall of a protected type is let pass: by guarantees of two margins, and by overlapping intervals.

    The models fail on items independently of each other.
    """
    gate = Gate(protected=tuple(Protected(name=f"{m}", types=("safety",), margin=m) for m in (0.05, 0.10)))

    # A guarantee looks at the lost and won pairs only, the rule of the intervals at both numbers of successes only.
    @cache
    def held(lost: int, won: int) -> tuple[bool, ...]:
        counts = [n - lost - won, lost, won, 0]
        return tuple(result.verdict == "held" for result in decide(np.repeat(range(4), counts), gate).protected)

    @cache
    def overlapping(base: int, sft: int) -> bool:
        both = min(base, sft)
        counts = [both, base - both, sft - both, n - max(base, sft)]
        return decide(np.repeat(range(4), counts), gate).protected[0].overlap_rule

    shares = [before * after, before * (1 - after), (1 - before) * after, (1 - before) * (1 - after)]
    tables = np.random.default_rng(SEED).multinomial(n, shares, size=runs).tolist()
    found = np.array([(*held(lost, won), overlapping(both + lost, both + won)) for both, lost, won, _ in tables])
    narrow, wide, overlap = (share(found[:, k].sum(), runs) for k in range(3))
    facts = {"table": "protected", "n": n, "before": before, "after": after, "runs": runs}
    return {**facts, "overlap": overlap, "margin_5": narrow, "margin_10": wide}


# ------------------------------------------------------------------------------------------------------------ clusters


def clusters(number: int, size: int, together: float, runs: int) -> dict:
    """No true effect; with probability `together` all items of a cluster have one outcome, else each its own."""
    gate, rng = Gate(bootstrap_samples=1000), np.random.default_rng(SEED)
    shares = [0.35, 0.15, 0.15, 0.35]
    passes = covered_tango = covered_cluster = mcnemar = 0
    for _ in range(runs):
        alone = rng.choice(4, size=(number, size), p=shares)
        shared = rng.choice(4, size=(number, 1), p=shares)
        outcomes = np.where(rng.random((number, 1)) < together, shared, alone).ravel()
        made = decide(outcomes, gate, np.repeat(range(number), size))
        passes += made.verdict == "pass"
        mcnemar += deciding_p(made.overall, gate.test) <= gate.alpha
        covered_tango += made.overall.lift_interval[0] <= 0 <= made.overall.lift_interval[1]
        covered_cluster += made.overall.cluster_interval[0] <= 0 <= made.overall.cluster_interval[1]
    return {
        "table": "clusters",
        "clusters": number,
        "size": size,
        "together": together,
        "runs": runs,
        "passes": share(passes, runs),
        "significant": share(mcnemar, runs),
        "tango": share(covered_tango, runs),
        "cluster": share(covered_cluster, runs),
    }


# ------------------------------------------------------------------------------------------------------------- support


def support(lift: float, runs: int, n: int = 100, discordance: float = 0.2) -> dict:
    """`n` items by a heuristic with a true lift of 10 points, `n` by a verifier with the true `lift`."""
    gate, rng = Gate(), np.random.default_rng(SEED)
    significant = refused = 0

    @cache
    def reasons(of_heuristic: tuple[int, ...], of_verifier: tuple[int, ...]) -> dict[str, str]:
        outcomes = np.concatenate([np.repeat(range(4), counts) for counts in (of_heuristic, of_verifier)])
        return {reason.id: reason.outcome for reason in decide(outcomes, gate, heuristic=n).reasons}

    for _ in range(runs):
        sides = []
        for true in (0.1, lift):
            lost, won = (discordance - true) / 2, (discordance + true) / 2
            sides.append(tuple(rng.multinomial(n, [0.4, lost, won, 0.6 - lost - won]).tolist()))
        overall = from_counts("", *map(sum, zip(*sides, strict=True)))
        if overall.lift > 0 and deciding_p(overall, gate.test) <= gate.alpha:  # only these count
            significant += 1
            refused += reasons(*sides).get("verified") == "refused"
    facts = {"table": "support", "lift_of_verified": lift, "runs": runs, "significant": share(significant, runs)}
    return {**facts, "refused": share(refused, significant)}


# --------------------------------------------------------------------------------------------------------------- flips


def flips(rate: float, runs: int, n: int = 300, base: float = 0.5) -> dict:
    """One model answered twice; a share `rate` of the judgements flips, all of them towards success in the second run."""
    gate, rng = Gate(), np.random.default_rng(SEED)
    floor = without = 0

    @cache
    def passed(won: int, right: int, known: float | None) -> bool:
        counts = [right, 0, won, n - right - won]
        return decide(np.repeat(range(4), counts), gate, flip_rate=known).verdict == "pass"

    for _ in range(runs):
        won = int(rng.binomial(n, rate))
        right = int(round((n - won) * base))
        floor += passed(won, right, rate)
        without += passed(won, right, None)
    facts = {"table": "flips", "rate": rate, "runs": runs}
    return {**facts, "passes": share(floor, runs), "without_floor": share(without, runs)}


# --------------------------------------------------------------------------------------------------------------- sound

WORDS = [
    "river",
    "stone",
    "garden",
    "window",
    "paper",
    "yellow",
    "market",
    "bridge",
    "winter",
    "letter",
    "silver",
    "candle",
    "forest",
    "mirror",
    "ladder",
    "pocket",
]


def sound(scorer: str, runs: int, n: int = 300, lift: float = 0.15) -> dict:
    """A sound lift over texts with the faults that answers have, as likely in both models, judged in one way."""
    rng = np.random.default_rng(SEED)
    significant = refused = 0
    criteria: dict[str, int] = {}
    for _ in range(runs):
        outcomes = rng.choice(4, size=n, p=[0.35, 0.05, 0.05 + lift, 0.4 - lift + 0.15])
        pairs = []
        for k, o in enumerate(outcomes):
            answers = [_answer(rng, k, OUTCOMES[o][m], scorer) for m in (0, 1)]
            known = {"verified": {"verifier": True, "judge": False}.get(scorer), "compared": scorer == "judge"}
            expected = "" if scorer in ("judge", "people") else str(1000 + 7 * k)
            question = f"Question about {' '.join(rng.choice(WORDS, 6))} and {k}?"
            pairs.append(Pair(f"{k:04}", "t", *answers, question, expected, length_free=scorer == "verifier", **known))
        made = verdict(pairs, [], Gate())
        if deciding_p(made.overall, "exact") <= 0.01 and made.overall.lift > 0:
            significant += 1
            refused += made.verdict == "refused"
            for reason in made.reasons:
                if reason.outcome == "refused":
                    criteria[reason.id] = criteria.get(reason.id, 0) + 1
    facts = {"table": "sound", "scorer": scorer, "runs": runs, "significant": share(significant, runs)}
    return {**facts, "refused": share(refused, significant), "criteria": criteria}


def _answer(rng, k: int, success: bool, scorer: str) -> Answer:
    """A right or a wrong answer of 5 to 80 words; one of twenty each is cut, repetitive or unreadable, and fails."""
    right = 1000 + 7 * k
    stated = right if success else right + int(rng.integers(1, 900))
    text = " ".join(rng.choice(WORDS, int(rng.lognormal(3, 0.6)) + 3))
    fault = rng.random() if not success else 1.0
    if fault < 0.05:
        return Answer(text + " and so", success, cut=True)
    if fault < 0.10:
        return Answer("around it goes and " * 20, success, cut=True)
    if fault < 0.15 and scorer == "verifier":
        return Answer(text + ".", success, cut=False, readable=False)
    if fault < 0.20 and scorer == "verifier":
        return Answer(f"{stated}.\n{text} {right}.", success, cut=False, lenient=False)
    return Answer(f"{text} so the answer is {stated}.", success, cut=False)


# -------------------------------------------------------------------------------------------------------------- report

COLUMNS = {
    "level": ("test", "discordance", "lift", "passes", "significant"),
    "protected": ("n", "before", "after", "overlap", "margin_5", "margin_10"),
    "clusters": ("clusters", "size", "together", "significant", "passes", "tango", "cluster"),
    "support": ("lift_of_verified", "significant", "refused"),
    "flips": ("rate", "passes", "without_floor"),
    "sound": ("scorer", "significant", "refused", "criteria"),
}


def cells(tables: list[str], runs: int) -> list[tuple]:
    """Function and arguments of every cell of the tables."""
    found = []
    if "level" in tables:
        # The last line is no error but a check that the simulated gate can pass: the power at a lift of ten points.
        plan = [(0.02, 0.0), (0.05, 0.0), (0.1, 0.0), (0.2, 0.0), (0.3, 0.0), (0.5, 0.0), (0.2, 0.1)]
        found += [(level, test, d, lift, 10 * runs) for test in ("exact", "midp") for d, lift in plan]
    if "protected" in tables:
        found += [(protected, n, 5 * runs, after) for n in (300, 120, 60, 30) for after in (0.80, 0.90)]
    if "clusters" in tables:
        found += [(clusters, k, 300 // k, t, runs // 2) for k in (10, 30, 60, 150) for t in (0.0, 0.5)]
    if "support" in tables:
        found += [(support, lift, 2 * runs) for lift in (0.1, 0.0)]
    if "flips" in tables:
        found += [(flips, rate, 10 * runs) for rate in (0.01, 0.03, 0.05)]
    if "sound" in tables:
        found += [(sound, scorer, runs // 2) for scorer in ("verifier", "people", "supplied", "judge")]
    return found


def shown(value) -> str:
    if isinstance(value, dict) and "rate" not in value:
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "–"
    if isinstance(value, dict):
        return f"{100 * value['rate']:.2f} ± {100 * value['error']:.2f} %"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[[], *COLUMNS])
    parser.add_argument(
        "--runs",
        type=int,
        default=2000,
        help="per cell; times 10 for level, 5 for protected, 1/2 for clusters, 2 for support",
    )
    options = parser.parse_args()
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(*cell) for cell in cells(options.tables or list(COLUMNS), options.runs)]
        rows = []
        for job in jobs:
            rows.append(job.result())
            print(json.dumps(rows[-1]), flush=True)
    for name, columns in COLUMNS.items():
        if chosen := [row for row in rows if row["table"] == name]:
            print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
            for row in chosen:
                print(f"| {' | '.join(shown(row[column]) for column in columns)} |")
    worst = max((row["passes"]["rate"] for row in rows if "passes" in row and not row.get("lift")), default=0.0)
    print(
        f"\n{time.perf_counter() - start:.0f} s; largest share of passes without an effect {100 * worst:.2f} % (target 1.2 %)"
    )
    raise SystemExit(int(worst > 0.012))


if __name__ == "__main__":
    main()
