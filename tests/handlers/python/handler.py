"""Does what its payload says, as the conformance handlers of all languages do: `{"do": "echo"}`."""

import io
import logging
import os
import random
import time
import zipfile
from dataclasses import dataclass
from datetime import timedelta

import files
import kiln
from kiln import flow, state

log = logging.getLogger(__name__)

count = 0
"""Calls since the instance was made."""


@kiln.handler
def handle(payload: object, job: kiln.Job) -> object:
    match payload:
        case {"do": "none"}:
            return None
        case {"do": "retry" | "error", "message": message}:
            raise kiln.Retry(message)
        case {"do": "retry-after", "message": message, "ms": ms}:
            raise kiln.Retry(message, after=timedelta(milliseconds=ms))
        case {"do": "permanent", "message": message}:
            raise kiln.Permanent(message)
        case {"do": "crash", "message": message}:
            raise RuntimeError(message)
        case {"do": "describe"}:
            return describe(job)
        case {"do": "log", "message": message}:
            return say(message)
        case {"do": "progress"}:
            kiln.progress(50, "half way")
            return {"remaining": kiln.remaining_seconds() > 0, "cancelled": kiln.is_cancelled()}
        case {"do": "config", "key": key}:
            return {"value": kiln.config(key)}
        case {"do": "env", "name": name}:
            return {"value": os.environ.get(name)}
        case {"do": "typed"}:
            return measure(kiln.convert(payload, Typed))
        case {"do": "random"}:
            return {"value": random.getrandbits(48)}
        case {"do": "clock"}:
            return {"ms": time.time_ns() // 1_000_000}
        case {"do": "count"}:
            return count_up()
        case {"do": "nap", "ms": ms}:
            return time.sleep(ms / 1000)
        case {"do": "decode", "codec": codec, "hex": hex}:
            return {"text": bytes.fromhex(hex).decode(codec)}
        case {"do": "zip", "name": name}:
            return {"names": zipped(name)}
        case {"do": "files"}:
            return files.work()
        case {"do": "archive", "name": name}:
            return files.archived(name)
        case {"do": "workbook", "cells": cells}:
            return files.workbook(cells)
        case {"do": "enqueue", "text": text, "n": n}:
            return enqueue_all(text, n)
        case {"do": "state", "key": key}:
            return remember(key)
        case {"do": "share", "key": key, "text": text, "n": n}:
            return share(key, text, n)
        case {"do": "decline", "key": key, "message": message}:
            return decline(key, message)
        case {"do": "bulk", "size": size}:
            return {"text": "x" * size}
        case {"do": act} if act != "echo":
            raise kiln.Permanent(f"unknown: {act}")
    return kiln.Raw(job.payload)


def enqueue_all(text: str, n: int) -> dict:
    ids = [
        flow.enqueue("after", {"text": text, "n": n}),
        flow.enqueue(
            "after", [n], queue="other", delay=timedelta(seconds=90), id="mine", max_attempts=2, metadata={"who": text}
        ),
    ]
    try:
        flow.enqueue("after", queue="a b")
    except kiln.Permanent as refused:
        return {"ids": ids, "refused": refused.kind.name == "INVALID"}
    return {"ids": ids}


def describe(job: kiln.Job) -> dict:
    return {
        "id": job.id,
        "name": job.name,
        "queue": job.queue,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "created_at_ms": round(job.created_at.timestamp() * 1000) if job.created_at else 0,
        "metadata": job.metadata,
    }


def remember(key: str) -> dict:
    things, number = state.bucket("things"), f"{key}/n"
    before = things.get(key)
    things.set(key, {"text": "tea ☕", "n": 1})
    read, version = things.get_versioned(key)
    absent = things.set_if_absent(key, 0)
    swapped = things.swap(key, version, [1]) is not None
    stale = things.swap(key, version, [2]) is not None
    things.add(number, 40)
    counted = things.add(number, 2)
    keys = things.keys(key)
    things.delete(key)
    gone = things.get(key)
    calls = []

    def work() -> str:
        calls.append(1)
        return "done"

    once = [state.once("things", f"{key}/once", work) for _ in range(2)]
    things.add_on_completion("jobs", 1)
    found = {"before": before, "read": read, "absent": absent, "swapped": swapped, "stale": stale, "counted": counted}
    return found | {"keys": keys, "gone": gone, "once": once, "calls": len(calls)}


def share(key: str, text: str, n: int) -> dict:
    things = state.bucket("things")
    before = things.get(key)
    things.set(key, {"text": text, "n": n})
    total = things.add(f"{key}/n", n)
    return {"before": before, "sum": total, "once": state.once("things", f"{key}/once", lambda: text)}


def decline(key: str, message: str) -> object:
    def work() -> None:
        raise kiln.Permanent(message)

    return state.once("things", key, work)


def say(message: str) -> None:
    log.debug(message)
    log.info(message)
    log.warning(message)
    log.error(message)
    print(message)


@dataclass
class Typed:
    text: str
    count: int


@dataclass
class Measured:
    text: str
    length: int
    count: int


def measure(typed: Typed) -> Measured:
    return Measured(typed.text, length=len(typed.text), count=typed.count + 1)


def zipped(name: str) -> list[str]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr(name, "x")
    return zipfile.ZipFile(archive).namelist()


def count_up() -> dict:
    global count
    count += 1
    return {"count": count}
