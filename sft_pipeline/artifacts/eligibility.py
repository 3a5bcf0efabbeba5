"""Whether a guard, a plan, a split, a training and an adapter are fit for the step that comes next.

A blocking check protects only the run that it belongs to, so every step that spends time on an artifact asks here again.
Each function returns what is wrong, a sentence each; nothing, and the step may start.
"""

from collections.abc import Iterable, Sequence

from sft_pipeline.artifacts.data import InstructionDataset, LeakageProof
from sft_pipeline.artifacts.model import GuardReport
from sft_pipeline.artifacts.training import TrainingPlan, TrainingReport
from sft_pipeline.errors import PreconditionError


def guard_problems(guard: GuardReport) -> list[str]:
    """Checks and sentinels of the base model that did not pass."""
    return [f"guard: {problem}" for problem in guard.problems]


def plan_problems(plan: TrainingPlan, train_rows: int) -> list[str]:
    """Blocking findings of the plan, and a plan that was made for another number of training rows."""
    problems = [f"plan: {finding.evidence}" for finding in plan.blocking]
    if plan.train_rows != train_rows:
        problems.append(f"plan: made for {plan.train_rows} training rows, but there are {train_rows}")
    return problems


def split_problems(split: InstructionDataset, training_data: Sequence[str] = ()) -> list[str]:
    """A split without a leakage proof, one that leaks, or one that was proven against other training rows.

    Args:
        split: the dev or test split.
        training_data: hashes of the rows that the adapter is trained on; where there are none, they are not compared.
    """
    proof = split.proof
    if proof is None:
        return ["split: no leakage proof; materialize the splits again"]
    if not proof.clean:
        return [
            f"split: {proof.against} leaks: {proof.exact} exact, {proof.near} near-duplicate, {proof.groups} group and "
            f"{proof.contained_over_limit} contained items; leakage_proof.json in the split's folder names them"
        ]
    if other_training_data(proof, training_data):
        return [
            f"split: the leakage proof ({proof.against}) is about other rows than those that the adapter is trained on; "
            "materialize the splits and all after them"
        ]
    return []


def training_problems(report: TrainingReport | None) -> list[str]:
    """Blocking findings of the diagnosis."""
    return [f"training: {f.evidence}" for f in report.findings if f.severity == "blocking"] if report else []


def other_training_data(proof: LeakageProof | None, training_data: Sequence[str]) -> bool:
    """Whether the proof is about other rows than those of these hashes; False where one side names none."""
    return bool(training_data and proof and proof.training_data_sha256 not in ("", *training_data))


def require(step: str, problems: Iterable[str]) -> None:
    """Refuse to start `step` (such as training) where there are problems.

    Raises:
        PreconditionError: naming them all.
    """
    if found := list(problems):
        raise PreconditionError(f"{step} refused:\n" + "\n".join(f"- {problem}" for problem in found))
