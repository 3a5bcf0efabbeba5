"""A limit on the time of what must not take for ever."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def soon(seconds: float = 30) -> Iterator[None]:
    """What is inside takes less processor time of this process than that.

    It is no measurement: the limit is many times what is needed on a slow machine, and what it is there for, a quadratic
    search in a megabyte, takes minutes. What else runs on the machine does not count.
    """
    started = time.process_time()
    yield
    assert time.process_time() - started < seconds
