"""The whole of a specification: its sections, and what is asked of them together."""

from pydantic import Field, model_validator

from sft_pipeline.experiment.data import Data
from sft_pipeline.experiment.evaluation import Evaluation
from sft_pipeline.experiment.generation import Generation, Prompt
from sft_pipeline.experiment.model import BaseModelSpec
from sft_pipeline.experiment.release import Export, Release
from sft_pipeline.experiment.section import Section
from sft_pipeline.experiment.training import Training


class Experiment(Section):
    """One experiment: what it trains on what, and how it will be judged."""

    description: str = Field(description="What the experiment is for, in a sentence or two.")
    plan_only: bool = Field(
        False, description="The specification is for `sft-pipeline plan` alone: nothing can be run of it."
    )
    prompt: Prompt = Field(Prompt(), description="The one prompt format.")
    data: Data = Field(description="From the raw source to the splits.")
    model: BaseModelSpec = Field(description="The base model.")
    training: Training = Field(description="The fine-tuning.")
    generation: Generation = Field(Generation(), description="The decoding.")
    evaluation: Evaluation = Field(description="Scorers and gate.")
    export: Export = Field(Export(), description="Exports of the adapter.")
    release: Release = Field(Release(), description="What the release says besides.")

    @model_validator(mode="after")
    def _plan_from_specification(self) -> "Experiment":
        if self.plan_only and self.data.expected is None:
            raise ValueError("plan_only needs data.expected: there will be no data to plan from")
        return self
