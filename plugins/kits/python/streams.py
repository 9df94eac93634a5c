"""Connections of httpcore, beneath httpx and what is built upon it."""

import asyncio
import ssl
from typing import Any

import httpcore

from .wire import Connection, Patience


class _Base:
    def __init__(self, host: str, port: int, timeout: float | None) -> None:
        self._connection = Connection(host, port, timeout)

    def get_extra_info(self, info: str) -> Any:
        # Not readable: nothing comes on a connection that nobody asked.
        return False if info == "is_readable" else None

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except OSError as error:
            raise self._told(error, httpcore.WriteError) from error

    def _fill(self) -> bool:
        try:
            return self._connection.fill()
        except OSError as error:
            raise self._told(error, httpcore.ReadError) from error

    def _told(self, error: OSError, otherwise: type[Exception]) -> Exception:
        late, unconnected = isinstance(error, TimeoutError), self._connection.unconnected
        if late:
            return (httpcore.ConnectTimeout if unconnected else httpcore.ReadTimeout)(str(error))
        return (httpcore.ConnectError if unconnected else otherwise)(str(error))


class Stream(_Base, httpcore.NetworkStream):
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._send(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        patience = Patience(timeout)
        while not self._connection.has_some():
            if not self._connection.is_ready(patience.left()):
                raise httpcore.ReadTimeout("timed out")
            if not self._fill():
                return b""
        return self._connection.take(max_bytes)

    def close(self) -> None:
        self._connection.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "Stream":
        self._connection.tls = True
        return self


class AsyncStream(_Base, httpcore.AsyncNetworkStream):
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._send(buffer)

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
            raise httpcore.ReadTimeout("timed out") from error
        return connection.take(max_bytes)

    async def aclose(self) -> None:
        self._connection.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "AsyncStream":
        self._connection.tls = True
        return self


def stand_in() -> None:
    """Has the backends of httpcore connect to the host."""
    from httpcore._backends.anyio import AnyIOBackend
    from httpcore._backends.auto import AutoBackend
    from httpcore._backends.sync import SyncBackend

    def connect(self: object, host: str, port: int, timeout: float | None = None, **_: object) -> Stream:
        return Stream(host, port, timeout)

    async def connect_async(self: object, host: str, port: int, timeout: float | None = None, **_: object) -> AsyncStream:
        return AsyncStream(host, port, timeout)

    SyncBackend.connect_tcp = connect
    AutoBackend.connect_tcp = AnyIOBackend.connect_tcp = connect_async
