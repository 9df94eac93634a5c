"""What componentize-py makes the component from: the contract's export, around the function marked in `handler.py`.

All of this is loaded while the component is built, and becomes part of the image that every attempt starts from.
"""

import logging
import os
import re
import sys
import traceback
from datetime import datetime, timedelta, timezone
from types import TracebackType

from componentize_py_types import Err

try:
    from wit_world.imports import types
except ImportError:
    # In a world that imports another interface of that name, such as wasi:http, each is called after its package, too.
    from wit_world.imports import kiln_job_types as types

import kiln
from kiln import clients, host, image

clients.install()

# Before the author's modules, whose `logging.basicConfig` is for runs outside Wasm. All levels: the host decides what
# is shown.
logging.basicConfig(level=logging.DEBUG, handlers=[host.LogHandler()], format="%(message)s")

import handler  # noqa: E402, F401

if kiln._registered is None:
    raise LookupError("handler.py marks no function with @kiln.handler")


class Handler:
    """The export `kiln:job/handler`."""

    def handle(self, job: types.Job) -> str | None:
        """Runs one attempt."""
        host.running = True
        # Only of those who imported it.
        if wire := sys.modules.get("kiln.wire"):
            wire.forget()
        try:
            return kiln.attempt(_job(job))
        except kiln.Permanent as failure:
            _tell_cause(failure)
            raise Err(types.Failure_Permanent(host.utf8(str(failure)))) from None
        except kiln.Retry as failure:
            _tell_cause(failure)
            message, after_ms = host.utf8(str(failure)), failure.after_ms
            retry = types.Failure_Retry(message) if after_ms is None else types.Failure_RetryAfter((message, after_ms))
            raise Err(retry) from None


def _job(job: types.Job) -> kiln.Job:
    created_at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=job.created_at_ms)
    return kiln.Job(
        id=job.id,
        name=job.name,
        queue=job.queue,
        payload=job.payload,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=created_at if job.created_at_ms else None,
        metadata=kiln._metadata(job.metadata),
    )


def _tell_cause(failure: Exception) -> None:
    """Prints the exception that a failure was made of: the failed entry keeps what is printed."""
    if failure.__cause__ is not None:
        _print("".join(traceback.format_exception(failure.__cause__)))


def _print(trace: str) -> None:
    print(re.sub(r'(?<=File ")/\d+/', "", trace), end="", file=sys.stderr)


_KIT = os.path.dirname(kiln.__file__) + "/"


def _crashed(kind: type, error: BaseException, trace: TracebackType | None) -> None:
    """Prints an exception that nobody caught, with the names that the author knows files by, and ends the attempt."""
    own = trace
    while own and own.tb_frame.f_code.co_filename.startswith(_KIT):
        own = own.tb_next
    # Only the kit's frames are there if what the handler returned is no JSON.
    _print("".join(traceback.format_exception(kind, error, own or trace)))
    # To return would have the runtime print a panic of its own after it.
    os.abort()


image.complete()
# Last, so that what fails before is reported by componentize-py.
sys.excepthook = _crashed
