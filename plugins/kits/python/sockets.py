"""Stands in for sockets, beneath the HTTP libraries that open them: `http.client`, urllib and urllib3."""

import errno
import io
import socket

from .wire import Connection, Patience, no_http


class Socket:
    """As much of `socket.socket` as clients of HTTP use. It connects when it is sent a request."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: object = None) -> None:
        self.family = socket.AF_INET if family == -1 else family
        self.type = socket.SOCK_STREAM if type == -1 else type
        self.proto = max(proto, 0)
        self._connection: Connection | None = None
        self._timeout = socket.getdefaulttimeout()
        self._patience: Patience | None = None
        self._files = 0
        self._closed = False

    @property
    def unconnected(self) -> bool:
        """Whether what failed last was the connection."""
        return self._connection is not None and self._connection.unconnected

    def connect(self, address: tuple) -> None:
        name, port = address[:2]
        self._connection = Connection(name, port, self._timeout)

    def connect_ex(self, address: tuple) -> int:
        self.connect(address)
        return 0

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        return self._timeout

    timeout = property(gettimeout)

    def setblocking(self, blocking: bool) -> None:
        self._timeout = None if blocking else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0.0

    def setsockopt(self, *_: object) -> None:
        """The host's connections have the options that it gives them."""

    def getsockopt(self, *_: object) -> int:
        return 0

    def getpeername(self) -> tuple:
        connection = self._open()
        return (connection.host, connection.port)

    def getsockname(self) -> tuple:
        return ("", 0)

    def fileno(self) -> int:
        return -1

    def sendall(self, data: bytes, flags: int = 0) -> None:
        connection = self._open()
        connection.send(bytes(data))
        if connection.is_sent:
            self._await_answer(connection)

    def send(self, data: bytes, flags: int = 0) -> int:
        self.sendall(data)
        return len(data)

    def _await_answer(self, connection: Connection) -> None:
        """Waits until there is an answer, so that a connection that fails does so here, as it would before a request
        is sent. What takes too long, or fails later, is for `recv` to tell.
        """
        self._patience = Patience(self._timeout)
        if connection.is_ready(self._patience.left()):
            try:
                connection.fill()
            except OSError:
                if connection.unconnected:
                    raise

    def recv_into(self, buffer: bytearray, size: int = 0, flags: int = 0) -> int:
        piece = self.recv(size or len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def recv(self, size: int, flags: int = 0) -> bytes:
        connection = self._open()
        if not connection.has_some():
            patience, self._patience = self._patience or Patience(self._timeout), None
            while not connection.has_some():
                if not connection.is_ready(patience.left()):
                    raise TimeoutError(errno.ETIMEDOUT, "timed out")
                if not connection.fill():
                    return b""
        return connection.take(size)

    def _open(self) -> Connection:
        if self._connection is None:
            raise OSError(errno.ENOTCONN, "not connected")
        return self._connection

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: object) -> object:
        raw = socket.SocketIO(self, "".join(letter for letter in "rw" if letter in mode))
        self._files += 1
        if buffering == 0:
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering in (None, -1) else buffering
        if "r" in mode and "w" in mode:
            buffered = io.BufferedRWPair(raw, raw, size)
        else:
            buffered = (io.BufferedReader if "r" in mode else io.BufferedWriter)(raw, size)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, **text)

    def _decref_socketios(self) -> None:
        self._files -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        """Files made of it keep it open until they are closed themselves."""
        self._closed = True
        if self._files <= 0 and self._connection is not None:
            self._connection.close()
            self._connection = None

    def detach(self) -> int:
        self._connection = None
        return -1

    def shutdown(self, how: int) -> None:
        """The host ends connections."""

    def bind(self, *_: object) -> None:
        raise no_http()

    listen = accept = sendto = recvfrom = bind

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def getaddrinfo(
    host: object, port: object, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[tuple]:
    """Leaves the name to the host, which resolves it when it connects, and checks every address that it finds."""
    name = "localhost" if host is None else host.decode("idna") if isinstance(host, bytes) else host
    if not name.isascii():
        name = name.encode("idna").decode()
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, int(port or 0)))]


def stand_in(module: object) -> None:
    """Replaces what opens connections in the module `socket`."""
    module.socket = module.SocketType = Socket
    module.getaddrinfo = getaddrinfo
