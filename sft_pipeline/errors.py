"""Errors that a user can act on.

Everything raised on purpose derives from `PipelineError`, so that the command line and the Dagster layer can show
its message without a traceback. A message names what was wrong (file, row, field) and what to do about it.
"""


class PipelineError(Exception):
    """Base of all errors with a message for the user."""


class SpecificationError(PipelineError):
    """A specification that cannot be read or does not hold; names the file and the line."""


class DataError(PipelineError):
    """Input data that cannot be used; names the file and, where there is one, the row and the field."""


class ModelError(PipelineError):
    """A base model that cannot be used: missing weights, pickled weights, remote code."""


class DeviceError(PipelineError):
    """A step needs a CUDA device, and the machine offers none, or too few."""


class StoreError(PipelineError):
    """The artifact store cannot be written or read."""


class CorruptArtifactError(StoreError):
    """An artifact's file no longer has the hash that it was stored with."""


class PreconditionError(PipelineError):
    """A step refuses to start because what it consumes did not pass its own checks."""


class TrainingError(PipelineError):
    """Training could not start or had to stop."""


class TrainingInterrupted(TrainingError):
    """A signal ended the training; it resumes when it is started again."""


class NotificationError(PipelineError):
    """A notice could not be delivered."""
