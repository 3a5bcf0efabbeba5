"""The base model and the report of its guard."""

from typing import Any, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen


class ModelSnapshot(Artifact):
    """A base model's files: config.json, safetensors weights and tokenizer."""

    source: str = Field(description="Kind and name or path of the source.")
    revision: str = Field(description="Commit, recipe hash or content hash.")
    architecture: str
    parameters: int
    vocabulary: int


class SentinelResult(Frozen):
    """A sentinel's answer and its verdict."""

    name: str
    mode: Literal["raw", "format"]
    expect: Literal["fails", "works"]
    prompt: str
    answer: str
    succeeded: bool
    passed: bool
    blocking: bool


class GuardReport(Artifact):
    """Whether the base is a base: template, token-id and delta checks, sentinels raw and in the training format."""

    checks: dict[str, str] = Field(description="Name of each structural check → '' when it passed, else what is wrong.")
    sentinels: tuple[SentinelResult, ...]
    loader: dict[str, str] = Field(description="Provenance of the loading: loader version, model, quantisation, …")

    @property
    def identity(self) -> dict[str, Any]:
        """Only the outcome: another sentinel that the base passes too must not make anybody train again."""
        return {"passed": self.passed, "loader": self.loader}

    @property
    def passed(self) -> bool:
        """Whether nothing stops the run."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that stops the run, a sentence each."""
        structural = tuple(f"{name}: {problem}" for name, problem in self.checks.items() if problem)
        return structural + tuple(
            f"sentinel {s.name} ({s.mode}) should {'fail' if s.expect == 'fails' else 'work'} but "
            f"{'succeeded' if s.succeeded else 'failed'}: {s.answer!r}"
            for s in self.sentinels
            if s.blocking and not s.passed
        )
