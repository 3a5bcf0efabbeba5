"""The project's one HTTP client: a POST of JSON, bounded in time and size, repeated where that can help.

Redirects are not followed: a POST would become a GET, perhaps to another host, and take its key along.
"""

import email.utils
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

LARGEST = 1 << 20
"""Bytes of a response that are read; a longer one is a failure."""

_AGAIN = {408, 409, 425, 429}  # and whatever the server says of itself, 5xx


class RequestFailed(Exception):
    """No response with a status of 2xx.

    Attributes:
        status: of the response; None where there was none.
        location: of a redirect, else empty.
        brief: what happened, without the address and without what the server wrote.
        wait: seconds after which asking again may help, as the server asked; None where it cannot help.
    """

    def __init__(
        self, problem: str, brief: str, wait: float | None = None, status: int | None = None, location: str = ""
    ) -> None:
        super().__init__(problem)
        self.brief, self.wait, self.status, self.location = brief, wait, status, location


def client(timeout: float) -> "httpx2.Client":
    """A client with a pool of connections, for any number of threads; a context manager."""
    import httpx2

    return httpx2.Client(timeout=timeout, follow_redirects=False)


def post(
    connections: "httpx2.Client",
    address: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    timeout: float,
    pauses: Sequence[float],
    longest_wait: float,
) -> bytes:
    """The content of the response to `body` as JSON.

    Sent again after each of `pauses` (seconds, or longer where Retry-After says so), but only after 408, 409, 425, 429, 5xx,
    a timeout or a broken connection.

    Args:
        connections: of `client`.
        address: where to.
        body: the content.
        headers: besides the one that says JSON.
        timeout: seconds that one attempt may take until the whole response is there.
        pauses: seconds between the attempts; as many further attempts.
        longest_wait: seconds; a server that asks for more is not asked again.

    Raises:
        RequestFailed: the last attempt's failure.
    """
    for pause in (*pauses, None):
        try:
            return _once(connections, address, body, headers, timeout)
        except RequestFailed as failure:
            if failure.wait is None or failure.wait > longest_wait or pause is None:
                raise
            wait = max(failure.wait, pause)
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _once(
    connections: "httpx2.Client", address: str, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float
) -> bytes:
    import httpx2

    started, content = time.monotonic(), bytearray()
    try:
        with connections.stream("POST", address, json=body, headers=dict(headers)) as response:
            for chunk in response.iter_bytes(1 << 16):
                content += chunk
                if len(content) > LARGEST:
                    raise RequestFailed(f"the reply is longer than {LARGEST} bytes", "its reply is too long")
                if time.monotonic() - started > timeout:
                    raise RequestFailed(f"no complete reply within {timeout:g} s", "no complete reply in time", 0)
    except httpx2.TimeoutException as error:
        raise RequestFailed(f"no reply within {timeout:g} s", type(error).__name__, 0) from None
    except httpx2.DecodingError as error:
        raise RequestFailed("the reply's compression is broken", type(error).__name__) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        problem, brief = f"the connection failed: {type(error).__name__}: {error}", type(error).__name__
        raise RequestFailed(problem, brief, 0 if isinstance(error, httpx2.TransportError) else None) from None
    status = response.status_code
    if 200 <= status < 300:
        return bytes(content)
    again = status in _AGAIN or status >= 500
    raise RequestFailed(
        f"status {status}: {content[:200].decode(errors='replace')}",
        f"it answered {status}",
        _retry_after(response.headers.get("retry-after", "")) if again else None,
        status,
        response.headers.get("location", ""),
    )


def _retry_after(value: str) -> float:
    """Seconds to wait by the header Retry-After: a number of seconds or a date; 0 without it."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
