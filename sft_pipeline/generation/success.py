"""How often a model succeeds on a split, by the experiment's own prompt, decoding and scorers.

Used where a number is enough: the base's headroom on the dev split.
"""

from pathlib import Path

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.table import read_table
from sft_pipeline.evaluation.scoring import score_items
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines.engine import Engine


def successes(
    engine: Engine,
    experiment: Experiment,
    items: InstructionDataset,
    root: Path,
) -> tuple[int, int]:
    """Successful answers and answers that could be judged: a type that is judged in pairs only counts in neither.

    Args:
        engine: the loaded base model.
        experiment: gives prompt, decoding and scorers.
        items: the split, usually dev: the test split is for the gate alone.
        root: the project's root, where relative files of the scorers' options start.
    """
    rows = read_table(items.path(InstructionDataset.ROWS))
    prompts = [experiment.prompt.render(row["instruction"]) for row in rows]
    answers = engine.answer(prompts, experiment.generation)
    outputs = {row["id"]: answer.text for row, answer in zip(rows, answers, strict=True)}
    judged = [j for j in score_items(rows, outputs, experiment.evaluation, root) if j.success is not None]
    return sum(j.success for j in judged), len(judged)
