"""The event loop of a component: it waits for HTTP exchanges and for time, all there is to wait for."""

import asyncio
import math
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from typing import Any

from .sockets import Socket
from .transport import Transport
from .wire import Connection, client, turns


class Loop(BaseEventLoop):
    """Runs tasks while others wait for answers."""

    def __init__(self) -> None:
        super().__init__()
        # The loop's base selects, and hands on what is ready.
        self._selector = self
        self._waiting: dict[int, asyncio.Future] = {}

    async def is_ready(self, exchange: int) -> None:
        """Until the next thing that can be asked of an exchange is here."""
        self._waiting[exchange] = self.create_future()
        try:
            await self._waiting[exchange]
        finally:
            del self._waiting[exchange]

    async def turn(self) -> None:
        """Until some exchange has ended."""
        turns.append(self.create_future())
        await turns[-1]

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: object = None,
        sock: Socket | None = None,
        **_: object,
    ) -> tuple[Transport, asyncio.BaseProtocol]:
        """The host connects, once it is sent a request: then it is that the connection may be lost."""
        if sock is not None:
            host, port = sock.getpeername()
        connection = Connection(host, port, None, takes_turns=True)
        connection.tls = bool(ssl)
        protocol = protocol_factory()
        return Transport(self, connection, protocol), protocol

    async def sock_connect(self, sock: Socket, address: tuple) -> None:
        sock.connect(address)

    def select(self, timeout: float | None) -> list[int]:
        exchanges = [number for number, future in self._waiting.items() if not future.done()]
        if not exchanges and timeout is None:
            raise RuntimeError("every task waits, and for nothing that can happen in a component")
        if not exchanges and timeout == 0:
            return []
        found = client.wait(exchanges, None if timeout is None else math.ceil(timeout * 1000))
        return [] if found is None else [found]

    def _process_events(self, events: list[int]) -> None:
        for number in events:
            self._waiting[number].set_result(None)

    def _write_to_self(self) -> None:
        """There is no other thread that could wake it."""

    def run_in_executor(self, executor: object, function: Callable, *arguments: Any) -> asyncio.Future:
        """At once: there are no threads."""
        future = self.create_future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


def stand_in(module: object) -> None:
    """Has `asyncio.run`, and all that makes loops, make these."""
    module.SelectorEventLoop = module.EventLoop = Loop
    module.unix_events._DefaultEventLoopPolicy._loop_factory = Loop
