"""Raw source to splits."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot
from sft_pipeline.lineage import asset_checks, metadata
from sft_pipeline.lineage.asset import Check
from sft_pipeline.lineage.step import Work, step
from sft_pipeline.lineage.tags import DATA
from sft_pipeline.provenance.environment import library_versions
from sft_pipeline.provenance.hashing import hash_file, hash_value
from sft_pipeline.specification import expand_path

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment, Leakage, Quality

SPLITS = {
    "train_split": "Rows to train on: no near-duplicate and no group of them stands in another split.",
    "dev_split": "Rows to steer by: dev loss, headroom of the base, choice of a checkpoint.",
    "test_split": "Items for the gate alone, with the proof that nothing of them leaked into training.",
}


def _filters(quality: "Quality", root: Path) -> dict[str, dict[str, str]]:
    """What the declared filters judge by besides the specification: libraries and weights; nothing without them."""
    wanted: list[str] = []
    used: dict[str, dict[str, str]] = {}
    if quality.languages:
        wanted += ["py3langid"]
    if quality.personal_data:
        wanted += ["presidio-analyzer", "spacy", "phonenumbers", "tldextract"]
    if quality.toxicity and quality.toxicity.words:
        wanted += ["profanex"]
    if quality.toxicity and quality.toxicity.classifier is not None:
        wanted += ["torch", "transformers", "tokenizers"]
        used["models"] = {"classifier": _content(expand_path(quality.toxicity.classifier, root))}
    return used | ({"libraries": library_versions(*wanted)} if wanted else {})


def _embedding(leakage: "Leakage", root: Path) -> dict[str, dict[str, str]]:
    """The same for the semantic tier of the leakage proof."""
    from sft_pipeline.dataset.leakage.semantic import PACKAGE

    if leakage.semantic is None:
        return {}
    libraries, model = ["sentence-transformers", "torch", "transformers", "tokenizers"], leakage.semantic.model
    if model.startswith(PACKAGE):
        return {"libraries": library_versions(*libraries, model.removeprefix(PACKAGE))}
    return {"libraries": library_versions(*libraries), "models": {"semantic": _content(expand_path(model, root))}}


def _content(folder: Path) -> str:
    """Hash of the names and bytes of a model's files: other weights may come to lie in the same folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    # What begins with a point is a download's own bookkeeping.
    return hash_value({name: hash_file(path) for name, path in files.items() if "/." not in f"/{name}"})


def _reading(experiment: "Experiment", root: Path) -> dict[str, Any]:
    data = experiment.data
    return {
        "source": data.source,
        "test": data.test,
        "benchmarks": {name: file.model_dump(mode="json") for name, file in data.leakage.benchmarks.items()},
        "max_unreadable_share": data.quality.max_unreadable_share,
        **({"capabilities": held} if (held := _held_out(experiment)) else {}),
    }


def _held_out(experiment: "Experiment") -> dict[str, Any]:
    """The benchmarks of the capability report as far as they decide which items are held out."""
    declared = experiment.evaluation.capabilities
    parts = {"task", "items", "world_seed"}
    return {n: b.model_dump(mode="json", include=parts) for n, b in (declared.benchmarks if declared else {}).items()}


def _cleaning(experiment: "Experiment", root: Path) -> dict[str, Any]:
    data = experiment.data
    judge = {"model": experiment.model} if data.quality.critic else {}
    writing: dict[str, Any] = {}
    if experiment.prompt.format == "chat":
        writing = {"prompt": experiment.prompt, "allowed": experiment.model.allowed_template_tokens}
    return {"quality": data.quality, "duplicates": data.duplicates, **_filters(data.quality, root), **judge, **writing}


def _splitting(experiment: "Experiment", root: Path) -> dict[str, Any]:
    data = experiment.data
    parts = {"split": data.split, "duplicates": data.duplicates, "leakage": data.leakage, "test": data.test}
    return parts | _embedding(data.leakage, root)


