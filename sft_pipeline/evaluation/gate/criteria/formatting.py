"""How figures and ids are written in a reason."""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult


def percent(share: float) -> str:
    """A share as 12.3 %."""
    return f"{100 * share:.1f} %"


def signed(difference: float) -> str:
    """A difference of proportions in points with its sign, a true minus included."""
    return minus(f"{100 * difference:+z.1f}")


def minus(number: str) -> str:
    """A formatted number with a true minus."""
    return number.replace("-", "−")


def interval(bounds: tuple[float, float]) -> str:
    """An interval of a difference of proportions in points."""
    return f"95 % interval {signed(bounds[0])} to {signed(bounds[1])}"


def lift(result: GroupResult) -> str:
    """Lift with its interval, and the counts behind it."""
    return f"{signed(result.lift)} points ({interval(result.lift_interval)}; {result.won} won, {result.lost} lost of {result.n})"


def some(ids: Sequence[str]) -> str:
    """How many items, and the ids of the first three of them."""
    return f"{len(ids)} items ({', '.join(sorted(ids)[:3])}{', …' if len(ids) > 3 else ''})"
