"""Where a run finds specifications and the artifact store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from sft_pipeline.errors import PipelineError
from sft_pipeline.provenance.store import Store
from sft_pipeline.specification import load_by_name

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn the project's own errors into a Dagster failure: the message counts, and a retry would not help."""
    try:
        yield
    except PipelineError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


class Project(dg.ConfigurableResource):
    """The project's root folder, which holds `specs/`, and its artifact store."""

    root: str
    store: str

    def experiment(self, name: str) -> "Experiment":
        """The experiment that the partition key names, read from its file now."""
        with user_errors():
            return load_by_name(name, Path(self.root))

    def artifacts(self) -> Store:
        """The store that assets are written to and read from: in a folder, or behind a URL."""
        with user_errors():
            return Store(self.store)
