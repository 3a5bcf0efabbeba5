"""All benchmarks asked of a model, and two models compared by what they said and by the scores."""

import pytest


def all_tasks(benchmarks, experiment_of, folder):
    """All tasks of all benchmarks, by benchmark, with short answers: the harness's own model refuses 1,024 tokens of 512."""
    from sft_pipeline.capabilities import harness
    from sft_pipeline.capabilities.measure import planned

    spec = experiment_of(benchmarks=benchmarks).evaluation.capabilities
    found = {
        name: harness.tasks(name, plan.benchmark, plan.items, plan.positions, folder)
        for name, plan in planned(spec, folder).items()
    }
    for name in ("humaneval", "gsm8k"):
        found[name][name].task.set_config("generation_kwargs", {"max_gen_toks": 24}, update=True)
    return found


def answered(tasks, model, folder):
    """Per request what the model said, and per item the scores."""
    from sft_pipeline.capabilities import harness

    folder.mkdir(parents=True, exist_ok=True)
    said, scores = {}, {}
    for name, own in tasks.items():
        scores[name] = harness.measure(own, model, folder / name)
        said[name] = [instance.resps[0] for task in own.values() for instance in task.task.instances]
    return said, scores


def require_equal(found, expected, tolerance):
    for name in expected[0]:
        for ours, theirs in zip(found[0][name], expected[0][name], strict=True):
            if isinstance(theirs, str):
                assert ours == theirs
            else:
                assert ours[0] == pytest.approx(theirs[0], abs=tolerance)
                assert ours[1] == theirs[1]
        assert [one._replace(score=0) for own in found[1][name].values() for one in own] == [
            one._replace(score=0) for own in expected[1][name].values() for one in own
        ]
        scores, wanted = ([one.score for own in side[1][name].values() for one in own] for side in (found, expected))
        assert scores == pytest.approx(wanted, abs=tolerance)
