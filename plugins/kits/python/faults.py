"""What the host says went wrong, as Python's sockets raise it."""

import errno
import sys

_KNOWN = {
    "CONNECT": errno.ECONNREFUSED,
    "INVALID": errno.EINVAL,
    "NETWORK": errno.ECONNRESET,
    "TLS": errno.EPROTO,
    "TOO_LARGE": errno.EMSGSIZE,
}


def os_error(error: object, where: str, too_many: int) -> OSError:
    """The exception for an error of `kiln:http` or `kiln:tcp`; `too_many` is the number for what is beyond a limit."""
    kind, what = error.kind.name, f"{error.message}: {where}"
    if kind == "TIMEOUT":
        return TimeoutError(errno.ETIMEDOUT, what)
    if kind == "DNS":
        import socket  # Which those who connect have loaded.

        return socket.gaierror(socket.EAI_NONAME, what)
    # Whoever could expect its exceptions has imported it.
    if kind == "TLS" and (ssl := sys.modules.get("ssl")):
        return ssl.SSLError(1, what)
    return OSError(_KNOWN.get(kind, too_many), what)
