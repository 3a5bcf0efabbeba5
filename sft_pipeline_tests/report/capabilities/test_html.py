from sft_pipeline.artifacts import BenchmarkResult, CapabilityReport, ModelScore
from sft_pipeline.report.capabilities import html

MEASURED = BenchmarkResult(
    name="world",
    benchmark="world",
    task="world",
    version="1",
    metric="acc",
    filter="none",
    shots=0,
    n=30,
    available=30,
    hashes={},
    base=ModelScore(mean=1.0, interval=(0.9, 1.0), successes=30),
    sft=ModelScore(mean=0.0, interval=(0.0, 0.1), successes=0),
    lost=30,
    won=0,
    difference=-1.0,
    difference_interval=(-1.0, -0.9),
    p=1e-9,
)


def test_a_lost_answer_is_cut_and_shows_what_it_hides(tmp_path):
    report = CapabilityReport(
        root=tmp_path, verdict="held", results=(MEASURED,), perplexity=None, alpha=0.05, blocking="none"
    )
    row = {"metric": "world", "base_score": 1, "sft_score": 0, "source_file": "f", "source_row": 1}
    rows = [row | {"sft_output": f"\u202e<b>{k}" + "y" * 10_000} for k in range(30)]
    page = html.page(report, rows, None)
    assert page.count("<li>") == html.CHANGED and f"up to {html.CHANGED} for each metric" in page
    assert '<span class="control">U+202E</span>&lt;b&gt;0y' in page and "\u202e" not in page
    assert "y…</pre>" in page and "y" * (html.EXCERPT + 1) not in page
