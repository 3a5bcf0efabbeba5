"""Datasets, the rows rejected from them, and the proof that they do not leak."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen
from sft_pipeline.provenance.hashing import hash_value


class Threshold(Frozen):
    """A figure of the data against its declared limit."""

    name: str
    value: float
    limit: float
    direction: Literal["at most", "at least"]

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit; a value equal to it does."""
        return self.value <= self.limit if self.direction == "at most" else self.value >= self.limit


class LeakedPair(Frozen):
    """A test item and the training row that comes nearest to it by one tier of the comparison."""

    tier: Literal["exact", "near", "group", "contained", "semantic"]
    test_id: str
    train_id: str
    similarity: float = Field(description="Jaccard, contained share or cosine, after the tier; 1 for exact and group.")
    test_text: str
    train_text: str = Field(description="The instruction; where n-grams are contained, instruction and response.")
    matched: str = Field("", description="The longest run of words that both hold, cut to 300 characters.")
    test_source: str = Field("", description="File and row of the test item, where they are known.")
    train_source: str = Field("", description="File and row of the training row, where they are known.")


class LeakageProof(Frozen):
    """What was compared between training rows and test items, how, and what was found; counts are of test items.

    `exact`, `near` and `groups` must be 0, and so must `contained_over_limit` and, where it decides, `semantic`.
    Everything in it can be recomputed from the two files whose hashes it names.
    """

    against: str = Field(description="Names of the compared sides, such as train+dev → test.")
    train_rows: int
    test_rows: int
    train_sha256: str = Field(
        "", description="Hash of the normalised instruction, the response and the group of each training row, in order."
    )
    test_sha256: str = Field(
        "", description="Hash of the normalised instruction and the group of each test row, in order."
    )
    training_data_sha256: str = Field(
        "", description="The same of the training rows as they stand: an adapter names it, too."
    )
    ngram: int
    threshold: float
    containment_ngram: int
    max_contained_share: float
    exact: int
    near: int = Field(description="Near-duplicates that are not exact.")
    groups: int
    contained: int = Field(description="Test items that share a word n-gram with a training instruction.")
    contained_over_limit: int = Field(
        description="Test items of which more than max_contained_share stands in training, responses included."
    )
    semantic: int | None = Field(None, description="Test items at or above the semantic threshold; None: not compared.")
    semantic_model: str = ""
    semantic_threshold: float | None = None
    semantic_decides: bool = False
    not_compared: tuple[str, ...] = Field((), description="What was not looked for, and what could not be looked at.")
    leaks: tuple[LeakedPair, ...] = Field((), description="All leaks, tier by tier.")
    nearest: tuple[LeakedPair, ...] = Field((), description="The most similar pairs of each tier, leaks or not.")

    @property
    def clean(self) -> bool:
        """Whether no test item leaks by any of the tiers that decide."""
        leaks = self.exact + self.near + self.groups + self.contained_over_limit
        return leaks + ((self.semantic or 0) if self.semantic_decides else 0) == 0


class LengthDistribution(Frozen):
    """Lengths of a text field of the kept rows, with a histogram (`counts[i]` rows from `edges[i]` to `edges[i+1]`)."""

    name: str = Field(description="Such as response_tokens.")
    median: float
    mean: float
    p95: float
    largest: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class FilterOutcome(Frozen):
    """What one filter did: it matched `matched` rows; of `dropped` rows it was the first filter to match."""

    name: str
    matched: int
    dropped: int


class RejectedSample(Frozen):
    """A rejected row for the report; the texts are cut."""

    filter: str
    reason: str
    matched: str
    instruction: str
    response: str
    source_file: str
    source_row: int


class DuplicateClusters(Frozen):
    """Clusters of duplicates on one level, of two rows and more."""

    level: Literal["exact", "pair", "instruction"]
    clusters: int
    rows: int = Field(description="Rows in them.")
    largest: int
    dropped: int


