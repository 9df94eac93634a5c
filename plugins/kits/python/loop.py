"""The event loop of a component: it waits for connections and HTTP exchanges of the host, and for time."""

import asyncio
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable
from typing import Any

from .selecting import Selector
from .sockets import HttpSocket, Socket
from .tcp import EXCHANGES
from .transport import Transport
from .wire import Connection, turns


class Loop(BaseSelectorEventLoop):
    """Runs tasks while others wait."""

    def __init__(self) -> None:
        super().__init__(Selector())

    async def is_ready(self, exchange: int) -> None:
        """Until the next thing that can be asked of an exchange is here; by the number of its body, until that has room."""
        ready = self.create_future()
        self._add_reader(EXCHANGES + exchange, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            self._remove_reader(EXCHANGES + exchange)

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
        **options: object,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        if not isinstance(sock, HttpSocket):
            return await super().create_connection(protocol_factory, host, port, ssl=ssl, sock=sock, **options)
        # The host connects, once it is sent a request: then it is that the connection may be lost.
        connection = Connection(*sock.getpeername(), None, takes_turns=True)
        connection.tls = bool(ssl)
        protocol = protocol_factory()
        return Transport(self, connection, protocol), protocol

    def _make_ssl_transport(
        self,
        rawsock: Socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: object,
        waiter: asyncio.Future | None = None,
        *,
        server_hostname: str | None = None,
        extra: dict | None = None,
        **_: object,
    ) -> asyncio.Transport:
        """The host speaks TLS. Nothing else runs until both sides have agreed on it."""
        rawsock.start_tls(server_hostname)
        return self._make_socket_transport(rawsock, protocol, waiter, extra=extra)

    async def start_tls(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.BaseProtocol,
        sslcontext: object,
        *,
        server_hostname: str | None = None,
        **_: object,
    ) -> asyncio.Transport:
        transport._sock.start_tls(server_hostname)
        transport.set_protocol(protocol)
        return transport

    def _make_self_pipe(self) -> None:
        """There is no other thread that could wake it."""

    _close_self_pipe = _write_to_self = _make_self_pipe

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
