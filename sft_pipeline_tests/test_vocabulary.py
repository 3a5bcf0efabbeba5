"""Private words that were replaced by the field's terms stay away from code, messages, docs and tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    path
    for folder in ("sft_pipeline", "sft_pipeline_tests", "docs", "specs", "benchmarks", "deploy", "dagster_home")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".md", ".yaml", ".j2", ".js", ".css", ".json") and path != Path(__file__).resolve()
] + [ROOT / name for name in ("README.md", "Makefile", "pyproject.toml")]

WORDS = {
    r"(?<![a-z])(?:is|are|was|were|be|been)[_ ]told(?![a-z]| to\b)|\bit is said\b": "reported, logged, shown",
    r"\bcarr(?:y|ies|ied) (?:no|any|the) loss\b|\brows without (?:any )?loss\b": "fully masked rows",
    r"(?<![a-z])is[ _]no[ _]number(?![a-z])": "NaN, non-finite",
    r"by[ _]heart": "memorized",
    r"\b(?:goes|go|going|went) (?:round )?in circles\b|\bruns in circles\b": "degenerate repetition",
    r"(?<![a-z])sick(?![a-z])": "unhealthy",
    r"\blost[ _]runs?\b|\bkeep_lost\b|\brefuse_lost\b": "diverged or aborted run",
    r"\b(?:is|are|was|were) brought\b|\bbrought (?:data|judgements?|files?|labels)\b": "user-supplied, external",
    r"\bsets?(?:ting)? (?:\w+ ){0,2}aside\b": "rejected",
    r"(?<![a-z])anew(?![a-z])|\bmade[ _]again\b": "recomputed, rebuilt",
    r"\bgo(?:es)? on (?:from|at|where|later|there)\b": "resumes, continues",
    r"\bdirt\b(?![\"=]| \{| is (?:called|the former))": "injected noise, planted faults",
    r"(?<![a-z])seal(?:s|ed|ing)?(?![a-z])": "finalize, complete",
    r"\bcallbacks\.(?:around|explained|leave)\b": "training_session, resource_errors, export_logs",
    r"\bthinned\b": "throttled",
    r"\broomy_cache\b": "preallocated KV cache",
    r"\bbeside\.py\b|\bblind\.py\b|\bstand_in\.py\b|\bjudged\.py\b|\blimited\.py\b|\bsoon\.py\b": "say what is in them",
    r"\b(?:held|leaking|learned)_rows\b|\blearned_from\b": "held-out index, leak search, training-data hash",
    r"\bobjections?\b": "removals; eligibility problems",
    r"(?<![a-z])hangs?[ _]on(?![a-z])": "depends on",
    r"\btick\.(?:ask|say)\(|\bLook\(": "request_run, log, FileState",
    r"\b(?:lost_runs|seals|stopping|signals|measures|samples|curves|assembly|delimited|recorded|stopped)\.py\b": "say what is in them",
}
"""What is not written, with what to write instead; CONTRIBUTING.md shows both columns to people."""


@pytest.mark.slow
@pytest.mark.parametrize(("pattern", "instead"), WORDS.items(), ids=WORDS.values())
def test_a_private_word_stays_away(pattern, instead):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert found == [], f"write {instead}"
