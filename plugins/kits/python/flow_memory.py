"""Takes note of what is enqueued, outside Wasm, where handlers are tested."""

import json
from typing import Any

enqueued: list[dict[str, Any]] = []
"""What was enqueued: name, payload and options. A test may clear it."""


class Err(Exception):
    """Never raised here: without a host nothing is refused."""

    value: Any = None


def enqueue(name: str, payload: str, options: str | None) -> str:
    asked = {} if options is None else json.loads(options)
    enqueued.append({"name": name, "payload": json.loads(payload), "options": asked})
    return f"follow-up-{len(enqueued)}"
