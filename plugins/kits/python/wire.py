"""One connection to a server, as HTTP libraries see it: they write requests as HTTP/1.1 and read answers as HTTP/1.1.

Beneath are the exchanges of `kiln:http/client`. The host resolves names, connects, speaks TLS and verifies certificates,
and only once it is sent a request. What fails then fails as it does in `socket.connect`, a little later.
"""

import errno
import re
import time
from collections import deque
from http import HTTPStatus

from . import host
from .faults import os_error

try:
    from componentize_py_types import Err
    from wit_world.imports import client
except ImportError:
    # Outside Wasm, where nothing here is called.
    Err = client = None

MAX_WHOLE = 256 * 1024
"""Bytes of a request's body up to which it is handed over at once; longer ones are passed on as they are written."""

MAX_HEAD = 1024 * 1024
"""Bytes of a request's head that are kept while the rest of it is awaited; the host's own limit is below it."""

PIECE = 64 * 1024
"""Bytes of a body that are handed over, or asked for, at once."""

_open: set["Connection"] = set()
"""Those with something under way."""

turns: deque = deque()
"""Futures of tasks that wait until another exchange ends, because the plugin may have no more at once."""

_REQUEST = re.compile(rb"[A-Za-z-]*(?: |$)")
_HOP_BY_HOP = {b"connection", b"keep-alive", b"transfer-encoding", b"expect"}


