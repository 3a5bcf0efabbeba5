"""The whole of a specification: its sections, and what is asked of them together."""

from pydantic import Field

from sft_pipeline.experiment.data import Data
from sft_pipeline.experiment.evaluation import Evaluation
from sft_pipeline.experiment.generation import Generation
from sft_pipeline.experiment.model import BaseModelSpec
from sft_pipeline.experiment.prompt import Prompt
from sft_pipeline.experiment.section import Section
from sft_pipeline.experiment.training import Training


class Experiment(Section):
    """One experiment: what it trains on what, and how it will be judged."""

    description: str = Field(description="What the experiment is for, in a sentence or two.")
    prompt: Prompt = Field(Prompt(), description="The one prompt format.")
    data: Data = Field(description="From the raw source to the splits.")
    model: BaseModelSpec = Field(description="The base model.")
    training: Training = Field(description="The fine-tuning.")
    generation: Generation = Field(Generation(), description="The decoding.")
    evaluation: Evaluation = Field(description="Scorers and gate.")
