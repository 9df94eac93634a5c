"""Jobs that a handler enqueues, as far as the plugin's manifest grants it (`[grants.jobs]`).

    flow.enqueue("invoice", order)
    flow.enqueue("remind", order, queue="mails", delay=timedelta(days=1))

They are pushed with the acknowledgement of the handler's own job: if the attempt fails, nothing is. A job that runs twice
enqueues the same jobs, with the same ids. Outside Wasm, in tests, `flow.enqueued` lists what was asked for.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from . import host
from .failure import Permanent, whole_ms
from .payload import dump

try:
    from componentize_py_types import Err
    from wit_world.imports import jobs
except ImportError:
    from . import flow_memory as jobs
    from .flow_memory import Err, enqueued

__all__ = ["enqueue", "enqueued"]

if host.context is not None:
    enqueued: list[dict[str, Any]] = []


def enqueue(
    name: str,
    payload: Any = None,
    *,
    queue: str | None = None,
    delay: float | timedelta | None = None,
    at: datetime | None = None,
    max_attempts: int | None = None,
    timeout: float | timedelta | None = None,
    id: str | None = None,  # noqa: A002
    metadata: dict[str, Any] | None = None,
    **wishes: Any,
) -> str:
    """Enqueues a job and returns its id. What is not granted ends the attempt.

    The payload is whatever a handler may return. `delay` and `timeout` are seconds or a timedelta; a delay counts from the
    acknowledgement. `at` needs a time zone. Without a queue the job goes into that of the handler's own, and without an id
    it has one that follows from its. `wishes` are what else a job may ask of Kiln in `metadata.kiln`.

    Where it is larger, or one more, than the plugin's limits allow, and where an option is wrong, it raises `Permanent`, with
    the `kind` that the host tells.
    """
    options = {
        "queue": queue,
        "delay": _duration(delay),
        "at": _time(at),
        "max_attempts": max_attempts,
        "timeout": _duration(timeout),
        "id": id,
        "metadata": metadata,
        **wishes,
    }
    options = {key: value for key, value in options.items() if value is not None}
    if host.context is not None:
        host.asks("kiln.flow")
    try:
        text = dump(payload)
        options_text = json.dumps(options) if options else None
    except (RecursionError, TypeError, ValueError) as error:
        raise Permanent(f"enqueue: {error}") from error
    try:
        return jobs.enqueue(host.utf8(name), "null" if text is None else host.utf8(text), options_text)
    except Err as err:
        failure = Permanent(f"enqueue: {err.value.message}")
        failure.kind = err.value.kind
        raise failure from None


def _duration(value: float | timedelta | None) -> str | None:
    return None if value is None else f"{whole_ms(value)}ms"


def _time(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise Permanent(f"enqueue: {value} has no time zone")
    return value.isoformat()
