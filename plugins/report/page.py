"""A report as a page of Markdown."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from column import Summary, cut

if TYPE_CHECKING:
    from handler import Group

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def render(title: str, rows: int, columns: list[Summary], by: str | None, groups: "list[Group]") -> str:
    """The page: a line on the whole, a table of the columns, one of the groups if there are any."""
    parts = [f"# {escape(title)}", f"{number(rows)} rows, {number(len(columns))} columns"]
    heads = ["column", "type", "filled", "distinct", "min", "max", "mean", "median", "sum", "most frequent"]
    parts.append(table(heads, map(column_row, columns), left=(0, 1, 9)))
    if by is not None and groups:
        summed = list(groups[0].sums)
        heads = [escape(by), "rows", *map(escape, summed)]
        lines = ([escape(cut(one.value)), number(one.rows), *map(number, one.sums.values())] for one in groups)
        parts += [f"## By {escape(by)}", table(heads, lines, left=(0,))]
    return "\n\n".join(parts) + "\n"


def column_row(column: Summary) -> list[str]:
    top = ", ".join(f"{escape(one.value)} ({number(one.count)})" for one in column.top)
    figures = [column.count, column.distinct, column.min, column.max, column.mean, column.median, column.sum]
    return [escape(column.name), column.type, *map(number, figures), top]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: tuple[int, ...]) -> str:
    align = ["left" if index in left else "right" for index in range(len(heads))]
    # Numbers are formatted already, and a text that looks like one stays as it is.
    return tabulate(rows, heads, tablefmt="pipe", colalign=align, disable_numparse=True)


def number(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return escape(value)
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 4):,}"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
