"""Which code an asset's result depends on: its `code_version`, from the sources themselves.

A version that is raised by hand is forgotten by hand, and so is a list of modules; then an old result passes for a new
one. So an asset only names where its work begins: what that imports counts, and what is left out says why. The hash
ignores comments and docstrings. Plots and texts count as code too: they are part of what is stored.
"""

from sft_pipeline.provenance.code import code_hash, members, with_imports

SCORERS = ("evaluation/scorers", "evaluation/scoring/math_equality.py", "evaluation/scoring/sandbox_child.py")

MODULES: dict[str, tuple[str, ...]] = {
    "raw_dataset": ("dataset/source/read.py",),
    "clean_dataset": ("dataset/cleaning/clean.py", "model/critic.py", "model/loader.py"),
    "splits": ("dataset/split/split.py",),
    "base_model": ("model/snapshot.py",),
    "base_model_guard": ("model/guard.py",),
    "training_plan": ("planning/inputs.py", "generation/engines", *SCORERS),
    "lora_adapter": ("training/trainer.py", "training/worker.py"),
    "training_report": ("diagnosis/diagnose.py",),
    "base_generations": ("generation/answers.py", "generation/engines"),
    "sft_generations": ("generation/answers.py", "generation/engines"),
    "checkpoint_series": ("evaluation/checkpoint_series.py", "generation/engines", *SCORERS),
    "gate_report": ("evaluation/gate/lineage_gate.py", *SCORERS),
}
"""Where an asset's work begins, relative to the package; `splits` serves train, dev and test.

The scorers are named because evaluation/scoring/score.py imports them by the name that stands in the specification, what they run
in processes of its own and the engines because no import leads there.
"""

LEFT_OUT: dict[str, str] = {
    "__init__.py": "the number of a release makes no other result",
    "artifacts": "types; the versions that they make are in the key",
    "dataset/progress.py": "what is shown while it runs",
    "errors.py": "no result comes of an error",
    "experiment": "the schema; the values, defaults included, are in the key",
    "provenance/code.py": "says which code it is",
    "provenance/files.py": "when bytes reach the disk, not which",
    "provenance/environment.py": "a record of the machine",
    "provenance/hashing.py": "another hash makes another key by itself",
    "provenance/secrets.py": "what is not shown",
    "specification.py": "reads the values that are in the key",
}
"""Modules, and folders, that count for no asset, and why not; what they import counts all the same."""

BORDERS: dict[str, dict[str, str]] = {
    "clean_dataset": {"dataset/source": "refuses rows that could not be read; those that could are an input"},
    "training_plan": {
        "embedded/base_model.py": "makes the embedded base, whose version is in the key",
        "provenance/store": "where artifacts lie",
    },
    "lora_adapter": {
        "diagnosis/diagnose.py": "words the message of a lost run, which leaves no adapter",
        "diagnosis/rules": "tells a lost run, which leaves no adapter",
        "report": "pages and pictures beside the adapter, which are no part of its version",
    },
}
"""Modules that are imported on the way to an asset without deciding anything of it, and why not."""


def counted(asset: str) -> set[str]:
    """The modules on which the result of `asset` depends."""
    return with_imports(*MODULES[asset], stop=BORDERS.get(asset, {})) - members(*LEFT_OUT)


def code_version(asset: str) -> str:
    """The version of the code behind `asset`."""
    return code_hash(*sorted(counted(asset)))
