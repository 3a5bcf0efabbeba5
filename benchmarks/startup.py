"""What starting costs: loading the code location, and a lineage's time outside of its steps' own work.

    python benchmarks/startup.py load                 against an empty code location, paired
    python benchmarks/startup.py steps [RUN_ID]       of a run that is recorded in DAGSTER_HOME; default: the last

`load` runs `import` of both code locations in fresh interpreters, in turn, and prints the median of the ratios. `steps`
reads the event log: the run's time less the union of its steps' work (STEP_START to STEP_SUCCESS or STEP_FAILURE), by
step.
"""

import json
import statistics
import subprocess
import sys

from results import figure, record

EMPTY = "import dagster as dg; defs = dg.Definitions()"
OURS = "import sft_pipeline.definitions"
TIMED = "import time, resource; a = time.monotonic(); {}; u = resource.getrusage(resource.RUSAGE_SELF); print(time.monotonic() - a, u.ru_utime + u.ru_stime)"


def seconds(code: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TIMED.format(code)], capture_output=True, text=True, check=True
    )
    wall, processor = done.stdout.split()[-2:]
    return float(wall), float(processor)


def load(repeats: int = 9) -> dict[str, float]:
    pairs = [(seconds(OURS), seconds(EMPTY)) for _ in range(repeats + 1)][1:]  # the first one reads from disk
    found = {
        "wall_seconds": statistics.median(ours[0] for ours, _ in pairs),
        "wall_ratio": statistics.median(ours[0] / empty[0] for ours, empty in pairs),
        "processor_ratio": statistics.median(ours[1] / empty[1] for ours, empty in pairs),
    }
    what = "loading the code location"
    rows = [
        figure(what, f"{found['wall_seconds']:.2f} s", "an empty one", found["wall_ratio"]),
        figure(f"{what}, processor time", "", "an empty one", found["processor_ratio"]),
    ]
    record("startup", "Starting", rows, f"Medians of {repeats} pairs, with bytecode.")
    return found


def steps(run_id: str | None = None) -> dict[str, float]:
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        record = instance.get_run_record_by_id(run_id) if run_id else instance.get_run_records(limit=1)[0]
        events = [e for e in instance.all_logs(record.dagster_run.run_id) if e.is_dagster_event]
    begun, spans = {}, []
    for event in events:
        kind = event.dagster_event.event_type_value
        if kind == "STEP_START":
            begun[event.step_key] = event.timestamp
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE") and event.step_key in begun:
            spans.append((begun[event.step_key], event.timestamp))
    work, end = 0.0, 0.0
    for start, stop in sorted(spans):
        work += max(0.0, stop - max(start, end))
        end = max(end, stop)
    total = record.end_time - record.start_time
    return {
        "run_seconds": total,
        "steps": len(spans),
        "outside_seconds": total - work,
        "outside_seconds_per_step": (total - work) / len(spans),
    }


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    print(json.dumps({"load": load, "steps": steps}[what](*rest), indent=2))
