"""The `sft-pipeline` command: the lineage and its parts without the Dagster UI.

Exit codes: 0 when the answer is positive, 1 when it is negative, 2 when the question could not be answered (unusable
input), 3 for a fault of the program. `EXIT_CODES` says what that means for each command.
"""

from collections.abc import Callable
from typing import NamedTuple

import typer

from sft_pipeline.commands import capabilities, data, evaluation, lineage, release, review, search, store, training, ui

app = typer.Typer(
    name="sft-pipeline",
    help="Supervised fine-tuning from a base model as a lineage that ends in an honest verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class ExitCodes(NamedTuple):
    """What the exit codes of a command mean; 3 is always a fault of the program."""

    zero: str
    one: str = ""
    two: str = "unusable input"


EXIT_CODES: dict[Callable[..., None], ExitCodes] = {
    lineage.run: ExitCodes("pass", "fail", "refused, or the run stopped"),
    lineage.report: ExitCodes("pass", "fail", "refused, or no report is stored"),
    training.plan: ExitCodes("the plan can be trained", "the plan is refused"),
    training.train_node: ExitCodes(
        "the training has ended", "", "it failed or was interrupted, or node 0 did not come"
    ),
    lineage.specs: ExitCodes("every specification is valid", "", "one is not"),
    lineage.schema: ExitCodes("printed", "", ""),
    data.clean: ExitCodes("every threshold holds", "a quality threshold does not hold"),
    data.split: ExitCodes("no leak", "a split leaks"),
    data.leakage: ExitCodes("no leak", "a test instruction is in the training file"),
    training.diagnose: ExitCodes("healthy", "unhealthy, or undecided: the log does not suffice", "no usable log"),
    evaluation.gate: ExitCodes("pass", "fail", "refused, or unusable input"),
    evaluation.compare: ExitCodes("compared"),
    evaluation.compare_experiments: ExitCodes("compared"),
    evaluation.export_log: ExitCodes("written"),
    search.search: ExitCodes("a trial is better than the default", "none is", "no search is stored, or unusable input"),
    capabilities.capabilities: ExitCodes("measured, and nothing blocks a release", "a regression blocks a release"),
    release.release: ExitCodes("released", "", "refused, unusable input, or the hub does not take it"),
    release.verify: ExitCodes(
        "everything matches", "a file or an input was changed, or the signature does not hold", "nothing is stored"
    ),
    release.reproduce: ExitCodes("every artifact is the same", "some differ or are missing", "nothing to compare"),
    review.make: ExitCodes("the pages are written", "", "unusable input, or nothing to compare"),
    review.serve: ExitCodes("ended", "", "the port is taken, or no review"),
    review.read: ExitCodes("all that was returned was used", "a returned file was not used", "unusable input"),
    ui.ui: ExitCodes("ended", "Dagster failed", "a port is taken, or the store cannot be read"),
    store.gc: ExitCodes("listed or removed"),
    store.restore: ExitCodes("listed or restored"),
}
"""Every command in the order in which the help lists them."""

REVIEW = typer.Typer(name="review", help="Human review: pages for raters, and what they say.", no_args_is_help=True)
app.add_typer(REVIEW)


def command_name(function: Callable[..., None]) -> str:
    """A command as it is typed, with its group."""
    return f"{'review ' if function.__module__ == review.__name__ else ''}{function.__name__.replace('_', '-')}"


for _command, _codes in EXIT_CODES.items():
    _meanings = (
        f"{number}: {meaning}" for number, meaning in enumerate((*_codes, "a fault of the program")) if meaning
    )
    _group = REVIEW if command_name(_command).startswith("review ") else app
    _group.command(epilog=f"Exit codes. {'; '.join(_meanings)}.")(_command)

if __name__ == "__main__":
    app()
