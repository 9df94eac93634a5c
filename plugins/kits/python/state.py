"""Values that outlast an attempt, in the buckets that the plugin's manifest grants (`[grants.state.NAME]`).

    counts = state.bucket("counts")
    counts.add_on_completion("charged_cents", order.cents)  # once, though the job may run twice
    receipt = state.once("charges", job.id, lambda: charge(order))

Values are JSON, in every kit. What fails raises `Retry`. Outside Wasm, in tests, values are kept in memory.
"""

import inspect
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from . import host
from .failure import Permanent, Retry

try:
    from componentize_py_types import Err
    from wit_world.imports import values
except ImportError:
    from . import state_memory as values
    from .state_memory import Err

_UNDER_WAY_SECONDS = 10
"""How long an attempt waits that finds what it is to do once under way in another."""


class Bucket:
    """Values by their keys, which have 1 to 512 bytes."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        found = self.get_versioned(key)
        return default if found is None else found[0]

    def get_versioned(self, key: str) -> tuple[Any, int] | None:
        """The value of a key, and its version, which changes with it."""
        (entry,) = _ask(values.get, self._name, [key])
        if entry is None:
            return None
        try:
            return json.loads(entry.value), entry.version
        except ValueError as error:
            raise Permanent(f"state: the value of {key!r} is not JSON: {error}") from error

    def set(self, key: str, value: Any, *, ttl: float | timedelta | None = None) -> None:
        """Makes this the value of a key, for so long or for as long as the bucket keeps values."""
        self._write(_change(key, _set(value), ttl=ttl))

    def set_if_absent(self, key: str, value: Any, *, ttl: float | timedelta | None = None) -> bool:
        """The same for a key that has none. False: it has one."""
        return self._try(_change(key, _set(value), values.Condition_Absent(), ttl)) is not None

    def swap(self, key: str, version: int, value: Any) -> int | None:
        """Makes this the value of a key whose value still has that version, and returns the new one."""
        changed = self._try(_change(key, _set(value), values.Condition_Version(version)))
        return None if changed is None else changed.version

    def add(self, key: str, by: int = 1) -> int:
        """Adds to a whole number, where there is none to 0, and returns what it is then."""
        return self._write(_change(key, values.Action_Add(by))).number

    def delete(self, key: str) -> None:
        """Takes a value away."""
        self._write(_change(key, values.Action_Delete()))

    def keys(self, prefix: str = "", *, after: str | None = None) -> list[str]:
        """Up to a thousand keys that begin with `prefix`, in order, after one of them."""
        return _ask(values.list_keys, self._name, prefix, after, 1000)

    def set_on_completion(self, key: str, value: Any) -> None:
        """Has this be the value of a key once the job is acknowledged: once, though the job may run twice."""
        self._on_completion(_change(key, _set(value)))

    def add_on_completion(self, key: str, by: int = 1) -> None:
        """Has something added to a number once the job is acknowledged."""
        self._on_completion(_change(key, values.Action_Add(by)))

    def delete_on_completion(self, key: str) -> None:
        """Has a value taken away once the job is acknowledged."""
        self._on_completion(_change(key, values.Action_Delete()))

    def _write(self, change: Any) -> Any:
        return _ask(values.write, self._name, [change])[0]

    def _try(self, change: Any) -> Any:
        """None: the condition does not hold."""
        try:
            return self._write(change)
        except Retry as refused:
            if getattr(refused, "kind", None) == values.ErrorKind.CONFLICT:
                return None
            raise

    def _on_completion(self, change: Any) -> None:
        _ask(values.write_on_completion, self._name, [change])


bucket = Bucket
"""The bucket of a name. One that is not granted ends the attempt at the first call."""


def once(name: str, key: str, work: Callable[[], Any]) -> Any:
    """Does something once for a key, such as a job's id, and returns what it came to, now or when it was done.

    `work` may be `async`: then so is this, `await state.once(…)`. While another attempt is at it, the job is tried again later; where `work` fails, it may be done again. It cannot promise
    more than the world around it: where the worker dies after `work` and before its result is kept, it is done again once
    the attempt's time is over. Hand the key on to whatever `work` calls, if that knows such keys.
    """
    things = bucket(name)
    # Longer than this attempt can last, so that no other begins while it is at work.
    if not things.set_if_absent(key, "under_way", ttl=host.remaining_ms() / 1000 + 1):
        found = things.get(key)
        if isinstance(found, dict) and "done" in found:
            return _known(found["done"]) if inspect.iscoroutinefunction(work) else found["done"]
        raise Retry(f"another attempt is at {key!r}", after=_UNDER_WAY_SECONDS)
    try:
        value = work()
        if inspect.isawaitable(value):
            return _once_awaited(things, key, value)
        done = _set({"done": value})
    except BaseException:
        things.delete(key)
        raise
    # Where this fails the key stays taken: the work is done.
    things._write(_change(key, done))
    return value


async def _known(value: Any) -> Any:
    return value


async def _once_awaited(things: Bucket, key: str, work: Awaitable[Any]) -> Any:
    try:
        value = await work
        done = _set({"done": value})
    except BaseException:
        things.delete(key)
        raise
    things._write(_change(key, done))
    return value


def _ask(call: Callable[..., Any], *args: Any) -> Any:
    if host.context is not None:
        host.asks("kiln.state")
    try:
        return call(*args)
    except Err as err:
        failure = Retry(f"state: {err.value.message}")
        failure.kind = err.value.kind
        raise failure from None


def _set(value: Any) -> Any:
    try:
        return values.Action_Set(json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Permanent(f"state: {error}") from error


def _change(key: str, action: Any, condition: Any = None, ttl: float | timedelta | None = None) -> Any:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    ttl_ms = None if seconds is None else max(0, round(seconds * 1000))
    return values.Change(key, action, values.Condition_Always() if condition is None else condition, ttl_ms)
