"""The whole of a specification: its sections, and what is asked of them together."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError, model_validator

from sft_pipeline.experiment.data import Data
from sft_pipeline.experiment.evaluation import Evaluation
from sft_pipeline.experiment.generation import Generation, Prompt
from sft_pipeline.experiment.model import BaseModelSpec
from sft_pipeline.experiment.release import Export, Release
from sft_pipeline.experiment.search import Search, put
from sft_pipeline.experiment.section import Extended
from sft_pipeline.experiment.training import Training

Figure = Annotated[str, Field(pattern=r"^[a-z_]+(\.[A-Za-z0-9_-]+)+$")]


class Experiment(Extended):
    """One experiment: what it trains on what, and how it will be judged."""

    ADDED: ClassVar[tuple[str, ...]] = ("extends", "expectations")

    description: str = Field(description="What the experiment is for, in a sentence or two.")
    extends: str | tuple[str, ...] | None = Field(
        None,
        description="A file beside this one (NAME, or FOLDER/NAME), without .yaml, that says what this one leaves out; of several, "
        "a later one is over an earlier one. Mappings are merged key by key, unless the one above names another `kind`; null "
        "takes away what is below.",
    )
    plan_only: bool = Field(
        False, description="The specification is for `sft-pipeline plan` alone: nothing can be run of it."
    )
    prompt: Prompt = Field(Prompt(), description="The one prompt format.")
    data: Data = Field(description="From the raw source to the splits.")
    model: BaseModelSpec = Field(description="The base model.")
    training: Training = Field(description="The fine-tuning.")
    search: Search | None = Field(None, description="A search over hyperparameters of the training; none by default.")
    generation: Generation = Field(Generation(), description="The decoding.")
    evaluation: Evaluation = Field(description="Scorers and gate.")
    export: Export = Field(Export(), description="Exports of the adapter.")
    release: Release = Field(Release(), description="What the release says besides.")
    expectations: dict[Figure, float | tuple[float, float]] = Field(
        {},
        description="Figures that are expected, such as those of a record, by asset and field (training_plan.steps, "
        "lora_adapter.measurements.tokens, training_report.metrics.loss_end): a value, or the ends of a range. Plan, report and page "
        "show them beside what came out; they decide nothing.",
    )

    @model_validator(mode="after")
    def _plan_from_specification(self) -> "Experiment":
        if self.plan_only and self.data.expected is None:
            raise ValueError("plan_only needs data.expected: there will be no data to plan from")
        return self

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "Experiment":
        for figure, wanted in self.expectations.items():
            if isinstance(wanted, tuple) and wanted[0] > wanted[1]:
                raise ValueError(f"expectations.{figure}: the range ends before it begins")
        return self

    @model_validator(mode="after")
    def _live_series_fits(self) -> "Experiment":
        live, training = self.evaluation.series.live, self.training
        if live and live.device == "same" and training.processes > 1:
            raise ValueError("evaluation.series.live.device: same lets one process wait: set training.processes to 1")
        if training.best_by == "dev_loss":
            return self
        if live is None:
            raise ValueError("training.best_by: dev_success is measured by evaluation.series.live: declare it")
        if live.at_end == "drop":
            raise ValueError(
                "training.best_by: dev_success compares all checkpoints: set evaluation.series.live.at_end: drain"
            )
        if self.search:
            raise ValueError("training.best_by: dev_success needs a live series, and trials of a search have none")
        return self

    @model_validator(mode="after")
    def _search_fits(self) -> "Experiment":
        for path, parameter in self.search.parameters.items() if self.search else ():
            for value in parameter.ends:
                try:
                    self.with_values({path: value})
                except ValidationError as error:
                    message = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(
                        f"search.parameters.{path}: with {value!r} the training is none: {message}"
                    ) from None
        return self

    def with_values(self, values: Mapping[str, Any]) -> "Experiment":
        """The same experiment without its search and with other values, by the paths of their fields; None: the default.

        Raises:
            ValidationError: it does not hold with them.
        """
        document = self.model_dump(mode="json", exclude_unset=True, exclude={"search"})
        for path, value in values.items():
            put(document, path, value)
        return Experiment.model_validate_json(json.dumps(document))

    @model_validator(mode="after")
    def _one_format(self) -> "Experiment":
        chat = self.prompt.format == "chat"
        if self.model.role == "instruct" and not (chat and self.prompt.chat.template == "shipped"):
            raise ValueError(
                "model.role: instruct is asked as it was trained: set prompt.format: chat, with the template that it ships "
                "(prompt.chat.template: shipped)"
            )
        if chat and self.model.bos != "none":
            raise ValueError(
                "model.bos is for plain prompts: under prompt.format: chat the template writes the beginning"
            )
        for name, comparator in self.evaluation.comparators.items() if chat else ():
            written = [field for field in ("template", "example") if getattr(comparator, field) is not None]
            if written or comparator.separator != "\n\n":
                raise ValueError(
                    f"evaluation.comparators.{name}: {(written or ['separator'])[0]} is for plain prompts; under prompt.format: "
                    "chat the chat template writes the examples, as exchanges before the item"
                )
        for name, source in (("data.source", self.data.source), ("data.test", self.data.test)):
            if source is None or source.kind == "embedded":
                continue
            if chat != (source.conversations.several_turns == "keep"):
                raise ValueError(
                    f"prompt.format: {self.prompt.format} "
                    + (
                        "takes conversations as they are: set "
                        if chat
                        else "has no place for conversations: do not set "
                    )
                    + f"{name}.conversations.several_turns: keep"
                )
        return self
