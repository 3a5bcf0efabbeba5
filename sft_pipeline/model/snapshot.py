"""A local, hashed snapshot of the base model, from whichever source the specification names.

Only what is needed and harmless is taken: configuration, tokenizer, safetensors. Pickled weights and models that bring
their own code are refused, not converted.
"""

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import FileRef, ModelSnapshot
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import EmbeddedBase, FolderBase, HubBase
from sft_pipeline.model.finite_weights import FiniteWeights
from sft_pipeline.provenance.code import code_hash
from sft_pipeline.provenance.files import flush
from sft_pipeline.provenance.hashing import hash_file, hash_value
from sft_pipeline.specification import expand_path

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HASHES = "hashes.json"
"""File in the folder of a cached embedded base: the hash of each of its files as it was built."""

TAKEN = (
    "config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "chat_template.jinja",  # removed when the tokenizer is loaded; that there was one is recorded
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
"""Files of a model folder that belong to a snapshot, besides the weights: see `weight_files`."""

TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
"""Files of which one set makes a tokenizer."""

PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")
"""Files that can run code when they are read."""


def take(
    source: EmbeddedBase | FolderBase | HubBase, root: Path, cache: Path, out: Path, work: Path | None = None
) -> ModelSnapshot:
    """Copy, build or fetch the base model into `out` and describe it.

    Args:
        source: where the model comes from.
        root: the project's root, for relative paths.
        cache: folder in which embedded models are kept by the hash of their recipe.
        out: empty folder for the files.
        work: folder that outlives a killed process: files that were fetched until then are not fetched again.

    Raises:
        ModelError: the model is not there, is incomplete, pickled, or wants to bring its own code.
    """
    if isinstance(source, EmbeddedBase):
        revision = _embedded(source, cache, out)
        name = "embedded tiny base"
    elif isinstance(source, FolderBase):
        _folder(expand_path(source.path, root), out)
        revision, name = "", source.path
    else:
        revision = _hub(source, work or out, out)
        name = source.name
    hashes, facts = _described(out, [path.name for path in out.iterdir()], name)
    return ModelSnapshot.finalize(out, hashes, **facts | ({"revision": revision} if revision else {}))


def in_place(folder: Path) -> ModelSnapshot:
    """The model in `folder` where it lies, for commands that store nothing.

    Raises:
        ModelError: it is not there, incomplete, pickled, or holds NaN.
    """
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such folder; name one with config.json, tokenizer.json and safetensors weights."
        )
    names = [n for n in (*TAKEN, *weight_files(folder, str(folder))) if (folder / n).is_file()]
    hashes, facts = _described(folder, names, str(folder))
    refs = {n: FileRef(path=n, sha256=hashes[n], bytes=(folder / n).stat().st_size) for n in names}
    return ModelSnapshot(root=folder.resolve(), files=refs, **facts | {"source": folder.name})


