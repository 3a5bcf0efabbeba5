"""Dagster's storage in Postgres, whose tables one process at a time creates; see dagster_home/dagster.postgres.yaml."""

from collections.abc import Mapping
from typing import Any

from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
)
from sqlalchemy import text

LOCK = 0x5F7
"""Number of the lock; any other would do that nobody else locks in this database."""


class Storage(DagsterPostgresStorage):
    """As Dagster's own, opened under an advisory lock of the database.

    Dagster creates its tables one by one when a process finds them missing. A second process that opens the empty database
    in that moment fails on a table or row that is there, or is not there yet. The lock holds across machines and ends with
    its transaction, whatever happens to the process.
    """

    @classmethod
    def from_config_value(  # type: ignore[override]  # as Dagster's own
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterPostgresStorage:
        """Open the storage, and create its tables where there are none."""
        engine = create_pg_engine(pg_url_from_config(config_value), get_token_provider_from_config(config_value))
        try:
            with create_pg_connection(engine) as connection, connection.begin():
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                return super().from_config_value(inst_data, config_value)  # type: ignore[arg-type]
        finally:
            engine.dispose()
