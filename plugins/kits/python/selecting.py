"""Stands in for what waits for several sockets: `select.select`, `select.poll` and the module `selectors`."""

import select
import selectors
from collections.abc import Iterable

from .tcp import ready

_READ = select.POLLIN | select.POLLPRI | select.POLLRDNORM


class Selector(selectors.SelectSelector):
    """Waits for the host's connections."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        keys = self.get_map()
        reads = [fd for fd, key in keys.items() if key.events & selectors.EVENT_READ]
        writes = [fd for fd, key in keys.items() if key.events & selectors.EVENT_WRITE]
        read, written = ready(reads, writes, timeout)
        return [
            (keys[fd], (fd in read) * selectors.EVENT_READ | (fd in written) * selectors.EVENT_WRITE)
            for fd in read | written
        ]


class Poll:
    """As much of `select.poll()` as there is to be told: what can be read or written."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fileobj: object, eventmask: int = select.POLLIN | select.POLLOUT) -> None:
        self._events[_descriptor(fileobj)] = eventmask

    modify = register

    def unregister(self, fileobj: object) -> None:
        del self._events[_descriptor(fileobj)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Milliseconds; none, or less than 0: without an end."""
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        read, written = ready(
            (fd for fd, events in self._events.items() if events & _READ),
            (fd for fd, events in self._events.items() if events & select.POLLOUT),
            seconds,
        )
        return [(fd, (fd in read) * select.POLLIN | (fd in written) * select.POLLOUT) for fd in read | written]


def _select(reads: Iterable, writes: Iterable, errors: Iterable, timeout: float | None = None) -> tuple[list, list, list]:
    by_fd = [{_descriptor(each): each for each in asked} for asked in (reads, writes)]
    read, written = ready(*by_fd, timeout)
    return [by_fd[0][fd] for fd in read], [by_fd[1][fd] for fd in written], []


def _descriptor(fileobj: object) -> int:
    found = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if found < 0:
        raise ValueError(f"closed, or no socket: {fileobj!r}")
    return found


def stand_in() -> None:
    select.select, select.poll = _select, Poll
    selectors.DefaultSelector = selectors.SelectSelector = selectors.PollSelector = Selector
