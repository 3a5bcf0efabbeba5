"""Which benchmarks base and fine-tuned model are measured on, and what counts as a regression."""

from typing import Literal

from pydantic import Field, model_validator

from sft_pipeline.experiment.section import FileName, Positive, Section, Seed


class BenchmarkSource(Section):
    """A file or a folder with rows of a benchmark."""

    path: str = Field(description="Path, relative to the project's root; ${VARIABLES} of the environment expand.")
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="What its content must hash to: of a file `sha256sum FILE`, of a folder `cd FOLDER && sha256sum NAME … | "
        "sha256sum` over the names of its files in order. Default: recorded, not compared.",
    )


class Benchmark(Section):
    """A benchmark by a task of lm-evaluation-harness, over local files."""

    task: str | None = Field(
        None,
        description="mmlu, humaneval, gsm8k, truthfulqa or hellaswag, whose published files are read as they are; or a task "
        "file of the harness (path of its YAML, relative to the project's root), whose rows are then as it wants them. "
        "Default: the name of the benchmark.",
    )
    items: BenchmarkSource | None = Field(None, description="The items that are asked.")
    examples: BenchmarkSource | None = Field(None, description="The rows that examples in the prompt are taken from.")
    world_seed: int | None = Field(
        None, description="Instead of `items`: facts of the embedded world with this seed, as a multiple choice."
    )
    shots: int | None = Field(
        None, ge=0, description="Examples in the prompt; default: as many as the harness takes for the task."
    )
    limit: Positive | None = Field(
        None, description="Ask only so many items, drawn by `seed` from all of them, whatever their subject."
    )
    margin: float = Field(0.05, gt=0, lt=1, description="Largest tolerated loss, as a difference of mean scores.")

    @model_validator(mode="after")
    def _offline(self) -> "Benchmark":
        if (self.items is None) == (self.world_seed is None):
            raise ValueError(
                "name the file with its items (items: {path: …}): nothing is fetched from the network"
                if self.items is None
                else "items and world_seed exclude each other"
            )
        return self


class Capabilities(Section):
    """Benchmarks of base and fine-tuned model, compared item by item."""

    benchmarks: dict[FileName, Benchmark] = Field(
        {}, description="Benchmarks by name. Their items are held out: no training row may contain one."
    )
    seed: Seed = Field(11, description="Draws the items of a benchmark with a limit, and resamples scores.")
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Level at which a loss counts as shown, of the p-values adjusted by Holm."
    )
    max_perplexity: float = Field(20.0, gt=1, description="Highest perplexity of the dev split's responses.")
    blocking: Literal["none", "regressed", "undecided"] = Field(
        "regressed",
        description="What keeps an adapter from being released: nothing, a regression (a shown loss, or too high a "
        "perplexity), or also a benchmark that its items cannot decide.",
    )
    baseline: str | None = Field(
        None,
        description="baseline_metrics.json of an earlier model, relative to the project's root: the fine-tuned model is compared "
        "with that instead of with its base.",
    )
