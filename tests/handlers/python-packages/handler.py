"""Uses the package that its payload names, as its users do; tests/suite/packages.rs says what is to come of it."""

import io
from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import bs4
import jinja2
import jwt
import kiln
import markdown
import openpyxl
import pypdf
import tenacity
import yaml
from dateutil import parser, rrule
from dateutil.relativedelta import relativedelta

PAGE = jinja2.Environment(autoescape=True).from_string("{% for tea in teas if tea.hot %}{{ loop.index }}: {{ tea.name }} {% endfor %}")
"""Made while the component is built."""

MARKDOWN = markdown.Markdown(extensions=["tables"])
"""Its extensions are found by their names, which is done while the component is built."""


@attrs.define
class Tea:
    name: str = attrs.field(validator=attrs.validators.min_len(2))
    grams: int = attrs.field(default=20, converter=int)


def with_attrs() -> object:
    try:
        Tea("g")
    except ValueError:
        return [attrs.asdict(Tea("green", "5")), Tea("black") == Tea("black")]


def with_beautifulsoup() -> object:
    page = bs4.BeautifulSoup("<ul><li class=hot>Gr&uuml;n<li>Schwarz<p>1 &lt; 2", "html.parser")
    return [[item.find(string=True) for item in page.find_all("li")], page.select_one("li.hot").get("class"), page.p.text]


def with_dateutil() -> object:
    due = parser.parse("Sat, 31 Jan 2026 10:00:00 +0100") + relativedelta(months=1)
    days = rrule.rrule(rrule.MONTHLY, count=3, bymonthday=-1, dtstart=datetime(2026, 1, 1, tzinfo=UTC))
    return [due.isoformat(), [day.day for day in days]]


def with_jinja2() -> str:
    return PAGE.render(teas=[{"name": "<green>", "hot": True}, {"name": "iced"}])


def with_jwt() -> object:
    key = "a secret that is long enough for it"
    token = jwt.encode({"tea": "green"}, key, algorithm="HS256")
    try:
        jwt.decode(token, key[1:], algorithms=["HS256"])
    except jwt.InvalidSignatureError:
        return jwt.decode(token, key, algorithms=["HS256"])


def with_markdown() -> str:
    return MARKDOWN.reset().convert("# Tea\n\n| a | b |\n|---|---|\n| *1* | `2` |")


def with_openpyxl() -> object:
    book, file = openpyxl.Workbook(), io.BytesIO()
    for row in [["tea", "grams"], ["grün", 20], ["black", 5]]:
        book.active.append(row)
    book.active["B4"] = "=SUM(B2:B3)"
    book.save(file)
    return [list(row) for row in openpyxl.load_workbook(file).active.values]


def with_pypdf() -> object:
    file, writer = io.BytesIO(), pypdf.PdfWriter()
    writer.add_blank_page(width=200, height=100)
    writer.add_metadata({"/Title": "Tea"})
    writer.write(file)
    reader = pypdf.PdfReader(file)
    return [len(reader.pages), float(reader.pages[0].mediabox.width), reader.metadata.title]


def with_tenacity() -> object:
    tried = []

    @tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(0.001))
    def sometimes() -> str:
        tried.append(len(tried))
        if len(tried) < 3:
            raise OSError("not yet")
        return "tea"

    return [sometimes(), tried]


def with_yaml() -> str:
    teas = yaml.safe_load("teas: &teas\n  - green\n  - black\nagain: *teas\n")
    return yaml.safe_dump({**teas, "more": None}, sort_keys=True)


PACKAGES: dict[str, Callable[[], object]] = {
    "attrs": with_attrs,
    "beautifulsoup4": with_beautifulsoup,
    "Jinja2": with_jinja2,
    "Markdown": with_markdown,
    "openpyxl": with_openpyxl,
    "PyJWT": with_jwt,
    "pypdf": with_pypdf,
    "python-dateutil": with_dateutil,
    "PyYAML": with_yaml,
    "tenacity": with_tenacity,
}


@kiln.handler
def handle(job: dict) -> object:
    use = PACKAGES.get(job["package"])
    if use is None:
        raise kiln.Permanent(f"unknown: {job['package']}")
    return use()
