"""Kiln's kit for handlers in Python: what a handler is given, how it fails, and what it may ask of its attempt.

    @dataclass
    class Greeting:
        to: str = "World"

    @kiln.handler
    def handle(greeting: Greeting, job: kiln.Job) -> dict:
        return {"greeting": f"Hello, {greeting.to}!"}

Outside Wasm all of it works as well, so handlers are tested like any other function. `logging` and `print` reach
Kiln's log and the captured output; environment variables and `time`, `random` and `uuid` work as everywhere.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import host
from .failure import Permanent, Retry, check_status, of_exception
from .payload import Mismatch, Raw, dump, load, reader

__all__ = [
    "Job",
    "Permanent",
    "Raw",
    "Retry",
    "attempt",
    "check_status",
    "config",
    "convert",
    "handler",
    "is_cancelled",
    "progress",
    "remaining_seconds",
]


@dataclass(frozen=True)
class Job:
    """One attempt at one job. Every field has a default, so that a test names only those that matter to it."""

    id: str = ""
    """Unique, unless a foreign producer left it out. The same job may run twice: make effects idempotent by it."""
    name: str = ""
    queue: str = "default"
    payload: str = "null"
    """JSON text, byte for byte as it was pushed."""
    attempt: int = 1
    """Counted from 1."""
    max_attempts: int = 3
    """How many attempts the job has in all. `attempt == max_attempts` is the last one."""
    created_at: datetime | None = None
    """In UTC. None where the producer did not say."""
    metadata: dict[str, Any] = field(default_factory=dict)


Handle = Callable[..., Any]
_registered: Callable[[Job], str | None] | None = None


def handler(handle: Handle) -> Handle:
    """Marks the function that runs jobs: `handle(payload)` or `handle(payload, job)`, plain or `async`.

    The annotation of the first parameter says what the payload has to be: a dataclass, a combination of `list[…]`,
    `dict[str, …]`, `… | None`, `Literal[…]`, `str`, `int`, `float` and `bool`, or `kiln.Raw` for the JSON text as it
    came. Without one, any JSON goes. A payload that does not fit is a permanent failure that says which field, and why;
    so is one for which a dataclass's `__post_init__` raises ValueError. Unknown keys are ignored.

    What it returns is the job's result: a dataclass, whatever `json.dumps` takes, `kiln.Raw` for JSON text to be
    passed on untouched, or None for no result; what JSON cannot have is a permanent failure. It fails by raising
    `Retry` or `Permanent`. An HTTP request that failed, if nobody caught its exception, is `Retry`, or what
    `check_status` makes of an error status. Any other exception is a crash, reported with its traceback and tried
    again by the retry policy.
    """
    global _registered
    # Evaluates annotations that are strings; done now, so that a type which JSON cannot have fails the build.
    parameters = list(inspect.signature(handle, eval_str=True).parameters.values())
    if not 1 <= len(parameters) <= 2:
        raise TypeError(f"{handle.__name__} takes {len(parameters)} parameters, not the payload and the job")
    annotation = parameters[0].annotation
    # JSON text and a JSON string are both str: what asks for Raw gets the text itself.
    read = Raw if annotation is Raw else _reader(Any if annotation is inspect.Parameter.empty else annotation)

    call = _blocking(handle) if inspect.iscoroutinefunction(handle) else handle

    def run(job: Job) -> str | None:
        payload = read(job.payload)
        result = call(payload) if len(parameters) == 1 else call(payload, job)
        try:
            return dump(result)
        except (RecursionError, TypeError, ValueError) as error:
            # What JSON cannot have is no better the next time.
            raise Permanent(f"result: {error}") from error

    def answer(job: Job) -> str | None:
        try:
            return run(job)
        except Exception as error:
            failure = of_exception(error)
            if failure is None:
                raise
            raise failure from error

    _registered = answer
    return handle


def _blocking(handle: Handle) -> Handle:
    """An async handler as a plain function."""
    import asyncio

    return lambda *given: asyncio.run(handle(*given))


def _reader(kind: Any) -> Callable[[str], Any]:
    read_value = reader(kind)
    return lambda text: _fitting("payload", lambda: read_value(load(text)))


def convert(value: Any, kind: Any) -> Any:
    """Parsed JSON as `kind`, for handlers whose payloads are of several kinds: `kiln.convert(payload, Order)`.

    Fails as a payload that does not fit the handler's annotation does.
    """
    read_value = reader(kind)
    return _fitting("payload", lambda: read_value(value))


def _metadata(text: str) -> Any:
    """A job's metadata, from its JSON text."""
    return _fitting("metadata", lambda: load(text))


def _fitting(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Mismatch as mismatch:
        why = str(mismatch)
    except RecursionError:
        why = "nested too deeply"
    except ValueError as error:  # from json: a number of more digits than Python reads
        why = str(error)
    raise Permanent(f"{what}: {why}")


def attempt(job: Job) -> str | None:
    """Makes one attempt with the marked function, as Kiln does: from the payload's JSON text to the result's."""
    if _registered is None:
        raise LookupError("no function is marked with @kiln.handler")
    return _registered(job)


def progress(percent: int, note: str | None = None) -> None:
    """Reports how far the attempt has come. Outside Wasm it is logged at debug."""
    host.progress(max(0, min(int(percent), 100)), note)


def remaining_seconds() -> float:
    """How long until the attempt is interrupted as timed out. Outside Wasm always 30."""
    return host.remaining_ms() / 1000


def is_cancelled() -> bool:
    """Whether the host shuts down. A long handler then does best to raise `Retry`, which counts as no attempt."""
    return host.is_cancelled()


def config(key: str) -> str | None:
    """A value of `[config]` in the plugin's manifest. Outside Wasm None; a test may patch `kiln.config`."""
    return host.config(key)
