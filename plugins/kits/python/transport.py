"""Connections of asyncio: what `loop.create_connection` makes, beneath `asyncio.open_connection` and aiohttp."""

import asyncio
from typing import Any

from .wire import PIECE, Connection


class Transport(asyncio.Transport):
    def __init__(self, loop: Any, connection: Connection, protocol: asyncio.BaseProtocol) -> None:
        super().__init__({"peername": (connection.host, connection.port)})
        self._loop = loop
        self._connection = connection
        self._protocol = protocol
        self._closing = False
        self._writing: asyncio.Task | None = None
        self._is_wanted = asyncio.Event()
        self._is_wanted.set()
        self._has_news = asyncio.Event()
        protocol.connection_made(self)
        self._reading = loop.create_task(self._read())

    def write(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            self._connection.send(bytes(data))
        except OSError as error:
            self._end(error)
        self._has_news.set()
        self._await_room()

    def _await_room(self) -> None:
        if self._connection.is_full and self._writing is None:
            self._protocol.pause_writing()
            self._writing = self._loop.create_task(self._write())

    async def _write(self) -> None:
        """Sends what there was no room for."""
        connection = self._connection
        try:
            while connection.is_full:
                await self._loop.is_ready(connection.body())
                connection.send(b"")
        except OSError as error:
            self._end(error)
        self._writing = None
        self._protocol.resume_writing()

    async def _read(self) -> None:
        connection = self._connection
        try:
            while True:
                await self._is_wanted.wait()
                exchange = connection.exchange
                if connection.waits:
                    await self._loop.turn()
                    connection.send(b"")
                    self._await_room()
                elif connection.has_some():
                    self._protocol.data_received(connection.take(PIECE))
                elif exchange is None:
                    self._has_news.clear()
                    await self._has_news.wait()
                else:
                    await self._loop.is_ready(exchange)
                    # Meanwhile another request may have taken its place.
                    if connection.exchange == exchange:
                        connection.fill()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError | None) -> None:
        if not self._closing:
            self._closing = True
            self._connection.close()
            self._reading.cancel()
            if self._writing is not None:
                self._writing.cancel()
            self._loop.call_soon(self._protocol.connection_lost, error)

    def close(self) -> None:
        self._end(None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        self._is_wanted.clear()

    def resume_reading(self) -> None:
        self._is_wanted.set()

    def is_reading(self) -> bool:
        return self._is_wanted.is_set()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._connection.unsent()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """What is written is handed over at once, as far as there is room; who writes waits for the rest."""
