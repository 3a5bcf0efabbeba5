"""A limit on the time of what must not take for ever."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10
"""At least ten times what anything in it needs on a quiet machine; a quadratic search in a megabyte takes longer."""


@contextmanager
def time_limit(seconds: float = SECONDS) -> Iterator[None]:
    """What is inside takes less than this of the process's time on the processor, whatever else the machine does."""
    started = time.process_time()
    yield
    assert time.process_time() - started < seconds