def _from_store_alone(experiment: "Experiment") -> bool:
    data = experiment.data
    files = data.source.kind == "file" or data.test is not None or data.leakage.benchmarks
    return not files and not any(benchmark["items"] for benchmark in _held_out(experiment).values())


@step(
    InstructionDataset,
    group=DATA,
    docs="docs/how-to/data.md",
    code=["dataset/source/read.py", "capabilities/items.py"],
    depends=_reading,
    reusable=_from_store_alone,
    metadata=metadata.dataset,
    checks=[Check(asset_checks.unreadable_share)],
    kinds=["parquet"],
)
def raw_dataset(work: Work) -> InstructionDataset:
    """Snapshot of the source as it was read, with the rows that could not be read and why."""
    from sft_pipeline.capabilities.items import held_out
    from sft_pipeline.dataset import parallel, source

    data = work.experiment.data
    return source.read(
        data.source,
        work.root,
        work.out,
        test=data.test,
        benchmarks=data.leakage.benchmarks,
        held_out_items=held_out(work.experiment.evaluation.capabilities, work.root),
        max_unreadable_share=data.quality.max_unreadable_share,
        progress=work.progress,
        processes=parallel.declared(),
    )


@step(
    InstructionDataset,
    group=DATA,
    docs="docs/how-to/data.md",
    code=["dataset/cleaning/clean.py", "model/critic.py", "model/prompts.py"],
    borders={"dataset/source": "refuses rows that could not be read; those that could are an input"},
    depends=_cleaning,
    metadata=metadata.dataset,
    checks=[Check(asset_checks.quality_thresholds, asset_checks.QUALITY)],
    kinds=["parquet"],
)
def clean_dataset(work: Work, raw_dataset: InstructionDataset, base_model: ModelSnapshot) -> InstructionDataset:
    """What passed the quality filters and is no duplicate; beside it every rejected row with the reason.

    The base model lends its tokenizer: lengths are counted in the experiment's own tokens. Where the specification
    asks for a critic, the base model judges the rows too. Conversations that its chat template cannot write are dropped.
    """
    from sft_pipeline.dataset import cleaning, parallel, source
    from sft_pipeline.model.critic import critic
    from sft_pipeline.model.prompts import unwritable
    from sft_pipeline.model.tokenizer import load_tokenizer

    experiment = work.experiment
    rules = experiment.data.quality.critic
    source.require_readable(raw_dataset)
    chat = experiment.prompt.format == "chat"
    tokenizer = load_tokenizer(base_model.root, experiment.model if chat else None, experiment.prompt)
    return cleaning.clean(
        raw_dataset,
        experiment.data,
        work.out,
        root=work.root,
        count_tokens=tokenizer.count,
        criticise=critic(base_model, experiment.model, rules) if rules else None,
        unwritable=partial(unwritable, tokenizer.chat) if tokenizer.chat else None,
        progress=work.progress,
        processes=parallel.declared(),
    )


@step(
    InstructionDataset,
    group=DATA,
    docs="docs/how-to/data.md",
    code=["dataset/split/split.py"],
    depends=_splitting,
    metadata=metadata.dataset,
    outputs=SPLITS,
    checks={
        "dev_split": [Check(asset_checks.dev_does_not_leak)],
        "test_split": [Check(asset_checks.test_does_not_leak)],
    },
    kinds=["parquet"],
)
def splits(
    work: Work, clean_dataset: InstructionDataset, raw_dataset: InstructionDataset
) -> dict[str, InstructionDataset]:
    """The three splits."""
    from sft_pipeline.dataset import parallel
    from sft_pipeline.dataset.split.split import split

    made = split(
        clean_dataset,
        work.experiment.data,
        {name.removesuffix("_split"): folder for name, folder in work.outs.items()},
        root=work.root,
        test=raw_dataset.external_test,
        benchmarks=raw_dataset.benchmarks,
        progress=work.progress,
        processes=parallel.declared(),
    )
    return {f"{name}_split": dataset for name, dataset in made.items()}
