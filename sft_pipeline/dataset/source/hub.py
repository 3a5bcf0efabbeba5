"""A hub dataset at its commit."""

import hashlib
import json
from collections.abc import Iterator

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source.items import Item, Unreadable
from sft_pipeline.dataset.source.tables import values
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import HubData


class HubRows:
    """The rows of a hub dataset, read from its Arrow files in batches; `total` rows.

    The library downloads the files of the commit into its cache and maps them into memory. It runs no code of the
    dataset's repository: the version that this project pins cannot.

    Raises:
        DataError: the dataset cannot be loaded, for which the network is needed.
    """

    def __init__(self, source: HubData) -> None:
        import datasets

        self.file = f"{source.name}@{source.revision}:{source.split}"
        if source.name.count("/") != 1:
            raise DataError(f"data.source.name {source.name!r}: a hub dataset is named owner/name")
        try:
            # With this prefix a folder that happens to have the dataset's name is not taken for it.
            name = f"hf://datasets/{source.name}"
            self._data = datasets.load_dataset(name, revision=source.revision, split=source.split)
        except Exception as error:  # network, authorisation and format errors come from five libraries below
            raise DataError(
                f"data.source: the hub dataset {self.file} cannot be loaded: {type(error).__name__}: {error}. It needs "
                "the network (and HF_TOKEN where it is gated); without it, download the files once and use kind: file"
            ) from error
        self.total = len(self._data)
        self._digest = hashlib.sha256()

    def items(self) -> Iterator[Item]:
        """The rows, numbered by their positions."""
        number = 0
        for batch in self._data.with_format("arrow").iter(table.BATCH):
            for value in values(batch):
                number += 1
                shown = str(value) if isinstance(value, Unreadable) else value
                self._digest.update(json.dumps(shown, sort_keys=True, default=str).encode() + b"\n")
                yield number, value, ""

    def description(self) -> str:
        """What was read; the hash is that of the rows read so far, each as JSON with sorted keys on a line."""
        return f"hub dataset {self.file} (sha256 of the rows as JSON lines {self._digest.hexdigest()})"
