"""A client for one OpenAI-compatible chat endpoint: greedy requests, retries, and a key that leaves in one header only."""

import email.utils
import json
import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scoring.judge_cache import Replies
from sft_pipeline.provenance.hashing import hash_value

OPTIONS = {"base_url", "model", "api_key_env", "timeout", "retries", "max_tokens"}

SEED = 11
LONGEST_WAIT = 300
"""Seconds; who asks for more by Retry-After is not asked again."""
GIVE_UP = 10
"""Requests in a row that failed, after their retries where there are any; the rest is then not asked any more."""
MOST = 1_000_000
"""Largest value of a numeric option; a longer time-out is beyond what the system's calls take."""

_LARGEST = 1 << 20  # bytes of a reply
_WRONG_ADDRESS = {301, 302, 303, 307, 308, 401, 403, 404, 405}
_AGAIN = {408, 409, 425, 429}  # and whatever the server says of itself, 5xx


class Reply(NamedTuple):
    """What came of one request: `text`, or None and the `problem`; `sha256` is that of the request's body."""

    text: str | None
    problem: str
    sha256: str


class _Failure(Exception):
    """One attempt failed; `wait` is how many seconds the endpoint asked for, None that asking again is of no use."""

    def __init__(self, problem: str, wait: float | None = None):
        super().__init__(problem)
        self.wait = wait


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
        import httpx2

        self.url = _address(options.get("base_url"))
        self.model = options.get("model")
        if not isinstance(self.model, str) or not self.model:
            raise _wrong("model", "must name the model that judges")
        self._key = _key(options.get("api_key_env"))
        self._timeout = number("timeout", options, 60, least=0.1)
        self._retries = int(number("retries", options, 4, least=0))
        self._max_tokens = int(number("max_tokens", options, 1024, least=1))
        self._client = httpx2.Client(timeout=self._timeout, follow_redirects=False)
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
        for attempt in range(self._retries + 1):
            try:
                text = self._once(body)
            except _Failure as failure:
                problem, wait = self._without_key(str(failure)), failure.wait
                if wait is None or wait > LONGEST_WAIT or attempt == self._retries:
                    break
                time.sleep(max(wait, min(2**attempt, 30) / 2))
            else:
                self._count(failed=False)
                text = self._without_key(text)
                self._replies.add(self.url, sha256, text)
                return Reply(text, "", sha256)
        self._count(failed=True)
        return Reply(None, problem, sha256)

    def _once(self, body: dict[str, Any]) -> str:
        import httpx2

        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        started = time.monotonic()
        content = bytearray()
        try:
            with self._client.stream("POST", self.url, json=body, headers=headers) as response:
                for chunk in response.iter_bytes(1 << 16):
                    content += chunk
                    if len(content) > _LARGEST:
                        raise _Failure(f"the reply is longer than {_LARGEST} bytes")
                    if time.monotonic() - started > self._timeout:
                        raise _Failure(f"no complete reply within {self._timeout:g} s", 0)
        except httpx2.TimeoutException:
            raise _Failure(f"no reply within {self._timeout:g} s", 0) from None
        except httpx2.TransportError as error:
            raise _Failure(f"the connection failed: {type(error).__name__}: {error}", 0) from None
        except httpx2.DecodingError:
            raise _Failure("the reply's compression is broken") from None
        status, said = response.status_code, content[:200].decode(errors="replace")
        if status in _WRONG_ADDRESS:
            where = response.headers.get("location", "")
            raise SpecificationError(
                f"evaluation.scorers: {self.url} answers {status}{f' to {where}' if where else ''} to the model "
                f"{self.model}: {self._without_key(said) or 'no message'}. Correct base_url (redirects are not followed, "
                "so that the key goes nowhere else), model or api_key_env"
            )
        if status in _AGAIN or status >= 500:
            raise _Failure(f"status {status}: {said}", _retry_after(response.headers.get("retry-after", "")))
        if status != 200:
            raise _Failure(f"status {status}: {said}")
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise _Failure(f"the reply is no chat completion: {said}")
        return text.encode(errors="replace").decode()

    def _count(self, failed: bool) -> None:
        with self._lock:
            self._failed = self._failed + 1 if failed else 0

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def number(name: str, options: Mapping[str, Any], default: float, least: float) -> float:
    """The numeric option `name`.

    Raises:
        SpecificationError: it is no number, below `least` or above MOST.
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


def _retry_after(value: str) -> float:
    """Seconds to wait by the header Retry-After: a number of seconds or a date; 0 without it."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _wrong(option: str, problem: str) -> SpecificationError:
    return SpecificationError(f"evaluation.scorers: option {option} of the scorer judge {problem}")
