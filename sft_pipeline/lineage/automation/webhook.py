"""Posts JSON to a webhook. Its address often holds a token, so it stands in no message, log or error."""

from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline import http_client
from sft_pipeline.errors import NotificationError

TIMEOUT = 5.0
"""Seconds that one attempt may take."""

PAUSES = (1.0, 3.0)
"""Seconds between the attempts: all of them must end before Dagster gives the sensor up, after 60 s."""

LONGEST_WAIT = 10.0
"""Seconds; a receiver that asks for more by Retry-After is not asked again."""


def post(address: str, payload: Mapping[str, Any], pauses: Sequence[float] = PAUSES) -> None:
    """Post `payload` as JSON; tries again where that can help: no answer, too many requests, an error of the server.

    Raises:
        NotificationError: nobody took it; says what happened, without the address.
    """
    if not address.startswith(("http://", "https://")):
        raise NotificationError("the webhook's address does not begin with http:// or https://")
    try:
        with http_client.client(TIMEOUT) as connections:
            http_client.post(connections, address, payload, {}, TIMEOUT, pauses, LONGEST_WAIT)
        return
    except http_client.RequestFailed as failure:
        problem = failure.brief
    raise NotificationError(f"the webhook could not be reached: {problem}")