class QualityManifest(Frozen):
    """What the quality stage reports about a dataset: `manifest.json`, from which the page is made."""

    source: str
    source_schema: str
    rows_read: int
    rows_unreadable: int
    rows_kept: int
    types: dict[str, int]
    unique_instructions: int
    filters: tuple[FilterOutcome, ...]
    duplicates: tuple[DuplicateClusters, ...]
    lengths: tuple[LengthDistribution, ...]
    thresholds: tuple[Threshold, ...]
    acceptance: dict[str, float] = Field({}, description="Share that each critic accepted of the rows it judged.")
    samples: tuple[RejectedSample, ...] = ()
    libraries: dict[str, str] = Field({}, description="Libraries that decided something, with their versions.")
    notes: tuple[str, ...] = ()


class SourceFiles(Frozen):
    """A file or a folder that was read, as it was at that time."""

    path: str = Field(description="As it is written in the specification.")
    files: int | None = Field(None, description="Files of a folder that were read; None for a single file.")
    sha256: str = Field(
        description="Of the file; of a folder that of the list of its files that are read, in the order of their names, "
        "as `sha256sum` prints it: `cd FOLDER && sha256sum NAME NAME … | sha256sum`."
    )
    bytes: int

    def __str__(self) -> str:
        if self.files is None:
            return f"{self.path} (sha256 {self.sha256}, {self.bytes} bytes)"
        count = f"{self.files} file{'s' if self.files > 1 else ''}"
        return f"{self.path} ({count}, sha256 of their list {self.sha256}, {self.bytes} bytes)"


class InstructionDataset(Artifact):
    """Instruction rows in `rows.parquet` (schema: dataset/table.py) and, beside them, the rejected rows.

    `rejected.parquet` holds every rejected row with the filter, the reason and the matched text. A raw dataset also
    carries its external inputs: `test.parquet` and `benchmarks/NAME.parquet`. A clean one carries
    `duplicates.parquet` (every cluster, and which member was kept and why), `manifest.json` and `report.html`.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("report.html", "*.png")
    PRIVATE: ClassVar[tuple[str, ...]] = ("unreadable",)
    ROWS: ClassVar[str] = "rows.parquet"
    REJECTED: ClassVar[str] = "rejected.parquet"
    TEST: ClassVar[str] = "test.parquet"
    DUPLICATES: ClassVar[str] = "duplicates.parquet"
    MANIFEST: ClassVar[str] = "manifest.json"
    REPORT: ClassVar[str] = "report.html"
    CROISSANT: ClassVar[str] = "croissant.json"

    stage: Literal["raw", "clean", "train", "dev", "test"]
    rows: int
    rejected: dict[str, int] = Field({}, description="Rejected rows, by reason.")
    types: dict[str, int] = Field({}, description="Rows by item type.")
    source: str = Field("", description="Where the rows came from, with the SHA-256 of the bytes that were read.")
    source_files: dict[str, SourceFiles] = Field(
        {}, description="The files that a raw dataset was read from, by the specification's field that names them."
    )
    source_schema: str = Field("", description="Recognised schema or mapping.")
    unreadable: tuple[str, ...] = Field(
        (), description="File, row and reason of the first rows of a raw dataset that could not be read."
    )
    statistics: dict[str, float] = Field({}, description="Length statistics: name → value.")
    thresholds: tuple[Threshold, ...] = ()
    proof: LeakageProof | None = Field(None, description="Only on dev and test: the leakage proof against training.")
    notes: tuple[str, ...] = Field((), description="What a reader should know, such as a smaller test set and why.")

    @property
    def described(self) -> dict[str, Any]:
        """The content; the pairs of rows that the proof quotes stand in it by their hashes, beside its figures."""
        found = super().described
        if proof := found["content"]["proof"]:
            proof |= {name: hash_value(proof[name]) for name in ("leaks", "nearest")}
        return found

    @property
    def external_test(self) -> Path | None:
        """Rows of the external test file of a raw dataset, if it has one."""
        return self.path(self.TEST) if self.TEST in self.files else None

    @property
    def benchmarks(self) -> dict[str, Path]:
        """Items of the held-out benchmarks of a raw dataset, by name."""
        found = (Path(name) for name in self.files)
        return {path.stem: self.path(path.as_posix()) for path in found if path.parent == Path("benchmarks")}
