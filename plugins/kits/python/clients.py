"""Has libraries that use the network use the host: what they build upon is replaced when they are imported, which is while the component is
built. Of what is not imported nothing is touched, nor loaded.
"""

import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from types import ModuleType, SimpleNamespace

STAND_IN = {"ssl": "tls.py", "truststore": "trust.py"}
"""Modules that are not there, or cannot be loaded, and the file of the kit that is one."""


def _sockets(module: ModuleType) -> None:
    from . import sockets

    sockets.stand_in(module)


def _http_client(module: ModuleType) -> None:
    """What Python's library and urllib3 send requests with carries HTTP, where other sockets are TCP connections."""
    from . import sockets

    sockets.carry_http(module)


def _aiohttp(module: ModuleType) -> None:
    from .sockets import HttpSocket

    async def start_connection(addr_infos: list, **_: object) -> HttpSocket:
        made = HttpSocket()
        made.connect(addr_infos[0][4])
        return made

    own = {"start_connection": start_connection}
    module.aiohappyeyeballs = SimpleNamespace(**{**vars(module.aiohappyeyeballs), **own})


def _loop(module: ModuleType) -> None:
    from . import loop

    loop.stand_in(module)


def _urllib3(module: ModuleType) -> None:
    """Tells a connection that fails as urllib3 does."""
    import http.client

    from urllib3 import exceptions

    def send(self: object, data: object) -> None:
        try:
            http.client.HTTPConnection.send(self, data)
        except OSError as error:
            if not getattr(self.sock, "unconnected", False) or isinstance(error, module.BaseSSLError):
                raise
            if isinstance(error, TimeoutError):
                raise exceptions.ConnectTimeoutError(self, str(error)) from error
            raise exceptions.NewConnectionError(self, str(error)) from error

    module.HTTPConnection.send = send


def _urllib3_wait(module: ModuleType) -> None:
    """Nothing comes on a connection that nobody asked, and no answer before a request is whole."""
    module.wait_for_read = lambda *_, **__: False
    module.wait_for_write = lambda *_, **__: True


def _requests(module: ModuleType) -> None:
    """The files with authorities are not there, nor are they needed."""

    def cert_verify(self: object, conn: object, url: str, verify: object, cert: object) -> None:
        conn.cert_reqs = "CERT_REQUIRED"
        if cert:
            conn.cert_file, conn.key_file = (cert, None) if isinstance(cert, str) else cert

    module.HTTPAdapter.cert_verify = cert_verify


def _certifi(module: ModuleType) -> None:
    # Finds its file once and remembers the path, which is all that is asked for: nobody reads it here.
    module.where()


def _httpcore(module: ModuleType) -> None:
    from . import streams

    streams.stand_in(module)


REPLACED: dict[str, Callable[[ModuleType], None]] = {
    "aiohttp.connector": _aiohttp,
    "asyncio": _loop,
    "certifi": _certifi,
    "http.client": _http_client,
    "httpcore": _httpcore,
    "httpcore2": _httpcore,
    "requests.adapters": _requests,
    "socket": _sockets,
    "urllib3.connection": _urllib3,
    "urllib3.util.connection": _http_client,
    "urllib3.util.wait": _urllib3_wait,
}
"""What is done to a module once it is loaded."""


class _Finder:
    """Asked before all others."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if file := STAND_IN.get(name):
            return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), file))
        replace = REPLACED.get(name)
        spec = PathFinder.find_spec(name, path, target) if replace else None
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_replace(module: ModuleType) -> None:
                load(module)
                replace(module)

            spec.loader.exec_module = load_and_replace
        return spec


def install() -> None:
    """To be called before the author's modules are loaded."""
    sys.meta_path.insert(0, _Finder)
    for name, replace in REPLACED.items():
        if name in sys.modules:
            replace(sys.modules[name])
