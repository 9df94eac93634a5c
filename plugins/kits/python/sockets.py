"""Stands in for `socket.socket`: TCP connections of the host; and, for the HTTP clients of Python's library and of urllib3,
sockets that carry HTTP requests instead.
"""

import errno
import io
import itertools
import socket
from types import SimpleNamespace

from . import selecting, tcp, wire
from .wire import Patience

_descriptors = itertools.count(3)


class Socket:
    """As much of `socket.socket` as clients use."""

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: object = None) -> None:
        self.family = socket.AF_INET if family == -1 else family
        self.type = socket.SOCK_STREAM if type == -1 else type
        self.proto = max(proto, 0)
        self._connection: tcp.Connection | wire.Connection | None = None
        self._timeout = socket.getdefaulttimeout()
        self._files = 0
        self._closed = False
        self._fd = next(_descriptors)
        tcp.watched[self._fd] = self

    def connect(self, address: tuple) -> None:
        if self._connection is not None:
            raise OSError(errno.EISCONN, "connected already")
        if self.type != socket.SOCK_STREAM:
            raise OSError(errno.EPERM, "a component has no sockets but those of TCP")
        self._connection = tcp.Connection(*address[:2])
        if self._timeout == 0:
            raise BlockingIOError(errno.EINPROGRESS, "the connection is being made")
        self._await(writable=True)
        self._stand()

    def _stand(self) -> None:
        self._open().stand()

    def start_tls(self, server_name: str | None) -> None:
        self._open().start_tls(server_name)

    def connect_ex(self, address: tuple) -> int:
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or errno.ECONNREFUSED
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

    def getsockopt(self, level: int, option: int, size: int = 0) -> int:
        if level == socket.SOL_SOCKET and option == socket.SO_ERROR:
            # Asked once the connection is made, or has failed; the exception says more than a number.
            self._stand()
        return 0

    def getpeername(self) -> tuple:
        connection = self._open()
        return (connection.host, connection.port)

    def getsockname(self) -> tuple:
        return ("", 0)

    def fileno(self) -> int:
        return -1 if self._closed else self._fd

    def _await(self, *, writable: bool = False, patience: Patience | None = None) -> None:
        """Until the host would not wait. Without a timeout, it is the host that waits."""
        left = patience.left() if patience else self._timeout
        if left is not None and not any(tcp.ready(*(([], [self._fd]) if writable else ([self._fd], [])), left)):
            if self._timeout == 0:
                raise BlockingIOError(errno.EAGAIN, "would wait")
            raise TimeoutError(errno.ETIMEDOUT, "timed out")

    def send(self, data: bytes, flags: int = 0) -> int:
        connection = self._open()
        self._await(writable=True)
        return connection.write(memoryview(data).cast("B"))

    def sendall(self, data: bytes, flags: int = 0) -> None:
        connection, patience, left = self._open(), Patience(self._timeout), memoryview(data).cast("B")
        while left:
            self._await(writable=True, patience=patience)
            left = left[connection.write(left) :]

    def recv(self, size: int, flags: int = 0) -> bytes:
        connection = self._open()
        if not connection.has_some():
            self._await()
            if not connection.fill():
                return b""
        return connection.take(size, stays=bool(flags & socket.MSG_PEEK))

    def recv_into(self, buffer: bytearray, size: int = 0, flags: int = 0) -> int:
        piece = self.recv(size or len(buffer), flags)
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def _open(self) -> tcp.Connection | wire.Connection:
        if self._connection is None:
            raise OSError(errno.EBADF if self._closed else errno.ENOTCONN, "not connected")
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
        self._closed = True
        return -1

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._open().finish()

    def bind(self, *_: object) -> None:
        """Where a connection comes from is the host's affair."""

    def listen(self, *_: object) -> None:
        raise OSError(errno.EPERM, "a component makes connections, and accepts none")

    accept = sendto = recvfrom = listen

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> "Socket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class HttpSocket(Socket):
    """Carries HTTP requests and their answers. It connects when it is sent a request."""

    _patience: Patience | None = None

    @property
    def unconnected(self) -> bool:
        """Whether what failed last was the connection."""
        return self._connection is not None and self._connection.unconnected

    def connect(self, address: tuple) -> None:
        name, port = address[:2]
        self._connection = wire.Connection(name, port, self._timeout)

    def _stand(self) -> None:
        """It has not been tried."""

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

    def _await_answer(self, connection: wire.Connection) -> None:
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

    def shutdown(self, how: int) -> None:
        """The host ends connections."""


def _create_http_connection(address: tuple, timeout: object = None, *_: object, **__: object) -> HttpSocket:
    made = HttpSocket()
    # A client that was told no timeout has an object that means the default.
    if timeout is None or isinstance(timeout, (int, float)):
        made.settimeout(timeout)
    made.connect(getaddrinfo(*address)[0][4])
    return made


def carry_http(module: object) -> None:
    """Has a client of HTTP, which knows the module `socket` by this name, open sockets that carry HTTP."""
    own = {"socket": HttpSocket, "create_connection": _create_http_connection}
    module.socket = SimpleNamespace(**{**vars(socket), **own})


def getaddrinfo(
    host: object, port: object, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[tuple]:
    """Leaves the name to the host, which resolves it when it connects, and checks every address that it finds."""
    name = "localhost" if host is None else host.decode("idna") if isinstance(host, bytes) else host
    if not name.isascii():
        name = name.encode("idna").decode()
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, int(port or 0)))]


def stand_in(module: object) -> None:
    """Replaces what opens connections in the module `socket`, and what waits for them."""
    module.socket = module.SocketType = Socket
    module.getaddrinfo = getaddrinfo
    module.gethostname = lambda: "localhost"
    module.gethostbyname = lambda name: "127.0.0.1" if name == "localhost" else name
    module.getfqdn = lambda name="": name or "localhost"
    selecting.stand_in()
