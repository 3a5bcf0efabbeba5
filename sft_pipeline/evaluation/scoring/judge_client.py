"""A client for one OpenAI-compatible chat endpoint: greedy requests, retries, and a key that leaves in one header only."""

import json
import os
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sft_pipeline import http_client
from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scoring.judge_cache import Replies
from sft_pipeline.provenance.hashing import hash_value

OPTIONS = {
    "base_url": "Address of the endpoint, such as http://127.0.0.1:8000/v1. Required.",
    "model": "Name of the model that judges. Required.",
    "api_key_env": "Environment variable that holds the key.",
    "timeout": "Seconds that one attempt may take (60).",
    "retries": "Further attempts after a failure that may pass (4).",
    "max_tokens": "Longest reply, in tokens (1024).",
}

SEED = 11
LONGEST_WAIT = 300
"""Seconds; who asks for more by Retry-After is not asked again."""
GIVE_UP = 10
"""Requests in a row that failed, after their retries where there are any; the rest is then not asked any more."""
MOST = 1_000_000
"""Largest value of a numeric option; a longer time-out is beyond what the system's calls take."""

_WRONG_ADDRESS = {301, 302, 303, 307, 308, 401, 403, 404, 405}


class Reply(NamedTuple):
    """What came of one request: `text`, or None and the `problem`; `sha256` is that of the request's body."""

    text: str | None
    problem: str
    sha256: str


class Endpoint:
    """POST {base_url}/chat/completions, from any number of threads. A context manager."""

    def __init__(self, options: Mapping[str, Any], replies: Replies):
        """Check the options and read the key from the environment.

        Args:
            options: `base_url` and `model`; `api_key_env` (name of the environment variable with the key), `timeout`
                (seconds for one attempt, 60), `retries` (4), `max_tokens` (of the reply, 1024).
            replies: those that need not be asked for again; further ones are added.

        Raises:
            SpecificationError: an option is missing or cannot be used, or the variable is not set.
        """
        self.url = _address(options.get("base_url"))
        model = options.get("model")
        if not isinstance(model, str) or not model:
            raise _wrong("model", "must name the model that judges")
        self.model = model
        self._key = _key(options.get("api_key_env"))
        self._timeout = number("timeout", options, 60, least=0.1)
        retries = int(number("retries", options, 4, least=0))
        self._pauses = [min(2**attempt, 30) / 2 for attempt in range(retries)]
        self._max_tokens = int(number("max_tokens", options, 1024, least=1))
        self._client = http_client.client(self._timeout)
        self._replies = replies
        self._failed, self._lock = 0, threading.Lock()

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def ask(self, messages: list[dict[str, str]]) -> Reply:
        """The reply to one conversation, at temperature 0 and with a fixed seed.

        Asked again, later each time or when Retry-After says: after 408, 409, 425, 429, 5xx, a timeout, a broken
        connection.

        Raises:
            SpecificationError: the endpoint is not the one meant (a redirect, 401, 403, 404, 405), so no request would
                succeed.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            "seed": SEED,
            "max_tokens": self._max_tokens,
        }
        sha256 = hash_value(body)
        if (kept := self._replies.get(self.url, sha256)) is not None:
            return Reply(kept, "", sha256)
        if self._failed >= GIVE_UP:
            return Reply(None, f"not asked: the endpoint failed {GIVE_UP} times in a row", sha256)
        try:
            text = self._without_key(self._asked(body))
        except http_client.RequestFailed as failure:
            self._count(failed=True)
            return Reply(None, self._without_key(str(failure)), sha256)
        self._count(failed=False)
        self._replies.add(self.url, sha256, text)
        return Reply(text, "", sha256)

    def _asked(self, body: dict[str, Any]) -> str:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            content = http_client.post(self._client, self.url, body, headers, self._timeout, self._pauses, LONGEST_WAIT)
        except http_client.RequestFailed as failure:
            if failure.status not in _WRONG_ADDRESS:
                raise
            answered = f"{failure.status}{f' to {failure.location}' if failure.location else ''}"
            said = self._without_key(str(failure))
        else:
            return _text(content)
        raise SpecificationError(
            f"evaluation.scorers: {self.url} answers {answered} when asked for the model {self.model} ({said}). Correct "
            "base_url (redirects are not followed, so that the key goes nowhere else), model or api_key_env"
        )

    def _count(self, failed: bool) -> None:
        with self._lock:
            self._failed = self._failed + 1 if failed else 0

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _text(content: bytes) -> str:
    """What the model says in a chat completion.

    Raises:
        RequestFailed: it is none.
    """
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        said = content[:200].decode(errors="replace")
        raise http_client.RequestFailed(f"the reply is no chat completion: {said}", "its reply is no chat completion")
    return text.encode(errors="replace").decode()


def number(name: str, options: Mapping[str, Any], default: float, least: float) -> float:
    """The numeric option `name`.

    Raises:
        SpecificationError: it is not a number, is below `least` or above MOST.
    """
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MOST:
        raise _wrong(name, f"must be a number from {least:g} to {MOST}, is {value!r:.40}")
    return value


def _address(base_url: Any) -> str:
    import httpx2

    wrong = _wrong("base_url", "must be an address such as http://127.0.0.1:8000/v1")
    if not isinstance(base_url, str) or not base_url.isprintable() or " " in base_url:
        raise wrong
    try:
        httpx2.URL(base_url)
        parts = urlsplit(base_url)
        parts.port  # noqa: B018 - raises where it is none
    except (ValueError, httpx2.InvalidURL):
        raise wrong from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _wrong("base_url", "must hold no user, password or query; name the key's variable by api_key_env")
    return base_url.rstrip("/") + "/chat/completions"


def _key(variable: Any) -> str:
    if variable is None:
        return ""
    if not isinstance(variable, str) or not variable.isidentifier():
        # Not shown: somebody may have written the key itself here.
        raise _wrong("api_key_env", "must be the name of an environment variable, not the key")
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise _wrong("api_key_env", f"names the environment variable {variable}, which holds no key for a header")
    return key


def _wrong(option: str, problem: str) -> SpecificationError:
    return SpecificationError(f"evaluation.scorers: option {option} of the scorer judge {problem}")
