"""The host's functions; outside Wasm, something sensible in their place."""

import logging

try:
    # Made by componentize-py from the WIT files.
    from wit_world.imports import context, store
    from wit_world.imports import logging as wasi_logging
except ImportError:
    context = store = wasi_logging = None

running = False
"""Whether an attempt runs. While the component is built, the author's modules load, but there is no host to ask."""

_LEVELS = (
    (logging.CRITICAL, "CRITICAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARN"),
    (logging.INFO, "INFO"),
    (logging.DEBUG, "DEBUG"),
)


def progress(percent: int, note: str | None) -> None:
    if context is None:
        logging.getLogger("kiln").debug("progress %d %%: %s", percent, note or "")
    elif asks("kiln.progress"):
        context.progress(percent, None if note is None else utf8(note))


def remaining_ms() -> int:
    return context.remaining_ms() if context is not None and asks("kiln.remaining_seconds") else 30_000


def is_cancelled() -> bool:
    return context.is_cancelled() if context is not None and asks("kiln.is_cancelled") else False


def config(key: str) -> str | None:
    return store.get(key) if store is not None and asks("kiln.config") else None


def asks(what: str) -> bool:
    """True while there is a host to ask for it; else it raises RuntimeError."""
    if not running:
        raise RuntimeError(f"{what} works while a job runs, not while the module loads")
    return True


class LogHandler(logging.Handler):
    """Hands log records to wasi:logging."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = utf8(self.format(record))
        except Exception:  # noqa: BLE001
            # As everywhere: a log call that is wrong is told of on standard error, and ends nothing.
            self.handleError(record)
            return
        if not running:
            print(f"{record.levelname}: {message}")
            return
        level = next((name for least, name in _LEVELS if record.levelno >= least), "TRACE")
        context = "" if record.name == "root" else utf8(record.name)
        wasi_logging.log(wasi_logging.Level[level], context, message)


def utf8(text: str) -> str:
    """`text` with what UTF-8 cannot encode, halves of surrogate pairs, written as escapes."""
    return text.encode(errors="backslashreplace").decode()
