"""The Dagster UI with the stored pages beside it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import user_errors
from sft_pipeline.commands.dagster_home import dagster_home
from sft_pipeline.provenance.store import Store, default_store
from sft_pipeline.report.page_server import PORT, address, server
from sft_pipeline.specification import project_root

STORE_URL = "SFT_PIPELINE_STORE_URL"


def ui(
    port: Annotated[int, typer.Option(help="Port of the UI on 127.0.0.1.")] = 3000,
    pages_port: Annotated[int, typer.Option(help="Port of the stored pages on 127.0.0.1.")] = PORT,
) -> None:
    """Start Dagster's UI and daemon for this project, on this machine only, until Ctrl-C.

    The reports in the store are served beside it, each under an address that nobody can guess. With a remote store, or
    where SFT_PIPELINE_STORE_URL is set, reports are left to the address that it names.
    """
    environment = os.environ | {"DAGSTER_DISABLE_TELEMETRY": "yes"}
    with user_errors():
        environment["DAGSTER_HOME"] = str(dagster_home())
        store = Store(default_store())
        pages = None
        if not store.remote and not os.environ.get(STORE_URL):
            pages = server(store.root, pages_port)
            threading.Thread(target=pages.serve_forever, daemon=True).start()
            environment[STORE_URL] = address(store.root, pages_port)
    workspace = project_root() / "workspace.yaml"
    target = ["-w", str(workspace)] if workspace.is_file() else ["-m", "sft_pipeline.definitions"]
    command = [str(Path(sys.executable).with_name("dagster")), "dev", *target]
    # Dagster takes SIGTERM as it takes SIGINT, which a script's background jobs inherit as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # `kill` and service managers tell this process alone
    while True:
        try:
            raise typer.Exit(process.wait())
        except KeyboardInterrupt:  # Ctrl-C reaches Dagster as well, which ends by it
            continue
        finally:
            if pages is not None and process.poll() is not None:
                pages.shutdown()
