"""The results that docs/reference/performance.md is made of: a JSON file for each benchmark, in benchmarks/results."""

import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def figure(what: str, value: Any, against: str = "", ratio: Any = "", aim: str = "") -> dict[str, Any]:
    """A row of the page.

    Args:
        what: what was measured.
        value: with its unit.
        against: the anchor.
        ratio: to the anchor, measured in the same run.
        aim: what the ratio or the value should be.
    """
    return {"what": what, "value": shown(value), "against": against, "ratio": shown(ratio), "aim": aim}


def record(name: str, title: str, figures: list[dict[str, Any]], note: str = "") -> None:
    """Write the figures of one benchmark where the variable RECORD is set; the command, day and machine with them."""
    if not os.environ.get("RECORD"):
        return
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    threads = os.environ.get("OMP_NUM_THREADS")
    result = {
        "title": title,
        "command": f"OMP_NUM_THREADS={threads} {command}" if threads else command,
        "measured": time.strftime("%Y-%m-%d"),
        "machine": f"{os.cpu_count()} {platform.machine()} cores, Python {platform.python_version()}",
        "note": note,
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def shown(value: Any) -> str:
    """A float with three significant digits, or in whole numbers from a thousand on."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
