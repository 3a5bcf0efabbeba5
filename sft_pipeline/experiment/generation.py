"""Prompt format and decoding: one for training and evaluation, the same for base and fine-tuned model."""

from datetime import date
from typing import Annotated, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator

from sft_pipeline.experiment.section import Extended, Positive, Section


def insert(template: str, instruction: str) -> str:
    """`template` with the text `instruction` in the place of `{instruction}`; nothing in either is evaluated."""
    return template.replace("{instruction}", instruction)


class Chat(Section):
    """How a conversation becomes text; only with `format: chat`."""

    template: Literal["shipped", "chatml"] = Field(
        "shipped",
        description="shipped: the chat template in the model's own files. chatml: the usual <|im_start|> and <|im_end|>, for a "
        "base without a template; where the tokenizer has no token <|im_end|>, its end-of-sequence token ends a turn.",
    )
    options: dict[str, JsonValue] = Field(
        {}, description="Variables that the template reads besides the messages, such as {enable_thinking: false}."
    )
    date: str = Field(
        "2025-01-01",
        description="What a template that writes today's date takes for today: the same in training and evaluation.",
    )
    keep_turns: Literal["all", "first", "last"] = Field(
        "all",
        description="What stays of a conversation that is too long (training.max_length; the model's context less "
        "generation.max_new_tokens). all: nothing is left out, and such rows count as cut, see training.max_truncated_share; "
        "first, last: as many whole exchanges from its start or its end as fit, the system message always. A prompt must "
        "keep its question: it is shortened under last alone.",
    )

    @model_validator(mode="after")
    def _date_is_one(self) -> "Chat":
        date.fromisoformat(self.date)
        return self


class Prompt(Extended):
    """How an instruction becomes the text that the model sees, in training and in evaluation alike."""

    ADDED: ClassVar[tuple[str, ...]] = ("format", "chat")

    format: Literal["plain", "chat"] = Field(
        "plain",
        description="plain: instruction and response in `template`. chat: conversations, as the chat template writes them; "
        "every turn of the assistant carries loss.",
    )
    chat: Chat = Field(Chat(), description="The chat template.")
    template: str = Field(
        "Instruction: {instruction}\nResponse:",
        description="Text with the placeholder {instruction} exactly once. Nothing else in it is interpreted.",
    )
    response_prefix: str = Field(" ", description="What stands between the prompt and the response in training.")

    @model_validator(mode="after")
    def _one_placeholder(self) -> "Prompt":
        if self.template.count("{instruction}") != 1:
            raise ValueError("template must contain {instruction} exactly once")
        other = {"plain": ("chat",), "chat": ("template", "response_prefix")}[self.format]
        fields = type(self).model_fields
        if unused := [name for name in other if getattr(self, name) != fields[name].default]:
            raise ValueError(f"format: {self.format} does not read {', '.join(unused)}: leave it out")
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
