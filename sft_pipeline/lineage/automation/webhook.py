"""Posts JSON to a webhook. Its address often holds a token, so it stands in no message, log or error."""

import http.client
import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError

from sft_pipeline.errors import NotificationError

TIMEOUT = 5.0
"""Seconds that one try may take to connect, and between two bytes of the answer."""

PAUSES = (1.0, 3.0)
"""Seconds between the tries: all of them must end before Dagster gives the sensor up, after 60 s."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: followed, a POST becomes a GET without content, perhaps to another host."""

    def redirect_request(self, *args, **kwargs):
        """Follow none."""


def post(address: str, payload: Mapping[str, Any], pauses: tuple[float, ...] = PAUSES) -> None:
    """Post `payload` as JSON; tries again where that can help: no answer, too many requests, an error of the server.

    Raises:
        NotificationError: nobody took it; says what happened, without the address.
    """
    if not address.startswith(("http://", "https://")):
        raise NotificationError("the webhook's address does not begin with http:// or https://")
    data = json.dumps(payload, ensure_ascii=False).encode()
    opener = urllib.request.build_opener(_NoRedirect)
    problem = ""
    for pause in (*pauses, None):
        try:
            request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method="POST")
            with opener.open(request, timeout=TIMEOUT):
                return
        except HTTPError as error:
            problem = f"it answered {error.code}"
            error.close()
            if error.code != 429 and error.code < 500:
                break
        except (OSError, ValueError, http.client.HTTPException) as error:  # their texts may hold the address
            problem = type(error.reason if isinstance(error, URLError) else error).__name__
        if pause is not None:
            time.sleep(pause)
    raise NotificationError(f"the webhook could not be reached: {problem}")
