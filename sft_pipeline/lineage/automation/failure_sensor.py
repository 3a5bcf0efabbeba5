"""Tells a webhook of every run that failed: which experiment, which step, why, and where to look.

The message of an error may quote what a library said, so values of the environment that look like secrets, and names
with passwords in addresses, are taken out of it.
"""

import os
from typing import Any

import dagster as dg

from sft_pipeline.lineage.automation.webhook import post
from sft_pipeline.lineage.failure_text import why
from sft_pipeline.lineage.tags import PARTITION
from sft_pipeline.provenance.secrets import is_secret, without_credentials

NAME = "notify_failures"

WEBHOOK = "SFT_PIPELINE_WEBHOOK"
"""Variable with the address that failures are posted to; without it there are no notices."""

UI = "SFT_PIPELINE_UI"
"""Variable with the address of the Dagster UI, for the link in a notice."""

LONGEST = 2000
"""Characters of an error's message that are sent."""

SHORTEST = 6
"""Characters from which on a secret's value is looked for: a shorter one would be found in ordinary words."""


def build() -> dg.SensorDefinition:
    """The sensor: running where the code location was loaded with a webhook, otherwise stopped."""
    running = dg.DefaultSensorStatus.RUNNING if os.environ.get(WEBHOOK) else dg.DefaultSensorStatus.STOPPED

    # Of all code locations: runs from the command line belong to none, and nobody watches those.
    @dg.run_failure_sensor(
        name=NAME,
        monitor_all_code_locations=True,
        minimum_interval_seconds=30,
        default_status=running,
        description=f"Posts every failed run to the address in {WEBHOOK}.",
    )
    def notify_failures(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        address = os.environ.get(WEBHOOK)
        if not address:
            return dg.SkipReason(f"{WEBHOOK} is not set")
        post(address, notice(context))
        return None

    return notify_failures


def notice(context: dg.RunFailureSensorContext) -> dict[str, Any]:
    """What is posted: plain JSON, with a `text` for chat programs that show only that."""
    run = context.dagster_run
    step, message = None, context.failure_event.message
    for event in context.get_step_failure_events():
        step, message = event.step_key, why(event)
        break
    message = "\n".join([*_failed_checks(context, step), message or ""])
    ui = os.environ.get(UI, "").rstrip("/")
    link = f"{ui}/runs/{run.run_id}" if ui else None
    message = without_secrets(message.strip())[:LONGEST]
    experiment = run.tags.get(PARTITION)
    where = f"{experiment or run.job_name}{f', {step}' if step else ''}"
    return {
        "text": f"Run {run.run_id[:8]} failed ({where}): {message.splitlines()[0] if message else 'no message'}"
        + (f"\n{link}" if link else ""),
        "run_id": run.run_id,
        "job": run.job_name,
        "experiment": experiment,
        "step": step,
        "message": message,
        "link": link,
    }


def _failed_checks(context: dg.RunFailureSensorContext, step: str | None) -> list[str]:
    """What the step's failed checks found; the error that stops the run only names them."""
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    events = [log.dagster_event for log in logs if log.dagster_event and log.step_key == step]
    found = [event.asset_check_evaluation_data for event in events]
    return [f"{check.check_name}: {check.description}" for check in found if not check.passed]


def without_secrets(text: str) -> str:
    """`text` without the values of the environment's secrets, and without names and passwords in addresses."""
    held = {name: value for name, value in os.environ.items() if is_secret(name) and len(value) >= SHORTEST}
    for name, value in sorted(held.items(), key=lambda item: -len(item[1])):
        text = text.replace(value, f"[{name}]")
    return without_credentials(text)
