"""How long do the statistics of a whole decision take? 100,000 items, 30 types, clusters, 2,000 bootstrap samples.

    .venv/bin/python benchmarks/gate_statistics.py             # target: below 15 s of processor time, 600 MiB

The clock runs over `verdict()`, with two guarantees and some judgements missing: everything between judged pairs and the
finished decision. Prints the processor time and the memory; exits with 1 when a target is missed.
"""

import argparse
import cProfile
import pstats
import resource
import time

import numpy as np

from sft_pipeline.evaluation.gate.pairs import Answer, Pair
from sft_pipeline.evaluation.gate.verdict import verdict
from sft_pipeline.experiment import Gate, Protected

TARGET, MEMORY = 15.0, 600.0
"""Seconds of processor time, MiB."""


def made_pairs(items: int, types: int, clusters: int) -> list[Pair]:
    """Pairs with a lift that differs by type, clusters of unequal size, and one missing judgement in a hundred."""
    rng = np.random.default_rng(3)
    kind, cluster = rng.integers(types, size=items), (clusters * rng.random(items) ** 2).astype(int)
    ease = rng.normal(0, 1, clusters)[cluster]
    base = ease + rng.normal(0, 1, items) > 0.5
    sft = ease + rng.normal(0, 1, items) > 0.4 - 0.01 * kind
    words = np.array([f"{a}{b}" for a in ("stone", "river", "cloud", "paper") for b in ("wise", "land", "yard", "way")])
    texts = [" ".join(words[rng.integers(16, size=size)]) for size in rng.integers(3, 60, size=2 * items)]
    missing = rng.random((2, items)) < 0.005
    return [
        Pair(
            id=f"item {k}",
            type=f"type {kind[k]:02}",
            base=Answer(f"{texts[k]} {k}.", None if missing[0, k] else bool(base[k])),
            sft=Answer(f"{texts[items + k]} {k}.", None if missing[1, k] else bool(sft[k])),
            instruction=f"What is {k} of {texts[k][:20]}?",
            cluster=f"cluster {cluster[k]}",
        )
        for k in range(items)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--types", type=int, default=30)
    parser.add_argument("--clusters", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--profile", action="store_true", help="decide again and print the largest parts")
    options = parser.parse_args()
    pairs = made_pairs(options.items, options.types, options.clusters)
    guarantees = tuple(Protected(name=f"type {k:02}", types=(f"type {k:02}",), margin=0.05) for k in range(2))
    gate = Gate(bootstrap_samples=options.samples, protected=guarantees)
    start = time.process_time()
    decision = verdict(pairs, [], gate)
    seconds = time.process_time() - start
    for reason in decision.reasons:
        print(f"{reason.outcome:8} {reason.criterion}: {reason.detail}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.profile:
        with cProfile.Profile() as profile:
            verdict(pairs, [], gate)
        pstats.Stats(profile).sort_stats("cumulative").print_stats("sft_pipeline", 20)
    print(
        f"{options.items} items, {options.types} types, {decision.overall.clusters} clusters, {options.samples} samples: "
        f"{seconds:.2f} s for the first decision, imports of scipy included (target {TARGET:g} s), peak {memory:.0f} MiB (target {MEMORY:g})"
    )
    raise SystemExit(seconds > TARGET or memory > MEMORY)


if __name__ == "__main__":
    main()
