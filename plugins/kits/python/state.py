"""Values that outlast an attempt, in the buckets that the plugin's manifest grants (`[grants.state.NAME]`).

    counts = state.bucket("counts")
    counts.add_on_completion("charged_cents", order.cents)  # once, though the job may run twice
    receipt = state.once("charges", job.id, lambda: charge(order))

Values are JSON, in every kit. What fails raises `Retry`. Outside Wasm, in tests, values are kept in memory.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from . import host
from .failure import Permanent, Retry, whole_ms
from .payload import Mismatch, dump, load

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
        with _fitting(key):
            return load(entry.value.decode()), entry.version

    def set(self, key: str, value: Any, *, ttl: float | timedelta | None = None) -> None:
        """Makes this the value of a key: whatever a handler may return.

        It lasts for `ttl`, which is seconds or a timedelta; without it, or with 0, for as long as the bucket keeps values,
        and in no case longer. What JSON cannot have, and a time below 0, raises `Permanent`.
        """
        self._write(_change(key, _set(key, value), ttl=ttl))

    def set_if_absent(self, key: str, value: Any, *, ttl: float | timedelta | None = None) -> bool:
        """The same for a key that has none. False: it has one."""
        return self._try(_change(key, _set(key, value), values.Condition_Absent(), ttl)) is not None

    def swap(self, key: str, version: int, value: Any) -> int | None:
        """Makes this the value of a key whose value still has that version, and returns the new one."""
        changed = self._try(_change(key, _set(key, value), values.Condition_Version(version)))
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
        self._on_completion(_change(key, _set(key, value)))

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

    That is what JSON makes of it: a dict of a dataclass. `work` may be an `async` function: then so is this, `await
    state.once(…)`. While another attempt is at it, the job is tried again later; where `work` fails, or returns what JSON
    cannot have, it may be done again.

    It cannot promise more than the world around it: where the worker dies after `work` and before its result is kept, it is
    done again once the attempt's time is over. Hand the key on to whatever `work` calls, if that knows such keys.
    """
    things = bucket(name)
    if inspect.iscoroutinefunction(work):
        return _once_async(things, key, work)
    if not _claim(things, key):
        return _done_before(things, key)
    with _freed(things, key):
        value = work()
        if inspect.isawaitable(value):
            # The next time there is nothing to await.
            if inspect.iscoroutine(value):
                value.close()
            raise TypeError("what is done once has to be awaited: hand on the `async` function itself")
        done = _done(key, value)
    return _keep(things, key, done)


async def _once_async(things: Bucket, key: str, work: Callable[[], Any]) -> Any:
    if not _claim(things, key):
        return _done_before(things, key)
    with _freed(things, key):
        done = _done(key, await work())
    return _keep(things, key, done)


# What stands in a bucket of what is done once is "under_way" or {"done": result}, in every kit.


def _claim(things: Bucket, key: str) -> bool:
    # Longer than this attempt can last, so that no other begins while it is at work.
    return things.set_if_absent(key, "under_way", ttl=host.remaining_ms() / 1000 + 1)


def _done_before(things: Bucket, key: str) -> Any:
    found = things.get(key, "under_way")
    if found == "under_way":
        raise Retry(f"another attempt is at {key!r}", after=_UNDER_WAY_SECONDS)
    if not isinstance(found, dict) or "done" not in found:
        raise Permanent(f"state: the value of {key!r}: it is not of what is done once")
    return found["done"]


@contextmanager
def _freed(things: Bucket, key: str) -> Iterator[None]:
    """Frees the key where the work fails."""
    try:
        yield
    except BaseException:
        # A claim that cannot be deleted ends by itself. What went wrong before is what has to be told.
        with suppress(Retry):
            things.delete(key)
        raise


def _done(key: str, value: Any) -> tuple[Any, Any]:
    """What is kept of a result, and what it will be read as."""
    text = _json(key, value)
    with _fitting(key):
        return values.Action_Set(b'{"done":%b}' % text), load(text.decode())


def _keep(things: Bucket, key: str, done: tuple[Any, Any]) -> Any:
    # Where this fails the key stays taken: the work is done.
    things._write(_change(key, done[0]))
    return done[1]


def _ask(call: Callable[..., Any], *args: Any) -> Any:
    if host.context is not None:
        host.asks("kiln.state")
    try:
        return call(*args)
    except Err as err:
        failure = Retry(f"state: {err.value.message}")
        failure.kind = err.value.kind
        raise failure from None


@contextmanager
def _fitting(key: str) -> Iterator[None]:
    """What JSON cannot have, or is no JSON, is no better the next time."""
    try:
        yield
    except (Mismatch, RecursionError, TypeError, ValueError) as error:
        raise Permanent(f"state: the value of {key!r}: {error}") from error


def _json(key: str, value: Any) -> bytes:
    with _fitting(key):
        text = dump(value)
        return b"null" if text is None else text.encode(errors="backslashreplace")


def _set(key: str, value: Any) -> Any:
    return values.Action_Set(_json(key, value))


def _change(key: str, action: Any, condition: Any = None, ttl: float | timedelta | None = None) -> Any:
    return values.Change(key, action, values.Condition_Always() if condition is None else condition, _ttl_ms(ttl))


def _ttl_ms(ttl: float | timedelta | None) -> int | None:
    if not ttl:
        return None
    if not (ttl.total_seconds() if isinstance(ttl, timedelta) else ttl) > 0:
        raise Permanent(f"state: a value cannot last for {ttl} seconds")
    return max(1, whole_ms(ttl))
