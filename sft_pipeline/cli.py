"""The `sft-pipeline` command: the lineage and its parts without the Dagster UI.

Exit codes: 0 when the answer is positive, 1 when it is negative (a gate that fails, a plan that is refused, a sick
training, a leak), 2 when the question could not be answered (unusable input), 3 for a
fault of the program.
"""

import typer

from sft_pipeline.commands import data, evaluation, lineage, store, training

app = typer.Typer(
    name="sft-pipeline",
    help="Supervised fine-tuning from a base model as a lineage that ends in an honest verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for command in (
    lineage.run,
    lineage.report,
    training.plan,
    lineage.specs,
    lineage.schema,
    data.clean,
    data.split,
    data.leakage,
    training.diagnose,
    evaluation.gate,
    evaluation.compare,
    lineage.verify,
    store.gc,
    store.restore,
):
    app.command()(command)

if __name__ == "__main__":
    app()
