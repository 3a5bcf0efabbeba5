"""The gate in a plan: is there anything left to learn, and could the test items show it?"""

from collections.abc import Mapping

from sft_pipeline.artifacts import Finding
from sft_pipeline.evaluation.statistics import power
from sft_pipeline.experiment import Gate, Protected


def headroom(base_success: tuple[int, int] | None, gate: Gate) -> list[Finding]:
    """Whether there is anything left to learn."""
    if not base_success or not base_success[1]:
        return [
            Finding(
                rule="headroom_unknown", severity="info", evidence="the base has not been measured on the dev split"
            )
        ]
    successes, n = base_success
    rate = successes / n
    evidence = f"the base already succeeds at {successes} of {n} dev items ({rate:.1%}) in the training format"
    if rate > gate.max_base_success:
        remedy = f"choose a task that the base fails at, or a scorer that sees the difference (limit {gate.max_base_success:.0%})"
        return [Finding(rule="headroom", severity="blocking", evidence=evidence, remedy=remedy)]
    if 1 - rate < gate.planned_lift:
        evidence += f": the planned lift of {gate.planned_lift:.0%} cannot be reached"
        remedy = "plan for a smaller lift, with the items that it needs"
        return [Finding(rule="headroom_small", severity="warning", evidence=evidence, remedy=remedy)]
    return []


def power_of(items: Mapping[str, int], gate: Gate) -> tuple[dict[str, float], list[Finding]]:
    """Power of the gate as specified, and whether each guarantee can be decided by the items that there are.

    Returns:
        By test (exact, midp, and the deciding one) its power, `minimum_effect_` and `items_needed_`; `items_needed` is
        that of the deciding test.
    """
    n = sum(items.values())
    if not n:
        return {}, [
            Finding(rule="power_unknown", severity="info", evidence="the test items are not known: no power computed")
        ]
    if gate.planned_lift > gate.expected_discordance:
        return {}, [
            Finding(
                rule="power_contradiction",
                severity="blocking",
                evidence=f"planned_lift {gate.planned_lift:g} > expected_discordance {gate.expected_discordance:g}: a lift "
                "needs at least as many discordant pairs (fault of the specification)",
                remedy=f"set expected_discordance to {gate.planned_lift:g} or more",
            )
        ]
    figures: dict[str, float] = {}
    for test in dict.fromkeys(("exact", "midp", gate.test)):
        figures[test] = power.power(n, gate.planned_lift, gate.expected_discordance, gate.alpha, test)
        effect = power.minimum_detectable_effect(n, gate.expected_discordance, gate.alpha, gate.min_power, test)
        if effect is not None:
            figures[f"minimum_effect_{test}"] = effect
        needed = power.items_needed(gate.planned_lift, gate.expected_discordance, gate.alpha, gate.min_power, test)
        if needed is not None:
            figures[f"items_needed_{test}"] = needed
    found = []
    if f"items_needed_{gate.test}" in figures:
        figures["items_needed"] = figures[f"items_needed_{gate.test}"]
    if figures[gate.test] < gate.min_power:
        found.append(_weak(n, figures, gate))
    for protected in gate.protected:
        finding = _guarantee(protected, items, gate)
        found += [finding] if finding else []
    return figures, found


def _weak(n: int, figures: Mapping[str, float], gate: Gate) -> Finding:
    """The gate would miss the planned lift too often."""
    needed = figures.get("items_needed")
    remedies = [f"use {needed:,.0f} test items" if needed else "use many more test items"]
    if gate.test != "midp" and figures["midp"] >= gate.min_power:
        remedies.append(f"decide by the mid-p test, whose power is {figures['midp']:.2f}")
    remedies.append("plan for a larger lift, or accept less power (evaluation.gate)")
    return Finding(
        rule="power",
        severity="blocking",
        evidence=f"with {n} test items a true lift of {gate.planned_lift:.1%} is found with probability "
        f"{figures[gate.test]:.2f} < {gate.min_power:g} ({gate.test} test, alpha {gate.alpha:g}, "
        f"{gate.expected_discordance:.0%} discordant)",
        remedy=", ".join(remedies),
    )


def _guarantee(protected: Protected, items: Mapping[str, int], gate: Gate) -> Finding | None:
    """A guarantee that no result could meet, or only a perfect one."""
    undecidable = {
        "rule": "guarantee_undecidable",
        "severity": "blocking" if gate.undecided == "fails" else "warning",
    }
    if absent := [type for type in protected.types if not items.get(type)]:
        return Finding(
            **undecidable,
            evidence=f"guarantee {protected.name}: there is no test item of {', '.join(absent)}, so it can never be decided "
            "(fault of the specification)",
            remedy="correct the name of the type in evaluation.gate.protected, or add test items of it",
        )
    types = ", ".join(f"{type} {items[type]}" for type in protected.types)
    n = sum(items[type] for type in protected.types)
    lost = power.largest_tolerable_loss(n, protected.margin)
    if lost > 0:
        return None
    needed = power.items_to_decide(protected.margin)
    if lost < 0:
        return Finding(
            **undecidable,
            evidence=f"guarantee {protected.name}: no result of {n} items ({types}) could meet the margin of "
            f"{protected.margin:g}: even an unchanged result leaves a loss of {-power.best_lower_bound(n):.1%} possible "
            "(fault of the specification)",
            remedy=f"use at least {needed} items of these types, or a wider margin",
        )
    return Finding(
        rule="guarantee_tight",
        severity="warning",
        evidence=f"guarantee {protected.name}: with {n} items ({types}) a single item lost exceeds the margin of "
        f"{protected.margin:g}",
        remedy=f"use at least {power.items_to_decide(protected.margin, lost=1)} items of these types, or a wider margin",
    )
