"""Which code an asset's result depends on: its `code_version`, from the sources themselves.

A version that is raised by hand is forgotten by hand, and then an old result passes for a new one. The hash ignores
comments and docstrings. Plots and texts count as code too: they are part of what is stored.
"""

from sft_pipeline.provenance.code import code_hash

_ROWS = ("dataset/table.py", "dataset/text.py")
_PAGE = ("report/data_html.py", "report/data_plots.py", "report/data_template.py", "report/excerpt.py")
_GATE_PAGE = (
    "report/gate_json.py",
    "report/gate_text.py",
    "report/gate_plots.py",
    "report/gate_distributions.py",
    "report/gate_html.py",
    "report/gate_template.py",
    "report/gate_items.py",
    "report/page_style.py",
    "report/data_html.py",
    "report/excerpt.py",
)
_ANSWER = ("model/loader.py", "model/greedy.py", "generation/engines")
_GENERATIONS = (*_ANSWER, "generation/answers.py", "generation/partial.py")
_SUCCESS = (
    *_ANSWER,
    "generation/success.py",
    "evaluation/scoring.py",
    "evaluation/scorers",
    "evaluation/limited.py",
    "evaluation/math_equality.py",
    "evaluation/labels.py",
)
_PLAN = (
    "training/plan.py",
    "training/plan_rows.py",
    "training/plan_schedule.py",
    "training/plan_device.py",
    "training/plan_gate.py",
    "training/rules/rate.py",
    "training/plan_inputs.py",
    "training/schedule.py",
    "training/shapes.py",
    "training/memory.py",
    "model/snapshot.py",
    "evaluation/power.py",
    "report/plan_text.py",
    "report/training_plots.py",
)
_TRAIN = (
    "training/schedule.py",  # the order of the rows decides the weights
    "training/trainer.py",
    "training/options.py",
    "training/assembly.py",
    "training/processes.py",
    "training/data.py",
    "training/mask_audit.py",
    "report/mask_html.py",
    "training/callbacks",
    "training/checkpoints.py",
    "training/manifest.py",
    "model/loader.py",
)

MODULES: dict[str, tuple[str, ...]] = {
    "raw_dataset": (*_ROWS, "dataset/source", "dataset/embedded"),
    "clean_dataset": (
        *_ROWS,
        *_PAGE,
        "dataset/cleaning",
        "dataset/filters",
        "dataset/duplicates",
        "dataset/croissant.py",
        "model/critic.py",
    ),
    "splits": (*_ROWS, "dataset/split", "dataset/leakage", "dataset/duplicates", "dataset/croissant.py"),
    "base_model": ("model/snapshot.py", "model/tiny.py", "dataset/embedded/world.py", "dataset/embedded/corpus.py"),
    "base_model_guard": ("model/guard.py", "model/loader.py", "model/greedy.py"),
    "training_plan": (*_PLAN, *_SUCCESS),
    "lora_adapter": _TRAIN,
    "training_report": (
        "training/diagnosis.py",
        "training/curves.py",
        "training/rules",
        "training/schedule.py",
        "report/training_plots.py",
    ),
    "base_generations": _GENERATIONS,
    "sft_generations": _GENERATIONS,
    "checkpoint_series": (
        *_SUCCESS,
        "generation/answers.py",
        "generation/partial.py",
        "generation/series.py",
        "evaluation/statistics.py",
        "report/series_plot.py",
        "report/series_table.py",
    ),
    "gate_report": ("evaluation", *_GATE_PAGE),
}
"""Modules by asset, relative to the package; `splits` serves train, dev and test."""


def code_version(asset: str) -> str:
    """The version of the code behind `asset`."""
    return code_hash(*MODULES[asset])