def _described(folder: Path, files: Sequence[str], name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Hash of every file, and the fields of a `ModelSnapshot`; without another name its revision is the content's hash."""
    config = check_files(folder, name)
    parameters = count_parameters(folder, name)
    hashes = _hashes(folder, files, name)
    return hashes, {
        "source": name,
        "revision": "sha256:" + hash_value([hashes[file] for file in sorted(hashes)]),
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "parameters": parameters,
        "vocabulary": config["vocab_size"],
    }


def _hashes(folder: Path, files: Sequence[str], name: str) -> dict[str, str]:
    """Hash of every one of `files`; the weights are looked at on the way.

    Raises:
        ModelError: a tensor holds a value that is NaN or infinite.
    """
    weights, found = weight_files(folder, name), {}
    for file in files:
        finite = FiniteWeights(folder / file) if file in weights else None
        found[file] = hash_file(folder / file, finite)
        if finite and finite.problem:
            raise ModelError(
                f"{name}: tensor {finite.problem} in {file} holds values that are NaN or infinite: every answer of "
                "this model would be noise. Fetch it again, or use the checkpoint before it broke."
            )
    return found


def pinned(source: EmbeddedBase | FolderBase | HubBase) -> EmbeddedBase | FolderBase | HubBase:
    """The source with the commit that its revision names now: a branch or a tag can move. Asks the hub only for those.

    Raises:
        ModelError: the hub does not answer, or knows no such model or revision.
    """
    if not isinstance(source, HubBase) or re.fullmatch("[0-9a-f]{40}", source.revision):
        return source
    with _reaching(source):
        return source.model_copy(update={"revision": _info(source).sha})


def recipe_hash(recipe: EmbeddedBase) -> str:
    """Identity of an embedded model: its recipe and the code that follows it."""
    code = code_hash("embedded/world.py", "embedded/corpus.py", "embedded/base_model.py")
    return hash_value({"recipe": recipe.model_dump(), "code": code})


def _embedded(recipe: EmbeddedBase, cache: Path, out: Path) -> str:
    from sft_pipeline.embedded import base_model

    revision = recipe_hash(recipe)
    if packaged := base_model.shipped(recipe):
        shutil.copytree(packaged, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(base_model.RECORD))
        if recipe.spread_unseen:
            base_model.spread_unseen(out)
        return revision
    kept = cache / "base" / revision
    if not _as_built(kept):
        if kept.exists():
            log.warning("%s: this cached embedded base is damaged or has no %s; it is rebuilt", kept, HASHES)
        kept.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=kept.parent, prefix="building-"))
        try:
            built = building / "built"
            base_model.build(recipe, built)
            (built / HASHES).write_text(json.dumps({path.name: hash_file(path) for path in built.iterdir()}))
            for path in (*built.iterdir(), built):
                flush(path)
            if kept.exists() and not _as_built(kept):
                os.rename(kept, building / "damaged")
            os.rename(built, kept)
            flush(kept.parent)
        except OSError:
            # Another run may have finished the same recipe meanwhile: then its result serves as well.
            if not _as_built(kept):
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    shutil.copytree(kept, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(HASHES))
    return revision


def _as_built(kept: Path) -> bool:
    """Whether the cached base holds the files of its list of hashes, unchanged, and no others."""
    try:
        hashes = json.loads((kept / HASHES).read_text())
        return hashes == {path.name: hash_file(path) for path in kept.iterdir() if path.name != HASHES}
    except (OSError, ValueError):
        return False


def _folder(folder: Path, out: Path) -> None:
    if not folder.is_dir():
        raise ModelError(
            f"{folder}: no such folder. model.source.path must name a folder with config.json, tokenizer.json and "
            "safetensors weights."
        )
    check_files(folder, str(folder))
    for name in (*TAKEN, *weight_files(folder, str(folder))):
        if (folder / name).is_file():
            _refuse_stray_link(folder, name)
            shutil.copyfile(folder / name, out / name)


def _refuse_stray_link(folder: Path, name: str) -> None:
    """Refuse a link to a file elsewhere, which would be copied into the store and shown.

    The hub's cache is made of links: models--…/snapshots/REVISION/NAME leads to models--…/blobs.

    Raises:
        ModelError: the file is such a link.
    """
    target, home = (folder / name).resolve(), folder.resolve()
    if not any(target.is_relative_to(place) for place in (home, home.parent.parent / "blobs")):
        raise ModelError(f"{folder / name} is a link that leaves the model's folder; put the file itself there.")


def _hub(source: HubBase, into: Path, out: Path) -> str:
    from huggingface_hub import snapshot_download

    name = f"{source.name}@{source.revision}"
    with _reaching(source):
        found = _info(source)
        names = [sibling.rfilename for sibling in found.siblings or ()]
        check_names(names, name)
        # What the small files tell is looked at before the weights come: they may be tens of gigabytes.
        snapshot_download(source.name, revision=found.sha, local_dir=into, allow_patterns=list(TAKEN))
        read_config(into, name)
        weights = weight_files(into, name)
        _require_weights(weights, names, name)
        snapshot_download(source.name, revision=found.sha, local_dir=into, allow_patterns=[*TAKEN, *weights])
    for file in {*TAKEN, *weights} & set(names):
        shutil.move(into / file, out / file)
    shutil.rmtree(into / ".cache", ignore_errors=True)
    return str(found.sha)


def _info(source: HubBase) -> "ModelInfo":
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT

    # By itself the library waits without an end for a hub that accepts and says nothing.
    return HfApi().model_info(source.name, revision=source.revision, timeout=HF_HUB_DOWNLOAD_TIMEOUT)


@contextmanager
def _reaching(source: HubBase) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx2.HTTPError, OSError, ValueError) as error:
        raise ModelError(
            f"{source.name}@{source.revision} cannot be fetched: {error}. A hub model needs the network, and its name and "
            "revision must exist; without a network, use a local folder (model.source.kind: folder)."
        ) from error


