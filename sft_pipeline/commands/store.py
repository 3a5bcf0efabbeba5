"""The artifact store: remove what nothing refers to, and go back to an earlier version."""

from datetime import timedelta
from typing import Annotated

import typer

from sft_pipeline.artifacts import Artifact
from sft_pipeline.commands.common import user_errors
from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.store import Store, default_store
from sft_pipeline.provenance.store.garbage import AGE, KEEP, collect


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is shown; without it nothing is changed.")] = False,
    keep: Annotated[int, typer.Option(min=0, help="Versions before the current one that keep their files.")] = KEEP,
    days: Annotated[
        float, typer.Option(min=0, help="Age at which an unfinished step's folder, or an upload, is given up.")
    ] = AGE.days,
) -> None:
    """Show what in the store nothing refers to, and with --yes remove it.

    Kept are the current version of every asset and experiment, the ones just before it, and what these were made from.
    Runs may go on meanwhile.
    """
    with user_errors():
        found = collect(Store(default_store()), keep=keep, age=timedelta(days=days), remove=yes)
    for garbage in found:
        typer.echo(f"{garbage.bytes:>15,}  {garbage.kind:13}  {garbage.name}")
    what = "removed" if yes else "nothing refers to these; --yes removes them"
    typer.echo(
        f"{sum(garbage.bytes for garbage in found):>15,}  bytes in {len(found)}: {what}"
        if found
        else "nothing to remove"
    )


def restore(
    name: Annotated[str, typer.Argument(help="Name of an experiment.")],
    asset: Annotated[str, typer.Argument(help="Name of an asset, such as lora_adapter.")],
    address: Annotated[str, typer.Option(help="Address of a version, or its beginning: make it current.")] = "",
) -> None:
    """List the stored versions of an asset, each checked against its hashes; with --address go back to one.

    Afterwards materialize what depends on it. Materializing the asset itself keeps the restored version only if it was
    made from the present specification, code and inputs.
    """
    with user_errors():
        store = Store(default_store())
        if not (stored := store.assets(name)):
            raise StoreError(f"nothing was materialized for an experiment {name!r}.")
        if asset not in stored:
            raise StoreError(f"no asset {asset!r} of experiment {name} is stored (stored are: {', '.join(stored)}).")
        if address:
            store.restore(asset, name, Artifact, address)
        for number, (version, problem) in enumerate(store.versions(asset, name)):
            typer.echo(
                f"{'current' if number == 0 else '':8} {version.address[:12]}  {version.written}  {problem or 'whole'}"
            )
