"""Figures as PNG bytes and the self-contained HTML page; they draw what they are given."""

from ankleseg.report.figures import agreement, distribution, training_curves
from ankleseg.report.overlays import as_slices, mosaic, overlay
from ankleseg.report.page import CaseBlock, Column, Page, Picture, Section, Table, render_page
from ankleseg.report.side_by_side import side_by_side

__all__ = [
    "CaseBlock",
    "Column",
    "Page",
    "Picture",
    "Section",
    "Table",
    "agreement",
    "as_slices",
    "distribution",
    "mosaic",
    "overlay",
    "render_page",
    "side_by_side",
    "training_curves",
]
