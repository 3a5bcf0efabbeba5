"""Prompt format and decoding: one for training and evaluation, the same for base and fine-tuned model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sft_pipeline.experiment.section import Positive, Section


def insert(template: str, instruction: str) -> str:
    """`template` with the text `instruction` in the place of `{instruction}`; nothing in either is evaluated."""
    return template.replace("{instruction}", instruction)


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


class Sampling(Section):
    """Random decoding with a seed. The gate accepts greedy answers only; a sample is for looking and for other tools."""

    temperature: float = Field(1.0, gt=0, description="Temperature of the softmax.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus: smallest set of tokens with this much probability.")
    top_k: Positive | None = Field(None, description="Only the k most probable tokens; default: all.")
    seed: int = Field(11, description="Seed of the random numbers.")


class Generation(Section):
    """Decoding, the same for base and fine-tuned model; greedy unless `sampling` is given."""

    engine: Literal["auto", "transformers", "vllm"] = Field(
        "auto",
        description="What generates. auto is vLLM where it is installed and the model runs on a CUDA device, otherwise "
        "transformers; the report names the engine that answered.",
    )
    max_new_tokens: Positive = Field(64, description="Longest answer in tokens.")
    batch_size: Positive = Field(64, description="Prompts per batch.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="An answer ends before the first of these strings."
    )
    sampling: Sampling | None = Field(None, description="Random decoding; default: greedy, which the gate asks for.")
    dtype: Literal["float32", "bfloat16"] | None = Field(
        None, description="Precision while answering, for both models; default: that of the training."
    )
    quantization: Literal["none", "nf4", "int8"] | None = Field(
        None, description="Quantisation while answering, for both models; default: that of the training."
    )
    repeat_sample: int = Field(
        50, ge=0, description="Items generated a second time, in another batch size, to measure the flip rate."
    )
