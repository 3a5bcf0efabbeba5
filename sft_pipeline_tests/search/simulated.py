"""Searches that cannot find anything, for the tests and for benchmarks/search.py."""

import random

from sft_pipeline.search.confirmation import compare


def simulated(seed: int, trials: int = 20, rows: int = 100, seeds: int = 3, alpha: float = 0.05) -> bool:
    """Whether a search over configurations that do not differ comes out as better than the default.

    Every training has a success rate of its own, 50 % with a standard deviation of three points between seeds, and every row a
    difficulty of its own. The best three of the trials on the search rows are trained again.
    """
    rng = random.Random(seed)
    hard = [rng.gauss(0.0, 0.2) for _ in range(2 * rows)]

    def training() -> dict[str, tuple[float, float]]:
        luck = rng.gauss(0.0, 0.03)
        return {f"i{k}": (float(rng.random() < 0.5 + luck + h), 1.0) for k, h in enumerate(hard)}

    figures = [sum(value for value, _ in list(training().values())[:rows]) for _ in range(trials)]
    best = sorted(range(trials), key=lambda k: -figures[k])[:3]
    kept = {f"i{k}": None for k in range(rows, 2 * rows)}
    default, *chosen = ([training() for _ in range(seeds)] for _ in [None, *best])
    return any(gain.better for gain in compare(default, chosen, kept, alpha, seed))
