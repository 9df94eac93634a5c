"""CSV text as a table: names, and rows that all have a cell for each of them."""

import csv
import io
from collections import Counter
from dataclasses import dataclass

# The payload is bounded already; the module's own bound, 128 KiB, is there for files.
csv.field_size_limit(2**31 - 1)

DELIMITERS = ",;\t|"


class TableError(Exception):
    """Why a text is no table."""


@dataclass
class Table:
    names: list[str]
    rows: list[list[str]]

    @classmethod
    def read(cls, text: str, delimiter: str | None = None) -> "Table":
        """Reads CSV whose first line names the columns. Empty lines are left out, and so are spaces around cells."""
        text = text.removeprefix("\ufeff")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or guess(text), strict=True)
        rows: list[list[str]] = []
        try:
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if rows and len(cells) > len(rows[0]):
                    raise TableError(f"line {reader.line_num} has {len(cells)} cells, the header {len(rows[0])}")
                rows.append(cells + [""] * (len(rows[0]) - len(cells)) if rows else cells)
        except csv.Error as error:
            raise TableError(f"line {reader.line_num}: {error}") from None
        if not rows:
            raise TableError("it is empty")
        return cls(distinct(rows[0]), rows[1:])

    def cells(self, index: int) -> list[str]:
        """One column, from top to bottom."""
        return [row[index] for row in self.rows]


def guess(text: str) -> str:
    """The delimiter that cuts the header into the most cells."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter))))


def distinct(names: list[str]) -> list[str]:
    """A name for every column: those without one get their position, and the second of a kind a number."""
    seen: Counter[str] = Counter()
    result = []
    for position, name in enumerate(names, start=1):
        name = name or f"column {position}"
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result
