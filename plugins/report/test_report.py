"""Tests the report as plain Python: `python3 -m unittest`."""

import json
import unittest

import kiln
import handler  # noqa: F401  (it marks the function that `kiln.attempt` calls)
import page
from column import Column, summarise
from table import Table, TableError

SALES = """\
date,region,product,amount,paid
2026-01-02,north,"tea, green",12.50,yes
2026-01-03,south,cup,8,no
2026-01-03,north,cup,0.10,yes
2026-01-05,north,,0.20,yes
"""


def report(csv: str, **request: object) -> dict:
    return json.loads(kiln.attempt(kiln.Job(payload=json.dumps({"csv": csv, **request}))))


def read(*cells: str) -> Column:
    return Column.read("x", list(cells))


class Reports(unittest.TestCase):
    def test_sums_up_each_column(self) -> None:
        columns = {column["name"]: column for column in report(SALES)["columns"]}
        amount = columns["amount"]
        self.assertEqual(amount["type"], "decimal")
        self.assertEqual([amount[figure] for figure in ("min", "max", "sum", "mean")], [0.1, 12.5, 20.8, 5.2])
        self.assertEqual(amount["median"], 4.1)
        self.assertEqual((columns["date"]["min"], columns["date"]["max"]), ("2026-01-02", "2026-01-05"))
        self.assertEqual((columns["product"]["count"], columns["product"]["empty"]), (3, 1))
        self.assertEqual(columns["region"]["top"][0], {"value": "north", "count": 3})
        self.assertEqual(columns["paid"]["type"], "boolean")

    def test_adds_up_groups_without_rounding(self) -> None:
        groups = report(SALES, group_by="region")["groups"]
        north = {"value": "north", "rows": 3, "sums": {"amount": 12.8}}
        self.assertEqual(groups, [north, {"value": "south", "rows": 1, "sums": {"amount": 8}}])

    def test_writes_a_page(self) -> None:
        lines = report(SALES, group_by="region", title="Sales *2026*")["markdown"].splitlines()
        self.assertEqual(lines[0], r"# Sales \*2026\*")
        self.assertIn("4 rows, 5 columns", lines)
        self.assertIn("## By region", lines)
        self.assertRegex(lines[-2], r"^\| north +\| +3 \| +12\.8 \|$")

    def test_no_value_changes_the_page(self) -> None:
        markdown = report("a|b,n\n<script>x|y\n<script>x|y\n")["markdown"]
        self.assertIn(r"\<script\>x\|y (2)", markdown)
        self.assertIn(r"a\|b", markdown)
        self.assertEqual(page.escape("two\nlines"), "two lines")

    def test_a_header_alone_is_a_table(self) -> None:
        result = report("a,b\n")
        self.assertEqual((result["rows"], [column["type"] for column in result["columns"]]), (0, ["empty"] * 2))

    def test_refuses_what_it_cannot_report_on(self) -> None:
        many = "id\n" + "\n".join(map(str, range(1001)))
        for csv, request, why in [
            ("", {}, "csv: it is empty"),
            ('a\n"b', {}, "csv: line 2: unexpected end of data"),
            ("a\n1,2", {}, "csv: line 2 has 2 cells, the header 1"),
            ("a\n1", {"group_by": "b"}, "group_by: there is no column 'b', only a"),
            (many, {"group_by": "id"}, "group_by: id has 1001 different values; a report has at most 1000 groups"),
            ("a\n1", {"top": -1}, "payload: top is from 0 to 100"),
            ("a\n1", {"delimiter": ",,"}, "payload: delimiter is one character, no quote and no line break"),
            ("a\n1", {"title": 5}, "payload: title: expected str, got int"),
        ]:
            with self.subTest(why), self.assertRaises(kiln.Permanent) as failure:
                report(csv, **request)
            self.assertEqual(str(failure.exception), why)


class Tables(unittest.TestCase):
    def test_guesses_the_delimiter_by_the_header(self) -> None:
        for text in "a,b\n1,2", "a;b\n1;2", "a\tb\n1\t2", "a|b\n1|2":
            self.assertEqual(Table.read("\ufeff" + text), Table(["a", "b"], [["1", "2"]]))

    def test_quotes_hold_delimiters_and_line_breaks(self) -> None:
        self.assertEqual(Table.read('a;b\r\n"1\n;""x""";2\r\n').rows, [['1\n;"x"', "2"]])

    def test_every_row_has_all_cells(self) -> None:
        self.assertEqual(Table.read("a,b\n\n1\n , \n2,3\n").rows, [["1", ""], ["2", "3"]])

    def test_every_column_has_a_name_of_its_own(self) -> None:
        self.assertEqual(Table.read("a,,a\n").names, ["a", "column 2", "a (2)"])

    def test_long_cells_fit(self) -> None:
        self.assertEqual(len(Table.read("a\n" + "x" * 200_000).rows[0][0]), 200_000)

    def test_a_stray_quote_is_an_error(self) -> None:
        with self.assertRaises(TableError):
            Table.read('a,b\n"1"2,3\n')


class Columns(unittest.TestCase):
    def test_a_type_is_what_all_cells_have(self) -> None:
        for type_, cells in {
            "integer": ["1", "-20", "+3", ""],
            "decimal": ["1", "2.50", "1e3"],
            "boolean": ["yes", "No", "TRUE"],
            "date": ["2026-02-28", "2026-03-01"],
            "time": ["2026-02-28T10:00:00Z", "2026-02-28 11:00+01:00"],
            "text": ["1", "x"],
            "empty": ["", ""],
        }.items():
            self.assertEqual(read(*cells).type, type_, cells)

    def test_a_key_with_leading_zeros_is_no_number(self) -> None:
        self.assertEqual(read("01067", "10115").type, "text")
        self.assertEqual(read("nan", "1").type, "text")
        self.assertEqual(read("9" * 31).type, "text")

    def test_one_column_has_one_format_of_dates(self) -> None:
        values = read("03/04/2026", "13/04/2026").values
        self.assertEqual([value.isoformat() for value in values], ["2026-04-03", "2026-04-13"])
        self.assertEqual(read("31/12/2026", "12/31/2026").type, "text")

    def test_times_with_and_without_an_offset_are_not_compared(self) -> None:
        self.assertEqual(read("2026-02-28T10:00:00Z", "2026-02-28T10:00:00").type, "text")

    def test_sums_are_exact(self) -> None:
        self.assertEqual(summarise(read(*["0.1"] * 10), 0).sum, 1)
        self.assertEqual(summarise(read("1" + "0" * 29, "1"), 0).sum, 10**29 + 1)

    def test_values_that_are_all_different_have_no_most_frequent(self) -> None:
        self.assertEqual(summarise(read("a", "b"), 3).top, [])


if __name__ == "__main__":
    unittest.main()
