"""A search over the hyperparameters of the training: which values are tried, how many, and what decides."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sft_pipeline.experiment.section import Positive, Section, Seed
from sft_pipeline.experiment.training import Lora, Training

UNSEARCHED = Training.KEY_INDEPENDENT | {
    "seed",  # choosing a seed is choosing luck; the confirmation draws others
    "processes",
    "fsdp",
    "logging_steps",
    "eval_steps",
    "eval_batch_size",
    "packed_attention",
    "compile",
    "liger",
    "keep_checkpoints",
    "validation_prompts",
}
"""Fields of the training that change where or how it runs or what is kept of it, and not what is learned."""


class Parameter(Section):
    """The values that are tried of one field: a range with `low` and `high`, or `choices`."""

    low: int | float | None = Field(None, description="Lowest value.")
    high: int | float | None = Field(None, description="Highest value, which may be taken too.")
    log: bool = Field(False, description="Draw on a logarithmic scale, as for learning rates.")
    step: int | float | None = Field(None, gt=0, description="Distance between two values of the range.")
    choices: tuple[Any, ...] | None = Field(None, description="Instead of a range: the values themselves.")

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Parameter":
        if self.choices is not None:
            if self.model_fields_set != {"choices"}:
                raise ValueError("choices stand alone: leave low, high, log and step out")
            if len({json.dumps(choice) for choice in self.choices}) != len(self.choices) or len(self.choices) < 2:
                raise ValueError("choices must be at least two different values")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"the range is empty: low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range begins above 0 (low is {self.low})")
        if self.step is not None and (self.log or self.step > self.high - self.low):
            raise ValueError("step excludes log" if self.log else f"step ({self.step}) is wider than the range")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values at the ends of the range, or all choices."""
        return self.choices if self.choices is not None else (self.low, self.high)


class SearchBudget(Section):
    """What all trials together may cost; the confirmation comes on top."""

    steps: Positive | None = Field(None, description="No trial starts once finished ones have made so many steps.")
    hours: float | None = Field(
        None,
        gt=0,
        description="No trial starts once finished ones have taken so many hours together. Another machine then makes another "
        "number of trials.",
    )


class Search(Section):
    """Optuna's search over fields of `training`, on a part of the dev split; the rest of it confirms or refutes."""

    parameters: dict[str, Parameter] = Field(
        min_length=1, description="What is searched: by the path of the field, such as training.learning_rate."
    )
    trials: Positive = Field(20, description="Trials in all, those of a killed search included.")
    devices: Positive = Field(
        1, description="Trials at a time, each in a process with a device of its own; on the CPU in a process."
    )
    budget: SearchBudget = Field(SearchBudget(), description="What may end the search before its last trial.")
    trial_steps: Positive | None = Field(
        None,
        description="Steps of each trial and of each confirming training; default: those of the training. What is best after "
        "fewer steps need not be best after all of them.",
    )
    objective: Literal["dev_loss", "dev_success"] = Field(
        "dev_loss", description="What is minimised or maximised: loss per token, or the share of successful answers."
    )
    sampler: Literal["tpe", "random"] = Field("tpe", description="Optuna's sampler.")
    pruner: Literal["none", "median"] = Field(
        "none",
        description="median: a trial ends when its best dev loss so far is above the median of the finished trials at the same "
        "step, once five have finished. Only with objective: dev_loss.",
    )
    confirmation_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Share of the dev rows that the search does not see: they compare its best with the default.",
    )
    seeds: int = Field(
        3,
        ge=2,
        description="Trainings of the default and of each of the best three in the confirmation, with fresh seeds.",
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Level at which a gain counts as shown, of the p-values adjusted by Holm."
    )
    seed: Seed = Field(11, description="Seed of the sampler, of the fresh seeds and of the statistics.")

    @field_validator("parameters")
    @classmethod
    def _are_fields(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for path, parameter in parameters.items():
            for value in parameter.ends:
                if problem := next(_problems(path, value), None):
                    raise ValueError(f"{path}: {problem}")
            if isinstance(parameter.step, float) and is_integer(path, parameter.low):
                raise ValueError(f"{path}: it takes whole numbers, and step is {parameter.step}")
        return parameters

    @model_validator(mode="after")
    def _consistent(self) -> "Search":
        if self.devices > self.trials:
            raise ValueError(f"devices ({self.devices}) are more than trials ({self.trials}): some would never work")
        if self.pruner == "median" and self.objective != "dev_loss":
            raise ValueError("the median pruner compares dev losses: set objective: dev_loss, or pruner: none")
        lengths = sorted(self.parameters.keys() & {"training.max_steps", "training.epochs"})
        if lengths and self.trial_steps is not None:
            raise ValueError(f"trial_steps sets the length of every trial, and {lengths[0]} is searched")
        return self

    @property
    def minimises(self) -> bool:
        """Whether a smaller figure is better."""
        return self.objective == "dev_loss"


def is_integer(path: str, value: Any) -> bool:
    """Whether the field at `path` takes whole numbers: `value` is one that it takes."""
    found: Any = Training.model_validate_json(json.dumps(_minimal(path, value)))
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return isinstance(found, int)


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the field at `path` of a specification's plain values; None removes it."""
    *sections, name = path.split(".")
    for section in sections:
        if not isinstance(document.get(section), dict):
            document[section] = {}
        document = document[section]
    if value is None:
        document.pop(name, None)
    else:
        document[name] = value


def _problems(path: str, value: Any) -> Iterator[str]:
    """What is wrong with a value of a field, as far as the field alone tells."""
    section, *names = path.split(".")
    if section != "training" or not names:
        yield "only fields of the training can be searched, such as training.learning_rate"
        return
    if names[0] in UNSEARCHED:
        yield f"training.{names[0]} decides nothing that is learned, and is not searched"
        return
    try:
        Training.model_validate_json(json.dumps(_minimal(path, value)))
    except ValidationError as error:
        for found in error.errors():
            if not (loc := found["loc"]) or any(a != b for a, b in zip(loc, names)):
                continue  # what other fields must be with it is asked of the whole specification
            if found["type"] == "extra_forbidden":
                known = [*Training.model_fields, *(f"lora.{name}" for name in Lora.model_fields)]
                close = get_close_matches(".".join(names), known, 1)
                yield "no specification has this field" + (f"; did you mean training.{close[0]}?" if close else "")
            else:
                yield f"{value!r} is no value of it: {found['msg'].removeprefix('Value error, ')}"


def _minimal(path: str, value: Any) -> Mapping[str, Any]:
    document: dict[str, Any] = {}
    put(document, path, value)
    training = document["training"]
    return training if training.keys() & {"epochs", "max_steps"} else training | {"max_steps": 1}
