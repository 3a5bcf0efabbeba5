"""The prompt format: one for training and evaluation."""

from pydantic import Field, model_validator

from sft_pipeline.experiment.section import Section


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
