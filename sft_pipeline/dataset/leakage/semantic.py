"""The semantic tier: sentence embeddings, and the calibration of the similarity that counts as a leak.

A rephrased item shares hardly a word n-gram with its source, but nearly its meaning. What it costs is that problems of
the same kind have similar meanings, too: the threshold has to be calibrated on pairs of which it is known whether they
are rephrasings. Measured with all-MiniLM-L6-v2 on GSM8K (benchmarks/semantic_leakage.py): recall is the share of the
1,319 test items of which a rephrasing (LLM decontaminator, Yang et al. 2023) is found, a false alarm a test item for
which GSM8K's own 7,473 training items, other problems all of them, hold one at or above the threshold.

| threshold | recall | false alarms |
|---|---|---|
| 0.80 | 97.6 % | 6.9 % |
| 0.82 | 95.9 % | 3.3 % |
| 0.84 | 93.2 % | 1.5 % |
| 0.86 | 88.9 % | 0.7 % |
| 0.88 | 79.8 % | 0.1 % |

(0.84 chosen on every second item finds 92.1 % at 1.2 % on the others. Many of the false alarms are the same problem
with other numbers.) The figures belong to that model and to texts of that kind: of HumanEval's solutions rewritten in
Python, the same threshold finds 16 % at 2.4 % false alarms, for the model knows little of code; of MMLU's sociology
questions 72 % at 0 %, where 0.68 would find 92 % at no more than 2 %. Calibrate again for other texts.
"""

import json
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sft_pipeline.errors import DataError
from sft_pipeline.provenance.hashing import hash_file, hash_value
from sft_pipeline.specification import expand_path

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
"""Endings of weights that execute code when they are read."""

PACKAGE = "package:"
"""Before the name of an installed distribution that carries the model."""

_BATCH = 64


class Embed:
    """Sentence embeddings of one model: float32 vectors of length 1, so that a dot product is a cosine.

    What was embedded once is remembered (dimension x 4 bytes a text): the rows of a split are compared more than once.
    A text longer than the model's window is represented by its beginning.
    """

    def __init__(self, model: "SentenceTransformer", name: str) -> None:
        """Embed by `model`; `name` tells, with the hash of the weights, which one it is."""
        self.name = name
        self._model = model
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """A row of the result for each of `texts`, of which there must be at least one."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            vectors = self._model.encode(
                new, batch_size=_BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
            )
            self._known.update(zip(new, vectors.astype(np.float32, copy=False)))
        return np.stack([self._known[text] for text in texts])


def load(model: str, root: Path) -> Embed:
    """The embedder that a specification names; runs on the CPU, without network and without foreign code.

    Args:
        model: folder of a sentence-transformers model with safetensors weights, relative to `root` (${VARIABLES} of
            the environment expand), or package:NAME for one that the installed distribution NAME carries.
        root: the project's root.

    Raises:
        DataError: the extra or the package is not installed, or the folder holds no such model.
    """
    folder = _packaged(model) if model.startswith(PACKAGE) else expand_path(model, root)
    _check(folder, model)
    try:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise DataError(
            "data.leakage.semantic compares sentence embeddings and needs the package sentence-transformers: "
            "pip install 'sft-pipeline[semantic]'."
        ) from error
    try:
        loaded = SentenceTransformer(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        raise DataError(f"data.leakage.semantic.model: {model} cannot be loaded: {error}") from error
    return Embed(loaded, f"{model} (sha256 {_weights(folder)})")


def _packaged(model: str) -> Path:
    """Folder of the model that an installed distribution carries; the package's code is not run."""
    name = model.removeprefix(PACKAGE)
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError as error:
        raise DataError(
            f"data.leakage.semantic.model: the package {name!r} is not installed; pip install {name}."
        ) from error
    found = [Path(str(file.locate())).parent for file in files if file.name == "modules.json"]
    if len(found) != 1:
        raise DataError(
            f"data.leakage.semantic.model: the package {name!r} holds {len(found)} files modules.json, where exactly "
            "one marks a sentence-transformers model; name the model's folder instead."
        )
    return found[0]


def _check(folder: Path, model: str) -> None:
    if not (folder / "modules.json").is_file():
        raise DataError(
            f"data.leakage.semantic.model: {model} is no folder of a sentence-transformers model (no modules.json in "
            f"it); save one with SentenceTransformer.save, or write {PACKAGE}NAME for a packaged one."
        )
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        foreign = [module["type"] for module in modules if not module["type"].startswith("sentence_transformers.")]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"data.leakage.semantic.model: {model}/modules.json cannot be read: {error!r}") from error
    if foreign:
        raise DataError(
            f"data.leakage.semantic.model: {model} asks for code of its own ({foreign[0]}), which is never run here; "
            "choose a model that consists of sentence-transformers' own modules."
        )
    weights = list(folder.rglob("*.safetensors"))
    unsafe = [p for p in folder.rglob("*") if p.suffix in PICKLED and p.parent not in {w.parent for w in weights}]
    if unsafe or not weights:
        raise DataError(
            f"data.leakage.semantic.model: {model} has "
            + (f"pickled weights ({unsafe[0].name}), which are refused" if unsafe else "no weights")
            + "; save the model again as safetensors."
        )


def _weights(folder: Path) -> str:
    """SHA-256 of the weights: of the file where there is one, else of all their names and hashes."""
    hashes = {p.relative_to(folder).as_posix(): hash_file(p) for p in sorted(folder.rglob("*.safetensors"))}
    return next(iter(hashes.values())) if len(hashes) == 1 else hash_value(hashes)


# ---------------------------------------------------------------------------------------------------------- calibration


class Point(NamedTuple):
    """What a threshold would do: shares of the rephrased pairs found, and of the unrelated pairs taken for leaks."""

    threshold: float
    recall: float
    false_alarms: float


def curve(rephrased: Iterable[float], unrelated: Iterable[float]) -> list[Point]:
    """Recall and false-alarm rate at the thresholds 0.30, 0.31, … 1.00.

    Args:
        rephrased: cosine similarities of pairs that say the same in other words.
        unrelated: cosine similarities of pairs that do not; for a whole test set, of each item to its nearest row.
    """
    found, wrong = (np.round(np.fromiter(values, float), 4) for values in (rephrased, unrelated))
    if not len(found) or not len(wrong):
        raise DataError("a threshold is calibrated on rephrased and on unrelated pairs; one of the two is missing")
    thresholds = [round(0.30 + step / 100, 2) for step in range(71)]
    return [Point(t, float((found >= t).mean()), float((wrong >= t).mean())) for t in thresholds]


def calibrate(pairs: Sequence[tuple[str, str, bool]], embed: Embed) -> list[Point]:
    """The curve over labelled pairs: (text, text, whether the second rephrases the first).

    Raises:
        DataError: all pairs have the same label.
    """
    first, second = embed([a for a, _, _ in pairs]), embed([b for _, b, _ in pairs])
    cosines = np.einsum("ij,ij->i", first, second)
    labels = [same for _, _, same in pairs]
    return curve((c for c, same in zip(cosines, labels) if same), (c for c, same in zip(cosines, labels) if not same))


def lowest_threshold(points: Sequence[Point], max_false_alarms: float) -> Point | None:
    """The lowest threshold with at most that rate of false alarms: the one of highest recall; None if there is none."""
    return next((point for point in points if point.false_alarms <= max_false_alarms), None)
