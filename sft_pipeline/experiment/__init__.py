"""The schema of a specification, and nothing else.

One YAML file under `specs/` is one experiment; `specification.py` reads it. Unknown keys are errors, values are never
coerced from a wrong type, and every field says what it does: the JSON Schema for editors is made from these texts.
"""

from pydantic import Field, model_validator

from sft_pipeline.experiment.data import (
    BenchmarkFile,
    Columns,
    Conversations,
    Critic,
    Data,
    DataOnly,
    Duplicates,
    EmbeddedData,
    ExpectedData,
    FileData,
    HubData,
    Leakage,
    PersonalData,
    Quality,
    Semantic,
    Split,
    TokenBounds,
    Toxicity,
)
from sft_pipeline.experiment.evaluation import Evaluation, EvaluationOnly, Gate, Protected, ScorerSpec, Series
from sft_pipeline.experiment.generation import Generation, Sampling
from sft_pipeline.experiment.model import Architecture, BaseModelSpec, EmbeddedBase, FolderBase, HubBase, Sentinel
from sft_pipeline.experiment.section import FileName, Positive, Section, Seed, Share
from sft_pipeline.experiment.training import EarlyStopping, Lora, SuccessCriteria, Training
from sft_pipeline.prompt import insert

__all__ = [
    "Architecture",
    "BaseModelSpec",
    "BenchmarkFile",
    "Columns",
    "Conversations",
    "Critic",
    "Data",
    "DataOnly",
    "Duplicates",
    "EarlyStopping",
    "EmbeddedBase",
    "EmbeddedData",
    "Evaluation",
    "EvaluationOnly",
    "ExpectedData",
    "Experiment",
    "FileData",
    "FileName",
    "FolderBase",
    "Gate",
    "Generation",
    "HubBase",
    "HubData",
    "Leakage",
    "Lora",
    "PersonalData",
    "Positive",
    "Prompt",
    "Protected",
    "Quality",
    "Sampling",
    "ScorerSpec",
    "Section",
    "Seed",
    "Semantic",
    "Sentinel",
    "Series",
    "Share",
    "Split",
    "SuccessCriteria",
    "TokenBounds",
    "Toxicity",
    "Training",
]


class Prompt(Section):
    """How an instruction becomes the text that the model sees, in training and in evaluation alike."""

    template: str = Field(
        "Instruction: {instruction}\nResponse:",
        description="Text with the placeholder {instruction} exactly once. Nothing else in it is interpreted.",
    )
    response_prefix: str = Field(" ", description="What stands between the prompt and the response in training.")

    @model_validator(mode="after")
    def _one_placeholder(self) -> "Prompt":
        if self.template.count("{instruction}") != 1:
            raise ValueError("template must contain {instruction} exactly once")
        return self

    def render(self, instruction: str) -> str:
        """The prompt for `instruction`; the text is inserted, never evaluated as a template."""
        return insert(self.template, instruction)


class Experiment(Section):
    """One experiment: what it trains on what, and how it will be judged."""

    description: str = Field(description="What the experiment is for, in a sentence or two.")
    prompt: Prompt = Field(Prompt(), description="The one prompt format.")
    data: Data = Field(description="From the raw source to the splits.")
    model: BaseModelSpec = Field(description="The base model.")
    training: Training = Field(description="The fine-tuning.")
    generation: Generation = Field(Generation(), description="The decoding.")
    evaluation: Evaluation = Field(description="Scorers and gate.")
