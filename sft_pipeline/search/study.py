"""Optuna's study in a journal file: what was tried, and what is tried next.

One process writes it: trials never see the storage, so that none can be left running in it, and what they found is entered in
the order of their numbers. A trial's parameters depend on its number and on the trials before it alone, whenever the search
was killed: the sampler is seeded for each trial, and a trial enters the journal whole, in one record.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import SearchTrial
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import Parameter, Search
from sft_pipeline.experiment.search import is_integer
from sft_pipeline.provenance import files, journal
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

FILE = "study.journal"

STARTUP = 5
"""Finished trials before the median pruner ends any, Optuna's own default."""


class Study:
    """The study in `folder`, which is created where there is none.

    Raises:
        SpecificationError: the journal there belongs to another search.
    """

    def __init__(self, folder: Path, search: Search, fingerprint: str):
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._search, self.folder = search, folder
        path = folder / FILE
        _repair(path)
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))
        self.inner: OptunaStudy = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="minimize" if search.minimises else "maximize",
            load_if_exists=True,
        )
        found = self.inner.user_attrs.get("fingerprint")
        if found is None and not self.inner.trials:
            self.inner.set_user_attr("fingerprint", fingerprint)
        elif found != fingerprint:
            raise SpecificationError(
                f"{path} is the storage of another search: parameters, objective, data or base differ from the present ones. "
                "Remove it to start again, or go back to the specification that it was made with"
            )

    def ask(self, number: int) -> dict[str, Any]:
        """The parameters of a trial, by path: those that it has, or new ones from what is known of the trials before it."""
        import optuna

        known = self.inner.get_trials(deepcopy=False)
        if number >= len(known):
            memory = optuna.create_study(direction=self.inner.direction, sampler=self._sampler(number))
            memory.add_trials(known)
            distributions = {path: _distribution(path, p) for path, p in self._search.parameters.items()}
            drawn = memory.ask(distributions)
            running = optuna.trial.TrialState.RUNNING
            self.inner.add_trial(
                optuna.trial.create_trial(state=running, params=drawn.params, distributions=distributions)
            )
            known = self.inner.get_trials(deepcopy=False)
        return self._values(known[number].params)

    def tell(self, number: int, result: Mapping[str, Any]) -> None:
        """Enter what became of a trial (see trial.py), unless that was done before."""
        from optuna.trial import TrialState

        trial = self.inner.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        storage, identity = self.inner._storage, trial._trial_id
        for step, loss in result["reports"]:
            storage.set_trial_intermediate_value(identity, step, loss)
        for name in ("steps", "seconds", "reason"):
            storage.set_trial_user_attr(identity, name, result[name])
        if result["state"] == "complete":
            self.inner.tell(number, result["figure"])
        else:
            self.inner.tell(number, state=TrialState.PRUNED if result["state"] == "pruned" else TrialState.FAIL)

    def finished(self) -> list[SearchTrial]:
        """The trials with a result, in the order of their numbers."""
        from optuna.trial import TrialState

        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        return [
            SearchTrial(
                number=trial.number,
                parameters=self._values(trial.params),
                state=states[trial.state],
                figure=trial.value,
                steps=trial.user_attrs["steps"],
                reason=trial.user_attrs["reason"],
            )
            for trial in self.inner.get_trials(deepcopy=False)
            if trial.state in states
        ]

    def spent(self) -> tuple[int, float]:
        """Steps and seconds of the finished trials together."""
        attributes = [t.user_attrs for t in self.inner.get_trials(deepcopy=False) if t.state.is_finished()]
        return sum(a["steps"] for a in attributes), sum(a["seconds"] for a in attributes)

    def completed_losses(self) -> list[dict[int, float]]:
        """Dev losses by step of each completed trial, for the pruner."""
        from optuna.trial import TrialState

        complete = (TrialState.COMPLETE,)
        return [dict(t.intermediate_values) for t in self.inner.get_trials(deepcopy=False, states=complete)]

    def _sampler(self, number: int) -> "BaseSampler":
        from optuna.samplers import RandomSampler, TPESampler

        kind = {"tpe": TPESampler, "random": RandomSampler}[self._search.sampler]
        return kind(seed=int(hash_value([self._search.seed, number])[:8], 16))

    def _values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            path: params[path] if p.choices is None else p.choices[_names(p).index(params[path])]
            for path, p in self._search.parameters.items()
        }


def prunes(earlier: list[dict[int, float]], losses: Mapping[int, float]) -> bool:
    """Whether Optuna's median pruner ends a trial with these dev losses by step, after these completed ones."""
    import optuna

    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP))
    for values in earlier:
        last = values[max(values)] if values else 0.0
        study.add_trial(optuna.trial.create_trial(value=last, intermediate_values=values))
    trial = study.ask()
    for step, loss in losses.items():
        trial.report(loss, step)
    return trial.should_prune()


def _distribution(path: str, parameter: Parameter) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices is not None:
        return CategoricalDistribution(_names(parameter))
    if is_integer(path, parameter.low):
        assert isinstance(parameter.low, int)
        assert isinstance(parameter.high, int)
        step = parameter.step or 1
        assert isinstance(step, int)
        return IntDistribution(parameter.low, parameter.high, parameter.log, step)
    assert parameter.low is not None
    assert parameter.high is not None
    return FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _names(parameter: Parameter) -> list[Any]:
    """The choices as Optuna takes them: a list as its JSON."""
    return [json.dumps(c) if isinstance(c, list | tuple | dict) else c for c in parameter.choices or ()]


def _repair(path: Path) -> None:
    """Remove what a killed process has left: a lock, since the step's own lock lets one process alone write, and half a record."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    with open(path, "rb") as file:
        whole = b"".join(line + b"\n" for line in journal.complete_lines(file))
    if len(whole) != path.stat().st_size:
        files.write(path, whole)


def pictures(study: Study, target: str) -> dict[str, bytes]:
    """Optuna's own plots as PNG, by name: history, and of several trials importances and parallel coordinates."""
    import matplotlib
    import optuna
    from optuna.trial import TrialState

    from sft_pipeline.report.gate.plots import png

    matplotlib.use("Agg")
    complete = study.inner.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    made: dict[str, bytes] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        from matplotlib import pyplot
        from optuna.visualization import matplotlib as plots

        drawn = {"history": lambda: plots.plot_optimization_history(study.inner, target_name=target)}
        if len({trial.value for trial in complete}) > 1:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            drawn["parallel"] = lambda: plots.plot_parallel_coordinate(study.inner, target_name=target)
            if len(study.inner.trials[0].params) > 1:
                drawn["importances"] = lambda: plots.plot_param_importances(study.inner, evaluator, target_name=target)
        for name, draw in drawn.items():
            figure = draw().figure
            made[name] = png(figure)
            pyplot.close(figure)
    return made
