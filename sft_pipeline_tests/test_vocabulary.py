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
    r"by[ _]heart": "memorized",
    r"\b(?:goes|go|going|went) (?:round )?in circles\b|\bruns in circles\b": "degenerate repetition",
    r"\blost[ _]runs?\b|\bkeep_lost\b|\brefuse_lost\b": "diverged or aborted run",
    r"\bcallbacks\.(?:around|explained|leave)\b": "training_session, resource_errors, export_logs",
    r"\bthinned\b": "throttled",
    r"\broomy_cache\b": "preallocated KV cache",
    r"\b(?:held|leaking|learned)_rows\b|\blearned_from\b": "held-out index, leak search, training-data hash",
    r"\btick\.(?:ask|say)\(": "request_run, log, FileState",
    r"\b(?:lost_runs|seals|stopping|signals|measures|samples|curves|assembly|delimited|recorded|stopped)\.py\b": "say what is in them",
}
"""What is not written, with what to write instead: the words that are swept already."""


@pytest.mark.parametrize(("pattern", "instead"), WORDS.items(), ids=WORDS.values())
def test_a_private_word_stays_away(pattern, instead):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert found == [], f"write {instead}"
