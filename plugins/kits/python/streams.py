"""Connections of httpcore, beneath httpx and what is built upon it; and of httpcore2, its successor."""

import asyncio
from importlib import import_module
from types import ModuleType
from typing import Any

from .wire import Connection, Patience


class _Base:
    def __init__(self, library: ModuleType, connection: Connection) -> None:
        self._library = library
        self._connection = connection

    def get_extra_info(self, info: str) -> Any:
        # Not readable: nothing comes on a connection that nobody asked.
        return False if info == "is_readable" else None

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except OSError as error:
            raise self._told(error, self._library.WriteError) from error

    def _fill(self) -> bool:
        try:
            return self._connection.fill()
        except OSError as error:
            raise self._told(error, self._library.ReadError) from error

    def _told(self, error: OSError, otherwise: type[Exception]) -> Exception:
        library, unconnected = self._library, self._connection.unconnected
        if isinstance(error, TimeoutError):
            return (library.ConnectTimeout if unconnected else library.ReadTimeout)(str(error))
        return (library.ConnectError if unconnected else otherwise)(str(error))


class Stream(_Base):
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._send(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        patience = Patience(timeout)
        while not self._connection.has_some():
            if not self._connection.is_ready(patience.left()):
                raise self._library.ReadTimeout("timed out")
            if not self._fill():
                return b""
        return self._connection.take(max_bytes)

    def close(self) -> None:
        self._connection.close()

    def start_tls(self, *_: object, **__: object) -> "Stream":
        self._connection.tls = True
        return self


class AsyncStream(_Base):
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        connection, loop = self._connection, asyncio.get_running_loop()
        self._send(buffer)
        # However long others take: what bounds that are their timeouts, and the attempt's.
        while connection.waits:
            await loop.turn()
            self._send(b"")
        try:
            async with asyncio.timeout(timeout):
                while connection.is_full:
                    await loop.is_ready(connection.body())
                    self._send(b"")
        except TimeoutError as error:
            raise self._library.WriteTimeout("timed out") from error

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        connection, loop = self._connection, asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                while not connection.has_some():
                    if connection.exchange is not None:
                        await loop.is_ready(connection.exchange)
                    if not self._fill():
                        return b""
        except TimeoutError as error:
            raise self._library.ReadTimeout("timed out") from error
        return connection.take(max_bytes)

    async def aclose(self) -> None:
        self._connection.close()

    async def start_tls(self, *_: object, **__: object) -> "AsyncStream":
        self._connection.tls = True
        return self


def stand_in(library: ModuleType) -> None:
    """Has the backends of httpcore connect to the host."""

    def connect(self: object, host: str, port: int, timeout: float | None = None, **_: object) -> Stream:
        return Stream(library, Connection(host, port, timeout))

    async def connect_async(self: object, host: str, port: int, timeout: float | None = None, **_: object) -> AsyncStream:
        return AsyncStream(library, Connection(host, port, timeout, takes_turns=True))

    def backend(name: str) -> ModuleType:
        return import_module(f"{library.__name__}._backends.{name}")

    backend("sync").SyncBackend.connect_tcp = connect
    backend("auto").AutoBackend.connect_tcp = backend("anyio").AnyIOBackend.connect_tcp = connect_async
