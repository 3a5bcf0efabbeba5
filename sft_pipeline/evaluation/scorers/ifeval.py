"""The answer follows the verifiable instructions of IFEval (Zhou et al. 2023), as lm-eval's verifiers judge it."""

import tempfile
from collections.abc import Mapping
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt

OPTIONS = {
    "mode": "strict (the default) or loose: also without the first line, the last line or asterisks.",
}
REFERENCE = {
    "instruction_id_list": "IFEval's instructions of this item.",
    "kwargs": "One object for each, with its arguments.",
}
VERIFIER = True


class Verifiers(NamedTuple):
    """lm-eval's modules, and the folder of NLTK's data that they read as long as this value lives."""

    utils: ModuleType
    registry: ModuleType
    data: tempfile.TemporaryDirectory


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """All instructions must be followed; the option `mode` is `strict` (the default) or `loose`.

    `loose` accepts the answer also without its first line, its last line or asterisks. The instructions are IFEval's own
    fields: reference["instruction_id_list"] and reference["kwargs"], one object for each, where null means not given. The
    labels of a failure are the instructions that were not followed.

    Raises:
        DataError: the reference is not that, or leaves out an argument, which lm-eval would then draw by lot.
        SpecificationError: the mode is neither of the two, or the extra `ifeval` is not installed.
    """
    mode = options.get("mode", "strict")
    if mode not in ("strict", "loose"):
        raise SpecificationError(
            f"evaluation.scorers: option mode of the scorer ifeval is strict or loose, not {mode!r}"
        )
    verifiers = _verifiers()
    ids, arguments = _instructions(item, verifiers.registry)
    follows = {
        "strict": verifiers.utils.test_instruction_following_strict,
        "loose": verifiers.utils.test_instruction_following_loose,
    }[mode]
    example = verifiers.utils.InputExample(0, ids, item.instruction, arguments)
    followed = follows(example, output).follow_instruction_list
    failed = tuple(id for id, ok in zip(ids, followed, strict=True) if not ok)
    return Score(not failed, f"does not follow {', '.join(failed)}" if failed else "", failed)


def _instructions(item: Item, registry: ModuleType) -> tuple[list[str], list[dict[str, Any]]]:
    ids, arguments = item.reference.get("instruction_id_list"), item.reference.get("kwargs")
    if not isinstance(ids, list) or not ids:
        raise item.wrong("reference.instruction_id_list", "must be a list of IFEval's instructions")
    if not isinstance(arguments, list) or [type(a) for a in arguments] != [dict] * len(ids):
        raise item.wrong("reference.kwargs", f"must be a list of {len(ids)} objects, one for each instruction")
    for id, given in zip(ids, arguments):
        if id not in registry.INSTRUCTION_DICT:
            raise item.wrong("reference.instruction_id_list", f"{excerpt(str(id))!r} is no instruction of IFEval")
        given = {name: value for name, value in given.items() if value}  # as lm-eval does
        instruction = registry.INSTRUCTION_DICT[id](id)
        try:
            instruction.build_description(**given)
        except (TypeError, ValueError, AttributeError) as error:
            raise item.wrong("reference.kwargs", f"does not fit {id}: {excerpt(str(error), 120)}") from error
        if missing := set(instruction.get_instruction_args_keys()) - given.keys():
            raise item.wrong("reference.kwargs", f"{id} needs {', '.join(sorted(missing))}")
        used = instruction.get_instruction_args() or {}
        if drawn := [name for name, value in given.items() if isinstance(value, int) and used[name] != value]:
            raise item.wrong("reference.kwargs", f"{id} cannot use the value of {', '.join(drawn)}")
    return ids, arguments


@cache
def _verifiers() -> Verifiers:
    try:
        import langdetect
        import nltk
        import punkt
        from nltk.tokenize.punkt import save_punkt_params
    except ImportError as error:
        raise SpecificationError(
            f"evaluation.scorers: the scorer ifeval needs the package {error.name}: pip install 'sft-pipeline[ifeval]'"
        ) from error
    langdetect.DetectorFactory.seed = 0  # it samples, and so would call the same text English or not
    # lm-eval downloads NLTK's tables of English sentences where they are missing. The package punkt carries the same
    # tables: NLTK writes them to a folder that it then finds first.
    data = tempfile.TemporaryDirectory(prefix="sft-pipeline-nltk-")
    Finalize(None, data.cleanup, exitpriority=0)  # a step's process leaves by os._exit, which skips what atexit knows
    nltk.data.path.insert(0, data.name)
    english = Path(data.name, "tokenizers", "punkt_tab", "english")
    english.parent.mkdir(parents=True)
    save_punkt_params(punkt.load_model("english"), str(english))
    from lm_eval.tasks.ifeval import instructions, instructions_registry, utils

    class LetterFrequency(instructions.LetterFrequencyChecker):
        """lm-eval draws a letter by lot where the one to be counted is none, such as the "!" and "#" of IFEval's items."""

        _letter: str

        def build_description(self, *, letter: str | None = None, **others: Any) -> str:
            if letter and len(letter) != 1:
                raise ValueError(f"letter must be one character, is {letter!r}")
            description = super().build_description(letter=letter, **others)
            self._letter = letter.lower() if letter else self._letter
            return description

    instructions_registry.INSTRUCTION_DICT["keywords:letter_frequency"] = LetterFrequency
    return Verifiers(utils, instructions_registry, data)
