"""Sums up a table: the CSV text in the payload becomes figures for each column, as JSON and as a page of Markdown.

`{"csv": "region,amount\\nnorth,12.50\\n…", "group_by": "region"}`
"""

import logging
from dataclasses import dataclass
from decimal import Decimal

import kiln
import page
from column import Column, Summary, plain, summarise
from table import Table, TableError

log = logging.getLogger(__name__)

MAX_GROUPS = 1000
"""Groups of one report. A column with more values is likely to be none that anyone groups by."""
MAX_TOP = 100


@dataclass
class Request:
    csv: str
    group_by: str | None = None
    title: str | None = None
    delimiter: str | None = None
    top: int = 3
    """How many of the most frequent values are listed of each column."""

    def __post_init__(self) -> None:
        if not 0 <= self.top <= MAX_TOP:
            raise ValueError(f"top is from 0 to {MAX_TOP}")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError("delimiter is one character, no quote and no line break")


@dataclass
class Group:
    value: str
    rows: int
    sums: dict[str, int | float]


@dataclass
class Report:
    rows: int
    columns: list[Summary]
    groups: list[Group]
    markdown: str


@kiln.handler
def handle(request: Request, job: kiln.Job) -> Report:
    try:
        table = Table.read(request.csv, request.delimiter)
    except TableError as error:
        raise kiln.Permanent(f"csv: {error}") from None
    by = request.group_by
    if by is not None and by not in table.names:
        raise kiln.Permanent(f"group_by: there is no column {by!r}, only {', '.join(table.names)}")
    log.info("summing up %d rows of %d columns", len(table.rows), len(table.names))

    columns, summaries = [], []
    for index, name in enumerate(table.names):
        if kiln.is_cancelled():
            raise kiln.Retry("the worker shuts down")
        kiln.progress(100 * index // len(table.names), name)
        column = Column.read(name, table.cells(index))
        columns.append(column)
        summaries.append(summarise(column, request.top))
    groups = [] if by is None else group(columns, table.names.index(by))

    title = request.title or "Report"
    return Report(len(table.rows), summaries, groups, page.render(title, len(table.rows), summaries, by, groups))


def group(columns: list[Column], by: int) -> list[Group]:
    """The rows and the sums of the numeric columns for each value of one column, the largest group first."""
    members: dict[str, list[int]] = {}
    for row, cell in enumerate(columns[by].cells):
        members.setdefault(cell, []).append(row)
    if len(members) > MAX_GROUPS:
        values = f"{columns[by].name} has {len(members)} different values"
        raise kiln.Permanent(f"group_by: {values}; a report has at most {MAX_GROUPS} groups")
    numeric = [column for index, column in enumerate(columns) if column.is_numeric and index != by]

    def total(column: Column, rows: list[int]) -> int | float:
        return plain(sum((column.values[row] or Decimal() for row in rows), Decimal()))

    groups = [
        Group(value, len(rows), {column.name: total(column, rows) for column in numeric})
        for value, rows in members.items()
    ]
    return sorted(groups, key=lambda group: (-group.rows, group.value))


# Patterns that the standard library compiles when it first needs them, of dates among others, are thus compiled while
# the component is built, and not in each attempt.
page.render("", 0, [summarise(Column.read("", ["no date"]), 0)], None, [])
