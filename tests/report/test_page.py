"""The page loads nothing from outside, escapes what it is given, and shows every number."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from ankleseg.report import CaseBlock, Column, Page, Picture, Section, Table, render_page

PNG = b"\x89PNG not really"
VOID = {"meta", "link", "img", "br"}


class Balance(HTMLParser):
    """Collects attributes, and tags that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.crossed.append(tag)


@pytest.fixture
def html() -> str:
    table = Table(
        [Column("case"), Column("mean", 3, "of all", "Dice"), Column("SD", 3, band="Dice"), Column("n")],
        [("sub-<b>1</b>", 0.12345, None, 3), ("sub-2", -0.0001, 12.0, 0)],
        caption="scores",
        sortable=True,
    )
    case = CaseBlock(
        'sub-"1" & co', "equinus, left", "missed", False, "a.nii: <is> broken", Picture(PNG, "slices"), table
    )
    summary = Section("Summary", ("One & two.",), [table, Picture(PNG, "alt text", "a caption")])
    return render_page(Page("Report <1>", "bones", [("Date", "2025-01-02")], [summary, Section("Cases", (), [case])]))


def test_the_page_is_well_formed(html: str):
    parser = Balance()
    parser.feed(html)
    assert html.lstrip().startswith("<!DOCTYPE html>")
    assert not parser.open and not parser.crossed


def test_nothing_is_loaded_from_outside(html: str):
    parser = Balance()
    parser.feed(html)
    assert parser.loads and all(value.startswith("data:") for value in parser.loads)
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def test_texts_are_escaped(html: str):
    assert "<b>1</b>" not in html and "sub-&lt;b&gt;1&lt;/b&gt;" in html
    assert "<is>" not in html and "&lt;is&gt; broken" in html
    assert "<title>Report &lt;1&gt;</title>" in html


def test_numbers_have_their_decimals_and_missing_ones_a_dash(html: str):
    cells = re.findall(r"<td([^>]*)>([^<]*)</td>", html)
    shown = [text for _, text in cells][:8]
    assert shown == ["sub-&lt;b&gt;1&lt;/b&gt;", "0.123", "–", "3", "sub-2", "0.000", "12.000", "0"]
    assert 'data-value="0.12345"' in cells[1][0] and "data-value" not in cells[2][0]


def test_columns_of_one_band_stand_under_one_heading(html: str):
    assert '<th colspan="2" scope="colgroup" class="band">Dice</th>' in html
    assert Table([Column("a"), Column("b")], []).bands == []


def test_pictures_are_inside_the_page(html: str):
    assert html.count(f"data:image/png;base64,{base64.b64encode(PNG).decode()}") == 2
    assert 'alt="alt text"' in html and "a caption" in html
