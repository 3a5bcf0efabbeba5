"""The page of an experiment, made from what is stored whenever somebody asks for it, so that it is never out of date.

Beside it the header of every stored page: which other pages the lineage has, and how each stage came out.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sft_pipeline.artifacts import Artifact, CapabilityReport, GateReport
from sft_pipeline.errors import PipelineError, StoreError
from sft_pipeline.experiment import Experiment, Release
from sft_pipeline.provenance.hashing import hash_file
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.store.work_folders import check_names
from sft_pipeline.provenance.verification import link_problems, read_lineage
from sft_pipeline.report.experiment.cost import Cost, cost
from sft_pipeline.report.experiment.section import Picture, Section, Word
from sft_pipeline.report.experiment.sections import sections, summary
from sft_pipeline.report.gate.text import headline
from sft_pipeline.report.rendering import Stage, render, with_lineage
from sft_pipeline.specification import load_by_name, project_root

PAGES = {
    "data": ("clean_dataset", "report.html"),
    "search": ("search_report", "search.html"),
    "mask audit": ("lora_adapter", "mask_audit.html"),
    "gate": ("gate_report", "gate.html"),
    "capabilities": ("capability_report", "capabilities.html"),
}
"""Asset and file of the stored pages, by the stage that they show."""

PLACES = ("data", "base", "plan", "search", "mask audit", "training", "gate", "capabilities", "review", "release")
"""The stages that the header of a page names."""

ROWS = 40
"""Most lines of a table; the page of the stage has all of them."""


class Lineage(NamedTuple):
    """What is stored of an experiment.

    Attributes:
        name: of the experiment.
        found: the artifacts, by asset; their files were not looked at.
        damaged: what is wrong with those that cannot be read, by asset.
        unfinished: steps that have begun and are not stored, and whether a process works on them now.
        written: when the newest artifact was stored; empty where that is not known.
        experiment: the specification as it is now; None where it cannot be read.
        problem: why it cannot.
        within: release or report, where the page is a part of one.
    """

    name: str
    found: Mapping[str, Artifact]
    damaged: Mapping[str, str] = {}
    unfinished: Mapping[str, bool] = {}
    written: str = ""
    experiment: Experiment | None = None
    problem: str = ""
    within: str = ""


def read(store: Store, name: str) -> Lineage:
    """What is stored of an experiment, and its specification.

    Raises:
        StoreError: the store cannot be read, or it holds nothing of the experiment and there is no specification of it.
    """
    check_names(name)
    found, damaged = read_lineage(store, name, checked=False)
    experiment, problem = None, ""
    try:
        experiment = load_by_name(name, project_root())
    except PipelineError as error:
        problem = str(error)
    if not found and not damaged and experiment is None:
        raise StoreError(f"nothing was materialized for an experiment {name!r}, and {problem}")
    pointers = [store.pointer(asset, name) for asset in found]
    written = max((p.written for p in pointers if p), default="")
    return Lineage(name, found, damaged, store.unfinished(name), written, experiment, problem)


def page(lineage: Lineage, pages: Mapping[str, str], verify: str = "") -> str:
    """The page as HTML.

    Args:
        lineage: what is stored.
        pages: addresses of stored pages, by stage; a stage without one has no link.
        verify: command that checks every file.
    """
    spent = cost(lineage.found, lineage.experiment.release if lineage.experiment else Release())
    stages = _sections(lineage, spent)
    verdict, outcome = _verdict(lineage, stages)
    verify = verify or f"sft-pipeline verify {lineage.name}"
    unseen = [f"the files of the artifacts: this page shows what was stored of them; {verify} checks every file"]
    if lineage.written:
        unseen.append("whether the specification was edited since: sft-pipeline run makes what an edit has outdated")
    unseen += [text for section in stages for text in section.unseen]
    known = {asset for section in stages for asset in section.assets} | {"search_report"}
    other = sorted({*lineage.found, *lineage.damaged} - known)
    if other:
        unseen.append(f"{', '.join(other)}: stored, and not shown here")
    return render(
        "experiment.html.j2",
        {"kind": lambda cell: type(cell).__name__},
        name=lineage.name,
        description=lineage.experiment.description if lineage.experiment else "",
        problem=lineage.problem,
        written=lineage.written,
        verdict=verdict,
        outcome=outcome,
        figures=summary(stages, spent),
        mixed=link_problems(lineage.found, lineage.name, lineage.damaged),
        sections=stages,
        pages={key: pages[key] for key in ("data", "search", "gate", "capabilities") if key in pages}
        | ({"training": pages["mask audit"]} if "mask audit" in pages else {}),
        pictures={s.key: _picture(lineage.found, s.picture) for s in stages if s.picture},
        rows=ROWS,
        unseen=unseen,
    )


def stages(lineage: Lineage, sheet: str, pages: Mapping[str, str], here: str = "") -> list[Stage]:
    """The stages of the lineage for the header of a page.

    Args:
        lineage: what is stored.
        sheet: address of the page of the experiment.
        pages: addresses of stored pages, by stage.
        here: the stage of the page itself.
    """
    made = {section.key: section for section in _sections(lineage, cost(lineage.found, Release()))}
    found = [Stage(f"experiment {lineage.name}", sheet)]
    for place in PLACES:
        section, address = made.get(place), pages.get(place)
        if section:
            address = address or f"{sheet}#{section.key}"
            found.append(Stage(place, address, section.state, section.outcome, place == here))
        elif address:  # the mask audit is a part of the training
            found.append(Stage(place, address, here=place == here))
    return found


def stored_pages(store: Store, lineage: Lineage) -> dict[str, str]:
    """Path of the stored pages below `objects/`, by stage: of the current artifacts."""
    found = {}
    for stage, (asset, file) in PAGES.items():
        if (
            asset in lineage.found
            and file in lineage.found[asset].files
            and (pointer := store.pointer(asset, lineage.name))
        ):
            found[stage] = f"{asset}/{pointer.address}/files/{file}"
    return found


def neighbours(store: Store, experiment: str, versions: Mapping[str, str], making: Sequence[str]) -> list[Stage]:
    """The stages that a page which is being made can link to: pages of what its artifact was made from.

    Args:
        store: the store.
        experiment: the experiment.
        versions: of all that it was made from, by asset.
        making: the assets that are being made.
    """
    found = []
    for stage, (asset, file) in PAGES.items():
        if asset in making:
            found.append(Stage(stage, here=True))
        elif asset in versions:
            try:
                pointer = store.pointer(asset, experiment)
            except StoreError:
                continue
            if pointer and pointer.version == versions[asset]:
                found.append(Stage(stage, f"../../../{asset}/{pointer.address}/files/{file}"))
    return found if any(stage.address for stage in found) else []


def served(store: Store, path: Sequence[str]) -> bytes | None:
    """What the page server answers: the page of an experiment, or a stored page with its neighbours of today.

    Args:
        store: a local store.
        path: parts of the address: experiments, NAME.html; or those of a page below `objects/`.
    """
    if len(path) == 2 and path[0] == "experiments":
        try:
            lineage = read(store, path[1].removesuffix(".html"))
            return page(lineage, {k: f"../{v}" for k, v in stored_pages(store, lineage).items()}).encode()
        except StoreError:
            return None
    content = store.root.resolve().joinpath("objects", *path).read_bytes()
    stage = next((stage for stage, (asset, file) in PAGES.items() if (asset, file) == (path[0], path[-1])), "")
    if not stage:
        return content
    return with_lineage(content.decode(), _around(store, stage, path)).encode()


def _around(store: Store, stage: str, path: Sequence[str]) -> list[Stage]:
    """The header of a stored page: of the experiment whose current artifact it belongs to, or else only what it is not."""
    before = ""
    for asset, name in store.objects.pointers():
        if asset != path[0]:
            continue
        try:
            pointer = store.pointer(asset, name)
            if pointer and pointer.address == path[1]:
                lineage = read(store, name)
                pages = {k: f"../../../{v}" for k, v in stored_pages(store, lineage).items()}
                return stages(lineage, f"../../../experiments/{quote(name)}.html", pages, stage)
            if pointer and path[1] in {version.address for version in pointer.previous}:
                before = name
        except StoreError:
            continue
    if not before:
        return []
    return [
        Stage(f"experiment {before}", f"../../../experiments/{quote(before)}.html"),
        Stage(f"{stage} ({path[1][:12]}, an earlier version)", here=True, state="outdated", outcome="refused"),
    ]


def folder(store: Store, name: str, out: Path) -> list[Path]:
    """Write the page of the experiment and copies of its stored pages, with links among them, to the folder `out`.

    Raises:
        StoreError: nothing is stored, or a page is damaged.
    """
    lineage = read(store, name)
    places = {stage: f"{stage.replace(' ', '_')}.html" for stage in stored_pages(store, lineage)}
    texts = {"index.html": page(lineage, places)}
    for stage, file in places.items():
        asset, inner = PAGES[stage]
        text = store.get(asset, name, Artifact).path(inner).read_text("utf-8")
        texts[file] = with_lineage(text, stages(lineage, "index.html", places, stage))
    for file, text in texts.items():
        (out / file).write_text(text, "utf-8")
    return [out / file for file in texts]


def _sections(lineage: Lineage, spent: Cost) -> list[Section]:
    """The sections, with what was not made, cannot be read, or does not belong to the others."""
    made = sections(lineage.found, lineage.experiment, spent)
    outdated = _outdated(lineage)
    if lineage.within:
        release = next(section for section in made if section.key == "release")
        release.state, release.text = f"this {lineage.within}", f"{release.text}The folder that this page lies in."
    for section in made:
        unreadable = [f"{asset} is stored and cannot be read: {lineage.damaged[asset]}" for asset in section.assets if asset in lineage.damaged]  # fmt: skip
        section.remarks = [*((Word("damaged", "fail"), text) for text in unreadable), *section.remarks]
        if unreadable and not any(asset in lineage.found for asset in section.assets):
            section.state, section.outcome = "damaged", "fail"
        elif outdated & set(section.assets):
            section.state, section.outcome = f"{section.state}, outdated", "refused"
        for asset in section.assets:
            now = lineage.unfinished.get(asset)
            if now is None and asset == "base_generations":
                now = lineage.unfinished.get("generations")
            if now is None:
                continue
            word = Word("running") if now else Word("not finished", "refused")
            ended = "was begun and is not stored: its run failed or was stopped, and its log says why"
            text = f"{asset} is being made now" if now else f"{asset} {ended}"
            if asset in lineage.found:
                text += "; what is shown is the one before"
            else:
                section.state, section.outcome = word
            section.remarks.insert(0, (word, text))
    return made


def _outdated(lineage: Lineage) -> set[str]:
    """Assets that were made from others than those that are stored now, directly or through others."""
    found: set[str] = set()
    for asset, artifact in lineage.found.items():  # each after what it was made from
        for name, version in artifact.upstream.items():
            other = lineage.found.get(name)
            if name in found or (other is None and name not in lineage.damaged) or (other and other.version != version):
                found.add(asset)
    return found


def _verdict(lineage: Lineage, stages: Sequence[Section]) -> tuple[str, str]:
    """The experiment's outcome in one line, and its class."""
    gate, capabilities = lineage.found.get("gate_report"), lineage.found.get("capability_report")
    if isinstance(gate, GateReport):
        if "gate_report" in _outdated(lineage):
            return f"Outdated verdict, of other artifacts than those stored now: {gate.verdict}", "refused"
        if isinstance(capabilities, CapabilityReport) and capabilities.problems and gate.verdict == "pass":
            return f"{headline(gate)}; not releasable: {capabilities.problems[0]}", "fail"
        return headline(gate), gate.verdict
    reached = [s for s in stages if s.key != "capabilities" and not s.state.endswith("outdated")]
    stopped = next((s for s in reached if s.outcome in ("fail", "refused")), None)
    if stopped:
        why = f": {stopped.remarks[0][1]}" if stopped.remarks else ""
        return f"Not judged yet; stopped at {stopped.title.lower()}, {stopped.state}{why}", "refused"
    if lineage.experiment and lineage.experiment.plan_only:
        return "A plan alone: nothing is trained or judged", ""
    return "Not judged yet", ""


def _picture(found: Mapping[str, Artifact], picture: Picture) -> dict[str, str]:
    """The picture, if its file is here and is what was stored."""
    artifact = found[picture.asset]
    ref = artifact.files.get(picture.file)
    path = artifact.root / picture.file
    if ref is None or not os.path.isfile(path):
        return {"alt": picture.alt, "problem": f"{picture.file} is not on this machine."}
    if hash_file(path) != ref.sha256:
        return {"alt": picture.alt, "problem": f"{picture.file} was changed after it was stored."}
    return {"alt": picture.alt, "data": base64.b64encode(path.read_bytes()).decode()}
