"""JSON to the types that handlers are annotated with, and back."""

import dataclasses
import json
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Reader = Callable[[Any], Any]

MAX_DEPTH = 128
"""As in the kits of all languages. Python's parser calls itself for each level, and a stack overflow is a crash."""

_NO_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+', re.DOTALL)


class Raw(str):
    """JSON text that is passed on untouched: numbers keep their digits, objects their order and spaces."""


class Mismatch(Exception):
    """A value that is not what its annotation says."""

    def __init__(self, why: str, path: str = "") -> None:
        super().__init__(why)
        self.path = path

    def within(self, step: str) -> "Mismatch":
        """The same of the value around it. Paths are put together here, so that payloads that fit cost nothing."""
        return Mismatch(self.args[0], step + self.path)

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.')}: {self.args[0]}" if self.path else self.args[0]


def load(text: str) -> Any:
    """JSON that anybody may have pushed. Raises Mismatch where it is nested too deeply, and ValueError as json does."""
    # So few brackets that all may lie in one another: most payloads are looked at no further.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise Mismatch(f"nested more than {MAX_DEPTH} levels deep")
    return json.loads(text)


def _depth(text: str) -> int:
    deepest = depth = 0
    for bracket in _NO_BRACKET.sub("", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def reader(kind: Any, known: dict[Any, Reader] | None = None) -> Reader:
    """What turns parsed JSON into a value of `kind`. Raises TypeError for a kind that JSON cannot have."""
    known = {} if known is None else known
    if kind in known:
        # Looked up when it is called: the type that contains itself is still being made.
        return lambda value: known[kind](value)
    if dataclasses.is_dataclass(kind):
        return _record(kind, known)
    if kind in (Any, object):
        return lambda value: value
    if kind in (None, NoneType, bool, int, str, dict, list):
        return _exactly(NoneType if kind is None else kind)
    if kind is float:
        return _float
    origin, args = get_origin(kind), get_args(kind)
    if origin is list:
        return _list(reader(args[0], known))
    if origin is dict and args[0] is str:
        return _dict(reader(args[1], known))
    if origin is Literal:
        return _literal(args)
    if origin in (Union, UnionType):
        return _union(args, known)
    raise TypeError(f"payload: a JSON value cannot be read as {_name(kind)}")


def _record(cls: type, known: dict[Any, Reader]) -> Reader:
    fields: list[tuple[str, str, bool, Reader]] = []

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _unexpected("an object", value)
        given = {}
        for name, key, required, read_field in fields:
            if key in value:
                try:
                    given[name] = read_field(value[key])
                except Mismatch as mismatch:
                    raise mismatch.within(f".{key}") from None
            elif required:
                raise Mismatch("missing", f".{key}")
        try:
            return cls(**given)
        except ValueError as error:
            # What `__post_init__` says about the values is about the payload, too.
            raise Mismatch(str(error)) from None

    known[cls] = read
    types = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.init:
            absent = dataclasses.MISSING
            required = field.default is absent and field.default_factory is absent
            fields.append((field.name, _key(field), required, reader(types[field.name], known)))
    return read


def _exactly(kind: type) -> Reader:
    def read(value: Any) -> Any:
        # Not isinstance: True would be an int.
        if type(value) is not kind:
            raise _unexpected(_name(kind), value)
        return value

    return read


def _float(value: Any) -> float:
    if type(value) not in (int, float):
        raise _unexpected("float", value)
    try:
        return float(value)
    except OverflowError:
        raise Mismatch("too large for a float") from None


def _list(read_item: Reader) -> Reader:
    def read(value: Any) -> list:
        if not isinstance(value, list):
            raise _unexpected("a list", value)
        items: list[Any] = []
        try:
            for item in value:
                items.append(read_item(item))
        except Mismatch as mismatch:
            raise mismatch.within(f"[{len(items)}]") from None
        return items

    return read


def _dict(read_value: Reader) -> Reader:
    def read(value: Any) -> dict:
        if not isinstance(value, dict):
            raise _unexpected("an object", value)
        items = {}
        for key, item in value.items():
            try:
                items[key] = read_value(item)
            except Mismatch as mismatch:
                raise mismatch.within(f".{key}") from None
        return items

    return read


def _literal(allowed: tuple) -> Reader:
    def read(value: Any) -> Any:
        # Not `in`: True == 1, and a list has no hash.
        for one in allowed:
            if type(value) is type(one) and value == one:
                return value
        expected = " or ".join(json.dumps(one) for one in allowed)
        raise Mismatch(f"expected {expected}, got {json.dumps(value)[:100]}")

    return read


def _union(kinds: tuple, known: dict[Any, Reader]) -> Reader:
    readers = [reader(kind, known) for kind in kinds if kind is not NoneType]
    optional = NoneType in kinds

    def read(value: Any) -> Any:
        if optional and value is None:
            return None
        if len(readers) == 1:
            return readers[0](value)
        for read_one in readers:
            try:
                return read_one(value)
            except Mismatch:
                pass
        raise _unexpected(" or ".join(_name(kind) for kind in kinds), value)

    return read


def _unexpected(expected: str, value: Any) -> Mismatch:
    return Mismatch(f"expected {expected}, got {_name(type(value))}")


def _name(kind: Any) -> str:
    names = {dict: "an object", list: "a list", NoneType: "null", None: "null"}
    return names.get(kind) or (kind.__name__ if isinstance(kind, type) else str(kind))


def _key(field: dataclasses.Field) -> str:
    # For keys that are no names in Python: `sender: str = field(metadata={"key": "from"})`.
    return field.metadata.get("key", field.name)


def dump(result: Any) -> str | None:
    """The JSON text of a result; None for no result."""
    if result is None or isinstance(result, Raw):
        return result
    text = _encode(result, ensure_ascii=False)
    # Half of a surrogate pair can be escaped in JSON, but not encoded in UTF-8.
    return text if text.isascii() or _encodes(text) else _encode(result, ensure_ascii=True)


def _encode(result: Any, *, ensure_ascii: bool) -> str:
    # NaN and infinities, which Python would write, are no JSON.
    return json.dumps(result, default=_plain, ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"))


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {_key(field): getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} is no JSON value")
