"""TCP connections of the host, beneath sockets: the host resolves names, keeps to the grants, and speaks TLS where it is
asked to.
"""

import errno
import math
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

from . import host
from .faults import os_error

try:
    from componentize_py_types import Err
    from wit_world.imports import connections
except ImportError:
    # Outside Wasm, where nothing here is called.
    Err = connections = None

PIECE = 64 * 1024
"""Bytes that are read, and handed over to be written, at once."""

EXCHANGES = 1 << 32
"""The descriptor of an HTTP exchange is its number above this one."""

watched: WeakValueDictionary[int, Any] = WeakValueDictionary()
"""Sockets by their descriptors. Those are the kit's own: the host knows connections by other numbers."""


class Connection:
    """One connection. Reads and writes wait for the host; `ready` tells whether they would."""

    def __init__(self, name: str, port: int) -> None:
        host.asks("TCP")
        self.host = name
        self.port = port
        self._read = bytearray()
        self.number = self._ask(connections.connect, name, port)

    def stand(self) -> None:
        """Waits until there is a connection."""
        self._ask(connections.connected, self.number)

    def start_tls(self, server_name: str | None) -> None:
        """Has the host speak TLS from here on, once it has verified that the server has this name."""
        if self._read:
            # Whoever sent it would have it taken for what came encrypted.
            raise OSError(errno.EPROTO, f"the server sent more than its consent to TLS: {self._where()}")
        self._ask(connections.start_tls, self.number, server_name or self.host)

    def fill(self) -> bool:
        """Waits for bytes. False if the peer sends no more."""
        piece = self._ask(connections.read, self.number, PIECE)
        self._read += piece
        return bool(piece)

    def has_some(self) -> bool:
        return bool(self._read)

    def take(self, size: int, *, stays: bool = False) -> bytes:
        """What is here, up to so many bytes."""
        taken = bytes(self._read[:size])
        if not stays:
            del self._read[:size]
        return taken

    def write(self, data: memoryview) -> int:
        """Hands over what there is room for, and says how many bytes that were."""
        return self._ask(connections.write, self.number, bytes(data[:PIECE])) if data else 0

    def finish(self) -> None:
        """Sends no more."""
        self._ask(connections.finish, self.number)

    def close(self) -> None:
        connections.close(self.number)

    def _ask(self, function: Callable, *arguments: object) -> Any:
        try:
            return function(*arguments)
        except Err as err:
            raise os_error(err.value, self._where(), errno.EMFILE) from None

    def _where(self) -> str:
        return f"{self.host}:{self.port}"


def ready(reads: Iterable[int], writes: Iterable[int], timeout: float | None) -> tuple[set[int], set[int]]:
    """Of these descriptors those that can be read from, and those that can be written to: waits until there are some,
    or for so many seconds.
    """
    read: set[int] = set()
    written: set[int] = set()
    readable: dict[int, int] = {}
    writable: dict[int, int] = {}
    exchanges: dict[int, int] = {}
    for fd in reads:
        if fd >= EXCHANGES:
            exchanges[fd - EXCHANGES] = fd
        elif (connection := _connection(fd)) is None or connection.has_some():
            read.add(fd)
        else:
            readable[connection.number] = fd
    for fd in writes:
        if (connection := _connection(fd)) is None:
            written.add(fd)
        else:
            writable[connection.number] = fd
    ms = 0 if read or written else None if timeout is None else max(0, math.ceil(timeout * 1000))
    if not (readable or writable or exchanges) and not ms:
        if ms is None:
            raise RuntimeError("waits for nothing that can happen in a component")
        return read, written
    # One that is always ready must not hide the others.
    while (one := connections.wait(list(readable), list(writable), list(exchanges), ms)) is not None:
        match one:
            case connections.Ready_ConnectionReadable(number):
                read.add(readable.pop(number))
            case connections.Ready_ConnectionWritable(number):
                written.add(writable.pop(number))
            case connections.Ready_Exchange(number):
                read.add(exchanges.pop(number))
        ms = 0
    return read, written


def _connection(fd: int) -> Connection | None:
    """None where a call would say what is wrong, at once."""
    found = watched.get(fd)
    return None if found is None else found._connection
