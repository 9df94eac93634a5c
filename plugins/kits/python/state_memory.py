"""Keeps values in memory, outside Wasm, where handlers are tested. No bounds, and no end of time."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any


class ErrorKind(Enum):
    CONFLICT = 1
    NOT_A_NUMBER = 2


@dataclass
class Error:
    kind: ErrorKind
    message: str


class Err(Exception):
    def __init__(self, value: Error) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class Action_Set:
    value: bytes


@dataclass
class Action_Delete:
    pass


@dataclass
class Action_Add:
    value: int


@dataclass
class Condition_Always:
    pass


@dataclass
class Condition_Absent:
    pass


@dataclass
class Condition_Version:
    value: int


@dataclass
class Change:
    key: str
    action: Any
    condition: Any
    ttl_ms: int | None


@dataclass
class Entry:
    value: bytes
    version: int


@dataclass
class Changed:
    version: int
    number: int


_kept: dict[tuple[str, str], Entry] = {}
_versions = iter(range(1, 2**63))


def get(bucket: str, keys: list[str]) -> list[Entry | None]:
    return [_kept.get((bucket, key)) for key in keys]


def list_keys(bucket: str, prefix: str, after: str | None, limit: int) -> list[str]:
    keys = (key for of, key in _kept if of == bucket and key.startswith(prefix) and (after is None or key > after))
    return sorted(keys)[:limit]


def write(bucket: str, changes: list[Change]) -> list[Changed]:
    made = [_made(_kept.get((bucket, change.key)), change) for change in changes]
    return [_put((bucket, change.key), value, number) for change, (value, number) in zip(changes, made)]


def write_on_completion(bucket: str, changes: list[Change]) -> None:
    # A test's call of a handler is taken for a job that is acknowledged.
    write(bucket, changes)


def _made(old: Entry | None, change: Change) -> tuple[bytes | None, int]:
    match change.condition:
        case Condition_Absent() if old is not None:
            raise _refused(ErrorKind.CONFLICT, change.key)
        case Condition_Version(version) if old is None or old.version != version:
            raise _refused(ErrorKind.CONFLICT, change.key)
    match change.action:
        case Action_Delete():
            return None, 0
        case Action_Set(value):
            return value, 0
        case Action_Add(by):
            value = b"0" if old is None else old.value
            number = int(value) + by if re.fullmatch(rb"0|-?[1-9]\d*", value) else None
            if number is None or not -(2**63) <= number < 2**63:
                raise _refused(ErrorKind.NOT_A_NUMBER, change.key)
            return str(number).encode(), number
    raise TypeError(change.action)


def _put(key: tuple[str, str], value: bytes | None, number: int) -> Changed:
    if value is None:
        _kept.pop(key, None)
        return Changed(0, 0)
    entry = _kept[key] = Entry(value, next(_versions))
    return Changed(entry.version, number)


def _refused(kind: ErrorKind, key: str) -> Err:
    return Err(Error(kind, f"the value of {key!r} is not as the change expects it"))