class Connection:
    """Requests and their answers, one after the other."""

    def __init__(self, host_name: str, port: int, connect_timeout: float | None, takes_turns: bool = False) -> None:
        self.host = host_name
        self.port = port
        self.tls = False
        self.exchange: int | None = None
        """The host's number for what is under way."""
        self.is_sent = False
        """Whether the request under way has been sent whole, and nothing of its answer was had."""
        self.unconnected = False
        """Whether there was no connection, so that the server has seen nothing of the request."""
        self.waits = False
        """Whether the request could not be begun while so many others are under way; `send` tries again."""
        self.is_full = False
        """Whether there was no room for some of the body; `send` tries again."""
        self._takes_turns = takes_turns
        self._connect_timeout_ms = None if connect_timeout is None else max(1, round(connect_timeout * 1000))
        self._sent = bytearray()
        self._step = self._head
        self._left = 0
        self._method = ""
        self._failure: OSError | None = None
        self._answer = bytearray()
        self._chunked = False
        self._unread: int | None = None
        self._has_head = False

    def close(self) -> None:
        if self.exchange is not None:
            client.close(self.exchange)
            self._ended()

    def _ended(self) -> None:
        """Nothing is under way any more: another may take its turn."""
        self.exchange = None
        self.is_full = False
        _open.discard(self)
        while turns:
            turn = turns.popleft()
            if not turn.done():
                turn.set_result(None)
                break

    # What is sent.

    def send(self, data: bytes) -> None:
        """Takes more of a request. While the server takes none of a long body it waits; where tasks take turns, it keeps what
        there is no room for, and `is_full`.
        """
        self._sent += data
        if self.waits:
            self._begin()
        while not self.waits and self._step():
            pass

    def _head(self) -> bool:
        end = self._sent.find(b"\r\n\r\n")
        if end < 0:
            if len(self._sent) > MAX_HEAD or not _REQUEST.match(self._sent):
                raise no_http()
            return False
        first, *lines = bytes(self._sent[:end]).split(b"\r\n")
        del self._sent[: end + 4]
        words = first.split(b" ")
        if len(words) != 3 or words[0] == b"CONNECT":
            raise no_http()
        self._method = words[0].decode()
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        self._request = client.Request(
            self._method,
            self._url(words[1].decode("latin-1")),
            [(name.decode("latin-1"), value) for name, value in headers if name not in _HOP_BY_HOP],
            client.RequestBody_None_(),
            self._connect_timeout_ms,
            None,
            None,
        )
        given = dict(headers)
        if given.get(b"transfer-encoding", b"").lower() == b"chunked":
            self._start(client.RequestBody_Streamed())
            self._step = self._chunk_size
        elif b"content-length" in given:
            self._left = int(given[b"content-length"])
            self._step = self._whole
            if self._left > MAX_WHOLE:
                self._start(client.RequestBody_Streamed())
                self._step = self._rest
        else:
            self._start(client.RequestBody_None_())
            self._sent_whole()
        return True

    def _url(self, target: str) -> str:
        if "://" in target.split("?")[0]:
            return target  # as proxies are asked
        scheme, default = ("https", 443) if self.tls else ("http", 80)
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{name}{'' if self.port == default else f':{self.port}'}{target}"

    def _whole(self) -> bool:
        """A body that is handed over at once."""
        if len(self._sent) < self._left:
            return False
        self._start(client.RequestBody_Whole(bytes(self._sent[: self._left])))
        del self._sent[: self._left]
        self._sent_whole()
        return True

    def _rest(self) -> bool:
        """A body of known length that is passed on as it is written."""
        self._pass_on()
        if self._left:
            return False
        self._finish()
        return True

    def _chunk_size(self) -> bool:
        end = self._sent.find(b"\r\n")
        if end < 0:
            return False
        self._left = int(bytes(self._sent[:end]).split(b";")[0], 16)
        del self._sent[: end + 2]
        self._step = self._chunk if self._left else self._chunk_end
        return True

    def _chunk(self) -> bool:
        self._pass_on()
        if self._left == 0:
            self._left = -1
            self._step = self._chunk_end
        return self._left == -1

    def _chunk_end(self) -> bool:
        """The line end after a chunk; after the last one, of which nothing is left, also the end of the body."""
        if len(self._sent) < 2:
            return False
        del self._sent[:2]
        if self._left == -1:
            self._step = self._chunk_size
        else:
            self._finish()
        return True

    def _pass_on(self) -> None:
        self.is_full = False
        while not self.is_full and (piece := bytes(self._sent[: min(self._left, PIECE)])):
            taken = len(piece) if self.exchange is None else self._write(piece)
            del self._sent[:taken]
            self._left -= taken
            self.is_full = taken < len(piece)

    def _write(self, piece: bytes) -> int:
        if self._takes_turns:
            return self._ask(client.write_some, self.exchange, piece)
        self._ask(client.write, self.exchange, piece)
        return len(piece)

    def _finish(self) -> None:
        if self.exchange is not None:
            self._ask(client.finish, self.exchange)
        self._sent_whole()

    def _sent_whole(self) -> None:
        self._step = self._head
        self.is_sent = True

    def _start(self, body: object) -> None:
        host.asks("HTTP")
        self.close()
        self._answer.clear()
        self._failure = None
        self._has_head = self.unconnected = False
        self._request.body = body
        self._begin()

    def _begin(self) -> None:
        try:
            self.exchange = client.start(self._request)
        except Err as err:
            self.waits = self._takes_turns and bool(_open) and err.value.kind == client.ErrorKind.TOO_MANY
            if not self.waits:
                raise self._failed(err.value) from None
        else:
            self.waits = False
            _open.add(self)

    def body(self) -> int:
        """The number by which the host knows the body that is sent."""
        return self._ask(client.body_number, self.exchange)

    def unsent(self) -> int:
        """Bytes that there was no room for yet."""
        return len(self._sent)

    # What is answered.

    def is_ready(self, timeout: float | None) -> bool:
        """Waits until `fill` would not; false if that takes longer than so many seconds."""
        if self.exchange is None or timeout is None:
            return True
        ms = max(0, round(timeout * 1000))
        return client.wait([self.exchange], ms) is not None

    def fill(self) -> bool:
        """Waits for more of the answer. False if there is no more."""
        if self._failure is not None:
            raise self._failure
        if self.exchange is None:
            if not self._method:
                raise no_http()
            return False
        self.is_sent = False
        if self._has_head:
            self._body(self._ask(client.read, self.exchange, PIECE))
        else:
            self._has_head = True
            self._top(self._ask(client.response, self.exchange))
        return True

    def take(self, size: int) -> bytes:
        """What is here of the answer, up to so many bytes."""
        taken = bytes(self._answer[:size])
        del self._answer[:size]
        return taken

    def has_some(self) -> bool:
        return bool(self._answer)

    def _top(self, head: object) -> None:
        status, self._chunked, self._unread = head.status, False, None
        lines = [f"HTTP/1.1 {status} {_phrase(status)}".encode()]
        for name, value in head.headers:
            if name == "content-length" and value.isdigit():
                self._unread = int(value)
            if name.encode() not in _HOP_BY_HOP:
                lines.append(name.encode() + b": " + value)
        if self._method == "HEAD" or status in (204, 304) or self._unread == 0:
            self.close()
        elif self._unread is None:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        self._answer += b"\r\n".join(lines) + b"\r\n\r\n"

    def _body(self, piece: bytes) -> None:
        if not piece:
            self._ended()
        if self._chunked:
            self._answer += b"%x\r\n%b\r\n" % (len(piece), piece)
            return
        self._answer += piece
        self._unread -= len(piece)
        if self._unread <= 0:
            # Nobody reads on to hear that this was all.
            self.close()

    def _ask(self, function: object, *arguments: object) -> object:
        try:
            return function(*arguments)
        except Err as err:
            raise self._failed(err.value) from None

    def _failed(self, error: object) -> OSError:
        self._ended()
        self._failure = self._told(error)
        return self._failure

    def _told(self, error: object) -> OSError:
        kinds, kind = client.ErrorKind, error.kind
        # Of what took too long only the words tell whether it was the connection.
        late = kind == kinds.TIMEOUT and error.message.startswith("connecting")
        self.unconnected = late or kind in (kinds.DNS, kinds.CONNECT, kinds.TLS)
        return os_error(error, f"{self.host}:{self.port}", errno.EAGAIN)


def forget() -> None:
    """Lets go of what an earlier attempt in the same instance left under way: the host has ended it with that attempt."""
    for connection in _open:
        connection.exchange = None
        connection.is_full = False
    _open.clear()
    turns.clear()


def no_http() -> OSError:
    return OSError(errno.EPERM, "a client of HTTP has no connections but those that begin with a request")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class Patience:
    """What is left of a timeout that spans several waits."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - time.monotonic())
