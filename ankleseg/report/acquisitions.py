"""Figure of volumes by acquisition, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from ankleseg.report.colours import STRUCTURE_COLOURS, colours
from ankleseg.report.figures import FAINT, INK, _box, _figure, _png

ACROSS = 4  # panels in a row
PANEL = (2.6, 2.5)  # inches


def volumes_by_acquisition(
    values: Mapping[str, Float[np.ndarray, "subjects acquisitions"]], acquisitions: Sequence[str], *, label: str
) -> bytes:
    """Draw a panel a structure: a point a subject and acquisition, joined by lines, before median and quartiles.

    Args:
        values: of each structure; NaN where a subject was not measured.
        acquisitions: names of the columns.
        label: of the vertical axes, such as ``volume (ml)``.
    """
    colour = colours(values, STRUCTURE_COLOURS)
    across = min(ACROSS, len(values))
    down = -(-len(values) // across)
    widest = PANEL[0] * max(1.0, len(acquisitions) / 5)
    figure, panels = _figure(max(4.2, widest * across), PANEL[1] * down, panels=across, rows=down)
    places = range(len(acquisitions))
    for number, (structure, table) in enumerate(values.items()):
        axes = panels[number]
        for column, place in zip(table.T, places, strict=True):
            known = column[~np.isnan(column)]
            if len(known):
                _box(axes, known, place, 1.0, colour[structure])
        for row in table:
            axes.plot(places, row, color=FAINT, lw=0.6, marker="o", ms=3, mfc=INK, mec="none", alpha=0.8, zorder=3)
        axes.set_title(structure, fontsize=9, color=INK)
        axes.set_xticks(places, acquisitions)
        axes.set_xlim(-0.6, len(acquisitions) - 0.4)
        axes.set_ylim(bottom=0)
        if number % across == 0:
            axes.set_ylabel(label)
    for axes in panels[len(values) :]:
        axes.set_axis_off()
    return _png(figure)
