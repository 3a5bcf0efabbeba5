"""What the terminal shows of a run."""

from sft_pipeline.lineage.launch import BAR, _bar
from sft_pipeline.training import callbacks


def test_a_log_row_of_a_training_becomes_a_bar_that_fits_into_the_terminal():
    row = {"step": 50, "steps": 200, "loss": 1.5, "learning_rate": 1e-4, "grad_norm": 0.4, "tokens_per_second": 1800.0}
    text = f"   12.3 s    {callbacks.line(row)}"
    drawn = _bar(text, 200)
    assert drawn.count("█") == BAR // 4 and drawn.count("░") == BAR * 3 // 4
    assert "50/200  loss 1.5000" in drawn and "1,800/s" in drawn
    assert len(_bar(text, 60)) == 59
    assert len(_bar(f"1 s  {callbacks.line(row | {'step': 200})}", 80)) < 80
    for other in ({"step": 50, "steps": 200, "eval_loss": 1.7}, {"step": 200, "steps": 200, "train_runtime": 9.0}):
        assert _bar(f"   12.3 s    {callbacks.line(other)}", 200) == ""
