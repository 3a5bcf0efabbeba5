"""Release, verification and reproduction of an experiment's lineage."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from sft_pipeline.commands.common import shown, user_errors
from sft_pipeline.errors import DataError, StoreError
from sft_pipeline.provenance import files
from sft_pipeline.specification import load_by_name, project_root

Key = Annotated[Path | None, typer.Option("--key", help="PEM file of the signer's public key, to check model.sig.")]


def release(
    name: Annotated[str, typer.Argument(help="Name of an experiment under specs/.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the release; it is made, and must be empty.")],
    report: Annotated[
        bool, typer.Option("--report", help="Without adapter and exports, and whatever the gate's verdict is.")
    ] = False,
    sign: Annotated[
        Path | None, typer.Option(help="PEM file of a private key to sign with; needs the extra `signing`.")
    ] = None,
    push: Annotated[str | None, typer.Option(help="Hub repository OWNER/NAME to publish the folder in.")] = None,
    revision: Annotated[str, typer.Option(help="Branch of that repository.")] = "main",
    public: Annotated[bool, typer.Option("--public", help="The repository may be public; default: private.")] = False,
) -> None:
    """Write the release of a gated adapter: a folder that proves what it is, see its README.md and verify.py.

    Only from a passed gate of exactly the stored artifacts, with capabilities and exports within their margins. A failed or
    refused gate can be published as a report. The same artifacts give the same bytes.
    """
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.provenance.verification import read_lineage
    from sft_pipeline.release import push as hub
    from sft_pipeline.release import signature
    from sft_pipeline.release.build import build
    from sft_pipeline.release.eligibility import OPTIONAL, PARTS
    from sft_pipeline.release.verify import check
    from sft_pipeline.report.experiment import cost

    with user_errors():
        experiment = load_by_name(name, project_root())
        found, damaged = read_lineage(Store(default_store()), name, {*PARTS, *OPTIONAL})
        if damaged:
            raise StoreError("; ".join(damaged.values()))
        kind: Literal["release", "report"] = "report" if report else "release"
        with tempfile.TemporaryDirectory(prefix="release-") as again:
            if push and (out / "SHA256SUMS").is_file():  # a push that broke off resumes with the folder that is there
                made = build(found, experiment, name, Path(again), kind)
                if (Path(again) / "SHA256SUMS").read_bytes() != (out / "SHA256SUMS").read_bytes() or check(str(out))[0]:
                    raise DataError(f"{out} is there already and is not this {kind}; name another folder.")
                if sign:  # it may have been written without
                    signature.sign(out, sign)
            else:
                with files.new_folder(out) as folder:
                    made = build(found, experiment, name, folder, kind)
                    if sign:
                        signature.sign(folder, sign)
        typer.echo(f"{made.kind} of {name}: {len(made.files)} files, {made.bytes:,} bytes → {shown(out)}")
        for line in cost.lines(cost.cost(found, experiment.release)):
            typer.echo(f"  {line}")
        if push:
            typer.echo(f"published: {hub.push(out, push, revision=revision, public=public)}")


def verify(
    name: Annotated[str, typer.Argument(help="Name of an experiment, or path of a release folder.")], key: Key = None
) -> None:
    """Check every file of an experiment's lineage, or of a release, against its hash, and every link to what it was made from.

    Of a release it says whether it is signed, unsigned or broken; without a key a signature is not checked.
    """
    folder = Path(name)
    if os.sep in name or (folder.is_dir() and any((folder / file).exists() for file in ("SHA256SUMS", "release.json"))):
        _verify_release(folder, key)
    _verify_lineage(name)


def _verify_release(folder: Path, key: Path | None) -> None:
    from sft_pipeline.release import signature
    from sft_pipeline.release.verify import check

    with user_errors():
        if not folder.is_dir():
            raise DataError(
                f"there is no folder {str(folder)!r}; give that of a release, or the name of an experiment."
            )
        problems, manifest = check(str(folder))
        for problem in problems:
            typer.secho(problem, fg=typer.colors.RED, err=True)
        if problems:  # whoever signed it did not sign this
            typer.secho(f"broken: {len(problems)} problems", fg=typer.colors.RED, err=True)
            raise typer.Exit(1)
        typer.echo(f"{manifest['kind']} {manifest['name']}: verdict {manifest['verdict']}, every file and link matches")
        state, why = signature.state(folder, key)
    typer.echo(f"signature: {state}, {why}")
    raise typer.Exit(1 if state == "broken" or (key is not None and state != "signed") else 0)


def _verify_lineage(name: str) -> None:
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.provenance.store.work_folders import check_names
    from sft_pipeline.provenance.verification import verify_lineage

    with user_errors():
        check_names(name)
        problems, checked = verify_lineage(Store(default_store()), name)
    for asset, count in checked.items():
        typer.echo(f"{asset:20} {count} files")
    for problem in problems:
        typer.secho(problem, fg=typer.colors.RED, err=True)
    if not checked and not problems:
        typer.secho(f"error: nothing was materialized for {name}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2)
    raise typer.Exit(1 if problems else 0)


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of an experiment that was run here from the same specification.")],
    reference: Annotated[Path, typer.Argument(help="Folder of its release or report, made elsewhere.")],
) -> None:
    """Hold the stored lineage of an experiment against a release or report: is every artifact the same?

    Where they differ it names the first asset that does, and what differs of it and of the environments.
    """
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.provenance.verification import read_lineage
    from sft_pipeline.release.reproduce import compare, read, stored

    with user_errors():
        there = read(reference)
        found, damaged = read_lineage(Store(default_store()), name, there)
        if damaged:
            raise StoreError("; ".join(damaged.values()))
        if not found:
            raise StoreError(f"nothing was materialized for {name}: sft-pipeline run {name}")
        result = compare(there, stored(found))
    for asset in there:
        state = (
            "same" if asset in result.same else "differs" if asset in (*result.first, *result.later) else "missing here"
        )
        typer.echo(f"{asset:20} {state}")
    for asset in result.first:
        typer.secho(f"the lineages differ from {asset} on", fg=typer.colors.RED, err=True)
    for reason in result.reasons:
        typer.secho(reason, fg=typer.colors.RED, err=True)
    raise typer.Exit(1 if result.first or result.missing else 0)
