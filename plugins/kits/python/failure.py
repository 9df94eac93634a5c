"""How an attempt fails: by what a handler raises, and what HTTP libraries raise."""

import math
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any


class Retry(Exception):
    """Raised to be tried again: by the retry policy, or not before `after`, which is seconds or a timedelta."""

    def __init__(self, message: str, *, after: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.after_ms = None if after is None else whole_ms(after)


class Permanent(Exception):
    """Raised where trying again cannot help: the job goes to the failed list at once."""


def whole_ms(span: float | timedelta) -> int:
    """A span of seconds in milliseconds, rounded up, and within what the contract's unsigned 64 bits hold."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    # Rounded to microseconds first: 1.1 s are no more than 1100 ms.
    return math.ceil(round(max(0, min(seconds * 1000, 2**63)), 3))


def check_status(response: Any) -> Any:
    """The response of urllib, requests or httpx that it was given, if its status is below 400.

    Otherwise it raises `Retry` for what may work later (408, 425, 429, 5xx), not before the time that the server named
    with 429 or 503, and `Permanent` for other statuses.
    """
    failure = _of_status(response)
    if failure is not None:
        raise failure
    return response


def _of_status(response: Any) -> Exception | None:
    # urllib says `status`.
    status = getattr(response, "status_code", None) or response.status
    if status < 400:
        return None
    message = f"http status {status}: {_origin(str(getattr(response, 'url', '')))}"
    if status not in (408, 425, 429) and status < 500:
        return Permanent(message)
    return Retry(message, after=_after(response.headers.get("Retry-After")) if status in (429, 503) else None)


def _origin(url: str) -> str:
    """`https://api.example.com` of a URL: without user, path and query, which often are the secret."""
    found = re.match(r"([A-Za-z]+://)(?:[^/?#]*@)?([^/?#]+)", url)
    return "".join(found.groups()) if found else "the server"


def _after(value: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header; None if it is neither seconds nor a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = datetime.strptime(value.strip(), "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return max(0.0, date.timestamp() - time.time())


# Of libraries that need not be there, so they are told by name. Their subclasses count, too.
_MAY_WORK_LATER = {
    "aiohttp.client_exceptions.ClientConnectionError",
    "aiohttp.client_exceptions.ClientPayloadError",
    "http.client.HTTPException",
    "httpcore.NetworkError",
    "httpcore.ProtocolError",
    "httpcore.TimeoutException",
    "httpcore2.NetworkError",
    "httpcore2.ProtocolError",
    "httpcore2.TimeoutException",
    "httpx.TransportError",
    "httpx2.TransportError",
    "redis.exceptions.ConnectionError",
    "redis.exceptions.TimeoutError",
    "requests.exceptions.ChunkedEncodingError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "smtplib.SMTPServerDisconnected",
    "socket.gaierror",
    "ssl.SSLError",
    "urllib.error.URLError",
    "urllib3.exceptions.MaxRetryError",
    "urllib3.exceptions.ProtocolError",
    "urllib3.exceptions.TimeoutError",
}


def of_exception(error: BaseException | None) -> Exception | None:
    """What an exception that the handler did not catch makes of the attempt; None if it is a crash.

    What was raised `from` another exception is what that one is: libraries wrap those of the libraries below them.
    """
    while error is not None and not isinstance(error, (Retry, Permanent)):
        # raise_for_status() of requests and httpx, and those who build upon them; urllib's HTTPError is a response itself.
        response = error if hasattr(error, "headers") and hasattr(error, "status") else getattr(error, "response", None)
        if hasattr(response, "headers") and (hasattr(response, "status_code") or hasattr(response, "status")):
            return _of_status(response)
        kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
        if isinstance(error, (ConnectionError, TimeoutError)) or kinds & _MAY_WORK_LATER:
            # urllib3 tells the path as well, and requests what urllib3 tells.
            told = re.sub(r" with url: \S*", "", str(error))
            return Retry(f"{type(error).__name__}: {told}")
        error = error.__cause__
    return None
