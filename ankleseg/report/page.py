"""A self-contained HTML page: text, tables and pictures in one file that opens without a network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html")

Cell = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, the decimals of its numbers, what it means (shown on hovering), its band.

    Neighbouring columns of one ``band`` stand under one common heading.
    """

    heading: str
    decimals: int | None = None
    meaning: str = ""
    band: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers; None is shown as a dash. A sortable one is sorted by a click on a heading."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    sortable: bool = False

    @property
    def bands(self) -> list[tuple[str, int]]:
        """The common headings with the number of columns under each; empty where no column has one."""
        runs = [(band, len(list(columns))) for band, columns in groupby(column.band for column in self.columns)]
        return runs if any(band for band, _ in runs) else []


@dataclass(frozen=True)
class Picture:
    """A PNG, the text for those who cannot see it, and its caption."""

    png: bytes
    alternative: str
    caption: str = ""


@dataclass(frozen=True)
class CaseBlock:
    """One case: its name, what kind of case it is, its status, its picture and its table."""

    name: str
    kind: str
    status: str
    good: bool
    message: str = ""
    picture: Picture | None = None
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and what stands under them in order."""

    heading: str
    paragraphs: Sequence[str] = ()
    blocks: Sequence[Table | Picture | CaseBlock] = ()


@dataclass(frozen=True)
class Page:
    """Title, one sentence, facts as pairs of name and value, and sections."""

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def render_page(page: Page) -> str:
    """Return the page as HTML that loads nothing from outside; every text is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.filters["cell"] = _cell
    environment.tests["number"] = lambda value: isinstance(value, (int, float))
    environment.tests["block"] = lambda value, kind: type(value).__name__ == kind
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(page=page)


def _cell(value: Cell, decimals: int | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and decimals is not None:
        return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0 turns -0.0 into 0.0
    return str(value)
