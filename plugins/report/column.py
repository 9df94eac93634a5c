"""What a column holds: the type that all its cells have, and the figures that type allows."""

import re
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal, getcontext
from typing import Any

# Sums of the longest numbers that are taken for numbers are still exact.
getcontext().prec = 100

INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,29})")
DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
DATE_FORMATS = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d %b %Y")
MAX_SHOWN = 80
"""Characters of a value that a report lists."""


@dataclass
class Count:
    value: str
    count: int


@dataclass
class Summary:
    """The figures of one column. None where its type has no such figure."""

    name: str
    type: str
    count: int
    """Cells that are not empty."""
    empty: int
    distinct: int
    min: int | float | str | None = None
    max: int | float | str | None = None
    mean: float | None = None
    median: int | float | None = None
    sum: int | float | None = None
    top: list[Count] = field(default_factory=list)
    """The most frequent values, of columns in which any value is there twice."""


@dataclass
class Column:
    name: str
    type: str
    cells: list[str]
    values: list[Any]
    """What the cells stand for, None for empty ones."""

    @classmethod
    def read(cls, name: str, cells: list[str]) -> "Column":
        """Takes the first type that all cells which are not empty have."""
        filled = [cell for cell in cells if cell]
        for type_, read in READERS if filled else [("empty", list)]:
            try:
                values = iter(read(filled))
            except ValueError:
                continue
            return cls(name, type_, cells, [next(values) if cell else None for cell in cells])
        return cls(name, "text", cells, [cell or None for cell in cells])

    @property
    def is_numeric(self) -> bool:
        return self.type in ("integer", "decimal")


def numbers(pattern: re.Pattern[str]) -> Callable[[list[str]], list[Decimal]]:
    def read(cells: list[str]) -> list[Decimal]:
        # Not whatever Decimal takes: a number with leading zeros is somebody's key, and NaN is none at all.
        if not all(map(pattern.fullmatch, cells)):
            raise ValueError
        return [Decimal(cell) for cell in cells]

    return read


def booleans(cells: list[str]) -> list[bool]:
    known = {"true": True, "yes": True, "false": False, "no": False}
    try:
        return [known[cell.lower()] for cell in cells]
    except KeyError:
        raise ValueError from None


def dates(cells: list[str]) -> list[date]:
    try:
        return [date.fromisoformat(cell) for cell in cells]
    except ValueError:
        pass
    for format_ in DATE_FORMATS:
        try:
            return [datetime.strptime(cell, format_).date() for cell in cells]
        except ValueError:
            pass
    raise ValueError


def times(cells: list[str]) -> list[datetime]:
    values = [datetime.fromisoformat(cell) for cell in cells]
    if any(value.tzinfo for value in values):
        if not all(value.tzinfo for value in values):
            raise ValueError  # those without an offset cannot be compared with the others
        return [value.astimezone(timezone.utc) for value in values]
    return values


READERS: list[tuple[str, Callable[[list[str]], list[Any]]]] = [
    ("integer", numbers(INTEGER)),
    ("decimal", numbers(DECIMAL)),
    ("boolean", booleans),
    ("date", dates),
    ("time", times),
]


def summarise(column: Column, top: int) -> Summary:
    """The figures of a column, with so many of its most frequent values."""
    values = [value for value in column.values if value is not None]
    counts = Counter(cell for cell in column.cells if cell)
    summary = Summary(column.name, column.type, len(values), len(column.values) - len(values), len(counts))
    if len(counts) < len(values):
        summary.top = [Count(cut(value), count) for value, count in counts.most_common(top)]
    if column.is_numeric:
        total = sum(values, Decimal())
        summary.min, summary.max, summary.sum = plain(min(values)), plain(max(values)), plain(total)
        summary.mean, summary.median = float(total / len(values)), plain(statistics.median(values))
    elif column.type in ("date", "time"):
        summary.min, summary.max = min(values).isoformat(), max(values).isoformat()
    return summary


def plain(value: Decimal) -> int | float:
    """A number as JSON has them."""
    return int(value) if value == value.to_integral_value() else float(value)


def cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
