"""What comes from data is text in the Dagster UI, whatever it looks like."""

import pytest

from sft_pipeline.lineage import metadata


@pytest.mark.parametrize(
    "text",
    ["![x](http://evil/x.png)", "[c](javascript:alert(1))", "a\\|b", "x\ry", "<script>", "**b** _i_ ~s~ $x$", "a\x07b"],
)
def test_a_cell_holds_no_markup_and_ends_no_row(text):
    table = metadata.table([{"text": text, "after": "end"}]).value
    row = table.split("\n")[2]
    assert row.startswith("| ") and row.endswith("| end |") and len(table.split("\n")) == 3
    cell = row.removeprefix("| ").removesuffix(" | end |")
    for sign in "[]!*_~$|":
        assert cell.replace("\\\\", "").replace("\\" + sign, "").count(sign) == 0
    assert "<script" not in cell and "\r" not in cell and "\x07" not in cell
