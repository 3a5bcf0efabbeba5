"""The search report: trials on a part of the dev split, then the best of them against the default on the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sft_pipeline.artifacts import (
    Confirmation,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    SearchReport,
    SearchTrial,
    eligibility,
)
from sft_pipeline.errors import DataError, PreconditionError, TrainingError
from sft_pipeline.evaluation.inputs.repeated_questions import clusters_of_rows
from sft_pipeline.experiment import Experiment, Search
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.search import confirmation, trial
from sft_pipeline.search.halves import halves, part
from sft_pipeline.search.processes import run_all
from sft_pipeline.search.study import Study
from sft_pipeline.search.write_report import write
from sft_pipeline.training import nodes

BEST = 3
"""Trials that are confirmed."""

NONE = "none.txt"
"""What stands in the place of a search that the specification does not declare."""


@dataclass(frozen=True)
class Inputs:
    """What a search is made from.

    Attributes:
        experiment: the specification, with a search.
        name: the experiment's name.
        base: the base model.
        guard: its guard.
        train: the training rows.
        dev: the dev split; the test split is no input.
        root: the project's root.
        work: the step's own folder, where a killed search resumes.
    """

    experiment: Experiment
    name: str
    base: ModelSnapshot
    guard: GuardReport
    train: InstructionDataset
    dev: InstructionDataset
    root: Path
    work: Path

    @property
    def search(self) -> Search:
        """The declared search."""
        assert self.experiment.search is not None
        return self.experiment.search


def none(out: Path) -> SearchReport:
    """The report of an experiment without a search."""
    (out / NONE).write_text("The specification declares no search.\n")
    return SearchReport.finalize(out)


def search(inputs: Inputs, out: Path, log: Callable[[str], object]) -> SearchReport:
    """Search, confirm, and write the report to the empty folder `out`.

    Raises:
        PreconditionError: guard or dev split did not pass, or the environment declares several nodes.
        SpecificationError: the work folder holds another search.
        DataError: the dev split is too small to be divided, or to confirm anything.
        TrainingError: all trials, or a training of the default, failed, or a signal came.
    """
    declared, dev, work = inputs.search, inputs.dev, inputs.work
    if nodes.here():
        raise PreconditionError(f"a search trains on one node: unset {nodes.NODES}")
    eligibility.require("search", eligibility.guard_problems(inputs.guard) + eligibility.split_problems(dev))
    seen, kept = halves(dev, inputs.experiment)
    groups = clusters_of_rows(kept)
    independent = len({name if name is not None else id for id, name in groups.items()})
    if not confirmation.decidable(independent, declared.alpha, BEST):
        raise DataError(
            f"the confirmation has {len(kept)} rows in {independent} independent clusters: no result could show a gain at "
            f"search.alpha {declared.alpha:g}. Raise data.split.dev_size, search.confirmation_share or search.alpha"
        )
    rows = part(dev, seen, work / "search_rows")
    study = Study(work, declared, fingerprint(inputs))
    run_trials(inputs, study, rows, log)
    trials = study.finished()
    chosen = best(trials, declared.minimises)
    if not chosen:
        reasons = "; ".join(f"trial {t.number}: {t.reason}" for t in trials[:3])
        raise TrainingError(f"none of the {len(trials)} trials was completed: {reasons}")
    seeds = fresh_seeds(declared, inputs.experiment.training.seed)
    results = _confirming(inputs, chosen, rows, seeds, log)
    fields = _judged(inputs, chosen, results, {row["id"] for row in seen}, groups)
    fields |= {
        "objective": declared.objective,
        "trials": tuple(trials),
        "rows": (len(seen), len(kept)),
        "clusters": independent,
        "seeds": seeds,
        "alpha": declared.alpha,
        "notes": tuple(_notes(declared, trials, fields.pop("unjudged"))),
    }
    return write(inputs.experiment, inputs.name, fields, _origin(inputs), study, results, out)


def best(trials: Sequence[SearchTrial], minimises: bool) -> list[SearchTrial]:
    """The best completed trials with different parameters, the best first; of equal ones the earlier."""
    found: dict[str, SearchTrial] = {}
    sign = 1 if minimises else -1
    complete = [t for t in trials if t.state == "complete" and t.figure is not None]
    for one in sorted(complete, key=lambda t: (sign * (t.figure or 0.0), t.number)):
        found.setdefault(hash_value(one.parameters), one)
    return list(found.values())[:BEST]


def fresh_seeds(search: Search, used: int) -> tuple[int, ...]:
    """Seeds of the confirming trainings, none of which is that of the trials."""
    drawn = (int(hash_value([search.seed, "confirmation", k])[:8], 16) for k in range(search.seeds + 1))
    return tuple(seed for seed in drawn if seed != used)[: search.seeds]


def of_trial(experiment: Experiment, parameters: Mapping[str, Any], seed: int | None = None) -> Experiment:
    """The specification of a trial, or of a confirming training where it has a seed of its own."""
    assert experiment.search is not None
    values: dict[str, Any] = {
        "training.report_to": [],
        "training.keep_checkpoints": "last",
        "training.validation_prompts": 0,
    }
    if steps := experiment.search.trial_steps:
        # A short trial sees a part of the data on purpose.
        values |= {"training.max_steps": steps, "training.epochs": None, "training.min_coverage": 1e-9}
    if seed is not None:
        values["training.seed"] = seed
    return experiment.with_values(values | dict(parameters))


def run_trials(inputs: Inputs, study: Study, rows: InstructionDataset, log: Callable[[str], object]) -> None:
    """Make the trials that are missing from the study, on the search rows."""
    declared = inputs.search

    def begin(number: int) -> trial.Job | None:
        steps, seconds = study.spent()
        budget = declared.budget
        if steps >= (budget.steps or float("inf")) or seconds >= 3600 * (budget.hours or float("inf")):
            return None
        earlier = study.completed_losses() if declared.pruner == "median" else None
        experiment = of_trial(inputs.experiment, study.ask(number))
        return _job(inputs, experiment, rows, rows, inputs.work / "trials" / f"{number:04d}", earlier)

    def done(number: int, result: Mapping[str, Any]) -> None:
        study.tell(number, result)
        text = f"{result['figure']:.4g}" if result["state"] == "complete" else result["reason"]
        log(f"trial {number + 1} of {declared.trials}: {result['state']}, {text}")

    run_all(declared.trials, declared.devices, begin, done)


def _confirming(
    inputs: Inputs,
    chosen: Sequence[SearchTrial],
    rows: InstructionDataset,
    seeds: Sequence[int],
    log: Callable[[str], object],
) -> dict[str, list[dict[str, Any]]]:
    """The results of the default and of the chosen trials, by name and seed, on the whole dev split."""
    arms = {"default": {}, **{str(one.number): one.parameters for one in chosen}}
    jobs = [(name, k) for k in range(len(seeds)) for name in arms]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}

    def begin(number: int) -> trial.Job:
        name, k = jobs[number]
        experiment = of_trial(inputs.experiment, arms[name], seeds[k])
        return _job(inputs, experiment, rows, inputs.dev, inputs.work / "confirmation" / f"{name}-{k}")

    def done(number: int, result: dict[str, Any]) -> None:
        name, k = jobs[number]
        if result["state"] != "complete" and name == "default":
            raise TrainingError(f"the default cannot be trained with seed {seeds[k]}: {result['reason']}")
        found[name].append(result)
        log(f"confirmation, {name if name == 'default' else f'trial {name}'}, seed {seeds[k]}: {result['state']}")

    run_all(len(jobs), inputs.search.devices, begin, done)
    return found


def _job(
    inputs: Inputs,
    experiment: Experiment,
    rows: InstructionDataset,
    asked: InstructionDataset,
    folder: Path,
    earlier: list[dict[int, float]] | None = None,
) -> trial.Job:
    given = inputs.base, inputs.guard, inputs.train, rows, asked, inputs.root, folder, earlier
    return trial.Job(experiment, inputs.search.objective, *given)


def _judged(
    inputs: Inputs,
    chosen: Sequence[SearchTrial],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    seen: set[str],
    groups: Mapping[str, str | None],
) -> dict[str, Any]:
    """Verdict, confirmations and figures of the default; `unjudged` counts confirmation rows that are left out."""
    declared = inputs.search
    sign = -1.0 if declared.minimises else 1.0
    failed = {name: next((r["reason"] for r in arm if r["state"] != "complete"), "") for name, arm in results.items()}
    arms = {
        name: [{id: (sign * value, weight) for id, value, weight in one["outcomes"]} for one in arm]
        for name, arm in results.items()
        if not failed[name]
    }
    known = [one.keys() for arm in arms.values() for one in arm]
    compared = {id: name for id, name in groups.items() if all(id in ids for ids in known)}
    if not compared:
        raise DataError("no row of the confirmation could be judged for every training")
    on_search_rows = dict.fromkeys(id for id in seen if all(id in ids for ids in known))
    names = [name for name in arms if name != "default"]
    gains = confirmation.compare(
        arms["default"], [arms[name] for name in names], compared, declared.alpha, declared.seed
    )
    found = dict(zip(names, gains))
    confirmations = []
    for one in chosen:
        name, searched = str(one.number), one.figure
        assert searched is not None
        own: dict[str, Any] = {"trial": one.number, "parameters": one.parameters, "searched": searched, "figure": None}
        if gain := found.get(name):
            figures = [sign * value for value in confirmation.by_seed(arms[name], compared)]
            mean = fmean(figures)
            own |= {"figure": mean, "by_seed": tuple(figures), "optimism": sign * (searched - mean)}
            own |= gain._asdict() | {"gain_interval": gain.interval}
            del own["interval"]
        else:
            own["reason"] = failed[name]
        confirmations.append(Confirmation(**own))
    defaults = [sign * value for value in confirmation.by_seed(arms["default"], compared)]
    winner = next((c.trial for c in confirmations if c.better), None)
    return {
        "verdict": "no_better" if winner is None else "better",
        "winner": winner,
        "confirmations": tuple(confirmations),
        "default": fmean(defaults),
        "default_by_seed": tuple(defaults),
        "default_on_search_rows": sign * fmean(confirmation.by_seed(arms["default"], on_search_rows))
        if on_search_rows
        else None,
        "unjudged": len(groups) - len(compared),
    }


def _notes(search: Search, trials: Sequence[SearchTrial], unjudged: int) -> list[str]:
    notes = []
    if len(trials) < search.trials:
        notes.append(f"The budget ended the search after {len(trials)} of {search.trials} trials.")
    if search.trial_steps:
        notes.append(
            f"Trials and confirmation made {search.trial_steps:,} steps each: what is best after these need not be best after "
            "a whole training."
        )
    if unjudged:
        notes.append(f"{unjudged} confirmation rows could not be judged for every training and are left out.")
    if failed := sum(t.state == "failed" for t in trials):
        notes.append(f"{failed} of {len(trials)} trials failed; the table says why.")
    return notes


def _origin(inputs: Inputs) -> dict[str, str]:
    """Versions of what the search was made from."""
    made = {"train_split": inputs.train, "dev_split": inputs.dev, "base_model": inputs.base}
    return {name: artifact.version for name, artifact in made.items()} | {"search": fingerprint(inputs)}


def fingerprint(inputs: Inputs) -> str:
    """Hash of all that the trials depend on: another search must not continue in the same storage."""
    experiment = inputs.experiment.model_dump(
        mode="json", include={"search", "prompt", "training", "generation", "data"}
    )
    experiment |= {
        "model": inputs.experiment.model.loading,
        "scorers": inputs.experiment.evaluation.model_dump(mode="json"),
    }
    made = [artifact.version for artifact in (inputs.base, inputs.train, inputs.dev)]
    return hash_value([experiment, made])
