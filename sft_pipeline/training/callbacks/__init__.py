"""What happens while the trainer runs, one subject per module; `training_session` puts it together."""

from sft_pipeline.training.callbacks.live_results import finish_series
from sft_pipeline.training.callbacks.resource_errors import is_memory, resource_errors
from sft_pipeline.training.callbacks.session import export_logs, training_session
from sft_pipeline.training.callbacks.trackers import require
from sft_pipeline.training.callbacks.watchdog import refuse_aborted

__all__ = [
    "export_logs",
    "finish_series",
    "is_memory",
    "refuse_aborted",
    "require",
    "resource_errors",
    "training_session",
]
