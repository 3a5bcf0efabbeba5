"""Raw source to splits."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.step import logged, produce, produce_one
from sft_pipeline.lineage.tags import DATA
from sft_pipeline.provenance.environment import library_versions
from sft_pipeline.provenance.hashing import hash_file, hash_value
from sft_pipeline.specification import expand_path

if TYPE_CHECKING:
    from sft_pipeline.experiment import Leakage, Quality

SPLITS = dict.fromkeys(("train_split", "dev_split", "test_split"), InstructionDataset)


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


def build(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`raw_dataset`, `clean_dataset` and the three splits."""

    @dg.asset(partitions_def=partitions, group_name=DATA, kinds={"parquet"}, code_version=code_version("raw_dataset"))
    def raw_dataset(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult[InstructionDataset]:
        """Snapshot of the source as it was read, with the rows that could not be read and why."""
        from sft_pipeline.dataset import source

        spec = project.experiment(context.partition_key).data
        benchmarks, limit = spec.leakage.benchmarks, spec.quality.max_unreadable_share
        return produce_one(
            context,
            project,
            InstructionDataset,
            depends={
                "source": spec.source,
                "test": spec.test,
                "benchmarks": {name: file.model_dump(mode="json") for name, file in benchmarks.items()},
                "max_unreadable_share": limit,
            },
            upstream={},
            make=lambda out, work: source.read(
                spec.source,
                Path(project.root),
                out,
                test=spec.test,
                benchmarks=benchmarks,
                max_unreadable_share=limit,
                progress=logged(context),
            ),
            reusable=spec.source.kind != "file" and spec.test is None and not benchmarks,
        )

    @dg.asset(partitions_def=partitions, group_name=DATA, kinds={"parquet"}, code_version=code_version("clean_dataset"))
    def clean_dataset(
        context: dg.AssetExecutionContext,
        project: Project,
        raw_dataset: InstructionDataset,
        base_model: ModelSnapshot,
    ) -> dg.MaterializeResult[InstructionDataset]:
        """What passed the quality filters and is no duplicate; beside it every dropped row with the reason.

        The base model lends its tokenizer: lengths are counted in the experiment's own tokens. Where the specification
        asks for a critic, the base model judges the rows too.
        """
        from sft_pipeline.dataset import cleaning, source
        from sft_pipeline.model.critic import critic
        from sft_pipeline.model.loader import load_tokenizer

        experiment = project.experiment(context.partition_key)
        spec, rules = experiment.data, experiment.data.quality.critic

        def make(out: Path, work: Path) -> InstructionDataset:
            source.require_readable(raw_dataset)
            return cleaning.clean(
                raw_dataset,
                spec,
                out,
                root=Path(project.root),
                count_tokens=load_tokenizer(base_model.root).count,
                criticise=critic(base_model, experiment.model, rules) if rules else None,
                progress=logged(context),
            )

        with user_errors():
            tools = _filters(spec.quality, Path(project.root))
        depends = {"quality": spec.quality, "duplicates": spec.duplicates, **tools}
        return produce_one(
            context,
            project,
            InstructionDataset,
            depends=depends | ({"model": experiment.model} if rules else {}),
            upstream={"raw_dataset": raw_dataset, "base_model": base_model},
            make=make,
        )

    @dg.multi_asset(
        name="splits",
        partitions_def=partitions,
        group_name=DATA,
        outs={
            name: dg.AssetOut(
                dagster_type=kind, kinds={"parquet"}, code_version=code_version("splits"), description=text
            )
            for (name, kind), text in zip(
                SPLITS.items(),
                (
                    "Rows to train on: no near-duplicate and no group of them stands in another split.",
                    "Rows to steer by: dev loss, headroom of the base, choice of a checkpoint.",
                    "Items for the gate alone, with the proof that nothing of them leaked into training.",
                ),
                strict=True,
            )
        },
    )
    def splits(
        context: dg.AssetExecutionContext,
        project: Project,
        clean_dataset: InstructionDataset,
        raw_dataset: InstructionDataset,
    ):
        from sft_pipeline.dataset.split import split

        spec = project.experiment(context.partition_key).data

        def make(outs: dict[str, Path], work: Path) -> dict[str, InstructionDataset]:
            made = split(
                clean_dataset,
                spec,
                {name: outs[f"{name}_split"] for name in ("train", "dev", "test")},
                root=Path(project.root),
                test=raw_dataset.external_test,
                benchmarks=raw_dataset.benchmarks,
                progress=logged(context),
            )
            return {f"{name}_split": dataset for name, dataset in made.items()}

        with user_errors():
            tools = _embedding(spec.leakage, Path(project.root))
        depends = {"split": spec.split, "duplicates": spec.duplicates, "leakage": spec.leakage, "test": spec.test}
        yield from produce(
            context,
            project,
            SPLITS,
            depends=depends | tools,
            upstream={"clean_dataset": clean_dataset, "raw_dataset": raw_dataset},
            make=make,
            code="splits",
        )

    return [raw_dataset, clean_dataset, splits]