def check_files(folder: Path, name: str) -> dict[str, Any]:
    """Make sure that the folder holds a complete model that loads without running anything.

    Returns:
        The content of its config.json.

    Raises:
        ModelError: naming the missing or unwanted file.
    """
    config = read_config(folder, name)
    names = [p.name for p in folder.iterdir() if p.is_file()]
    check_names(names, name)
    _require_weights(weight_files(folder, name), names, name)
    return config


def weight_files(folder: Path, name: str) -> list[str]:
    """Names of the weight files that a loader reads: those in the index, without an index model.safetensors alone.

    Other safetensors files in a model's folder are the same weights in another layout (consolidated.safetensors) or
    belong to something else.

    Raises:
        ModelError: the index names no files.
    """
    index = folder / INDEX
    if not index.is_file():
        return [WEIGHTS]
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{name}: {INDEX} holds no weight_map; save the model again.") from error


def _require_weights(weights: Sequence[str], names: Sequence[str], name: str) -> None:
    """Make sure that the weight files are there, in the model's own folder and not below it."""
    if missing := [w for w in weights if w not in names or "/" in w]:
        raise ModelError(
            f"{name}: {len(missing)} weight file(s) missing beside config.json, first {missing[0]}. Fetch or save the "
            "model again, complete."
        )


def check_names(names: Sequence[str], name: str) -> None:
    """Make sure that among the file names are those of a model that loads without running anything.

    Raises:
        ModelError: naming what is missing or refused.
    """
    pickled = [n for n in names if any(fnmatch(n, pattern) for pattern in PICKLED)]
    if "config.json" not in names:
        raise ModelError(f"{name}: config.json is missing; the folder must hold a model in Hugging Face layout.")
    if not {WEIGHTS, INDEX} & set(names):
        problem = f"no weights: neither {WEIGHTS} nor {INDEX}"
        if pickled:
            problem = f"only pickled weights ({', '.join(sorted(pickled))}), which are refused"
        raise ModelError(f"{name}: {problem}. Save the model as safetensors: model.save_pretrained(folder).")
    if not any(set(files) <= set(names) for files in TOKENIZERS):
        raise ModelError(
            f"{name}: tokenizer.json is missing; the folder must hold tokenizer.json, tokenizer.model, or vocab.json with "
            "merges.txt."
        )


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The content of the model's config.json.

    Raises:
        ModelError: it is missing or damaged, the model is stored quantised, or it or its tokenizer asks for code of its
            own.
    """
    found: dict[str, Any] = {}
    for file in ("tokenizer_config.json", "config.json"):
        if not (folder / file).is_file():
            continue
        try:
            found = json.loads((folder / file).read_text("utf-8"))
        except ValueError as error:
            raise ModelError(f"{name}: {file} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ModelError(f"{name}: {file} is no JSON object.")
        if "auto_map" in found:
            raise ModelError(
                f"{name}: {file} asks for remote code (auto_map), which is never run here. Use a model whose "
                "architecture is part of transformers."
            )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{name}: config.json is missing; the folder must hold a model in Hugging Face layout.")
    if not isinstance(found.get("vocab_size"), int):
        raise ModelError(f"{name}: config.json has no vocab_size; it must be the configuration of a text model.")
    quantized = found.get("quantization_config")
    if quantized is not None:
        # A loader follows it and not the specification, whose quantisation the guard and the gate report.
        method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else "unknown"
        raise ModelError(
            f"{name}: config.json has a quantization_config (method {method}): these weights are stored quantised. Use "
            "the original, unquantised repository of the model and declare model.quantization."
        )
    return found


def count_parameters(folder: Path, name: str) -> int:
    """Number of weights in the model's safetensors files, from their headers; tied weights count once.

    Raises:
        ModelError: a file is no safetensors file, or is cut off.
    """
    from math import prod

    from safetensors import SafetensorError, safe_open

    total = 0
    for path in (folder / file for file in weight_files(folder, name)):
        try:
            with safe_open(path, framework="np") as tensors:
                total += sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except SafetensorError as error:
            raise ModelError(
                f"{name}: {path.name} is no complete safetensors file ({error}); fetch or save it again."
            ) from error
    return total
