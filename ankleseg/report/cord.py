"""Pictures of the spinal cord: its area along it, and its sagittal plane straightened from left to right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.report.colours import GROUP_COLOURS, STRUCTURE_COLOURS, colours
from ankleseg.report.figures import INK, _figure, _legend, _png
from ankleseg.report.overlays import (
    _contrast,
    _draw_scale,
    _draw_slice,
    _panels,
    _png_within,
    _say,
    _say_directions,
    _window,
)
from ankleseg.volumes import reorient, spacing

SAGITTAL = "IPR"  # rows run downwards, columns backwards
PANEL_WIDTH = 400  # pixels
MARGINS = (10.0, 25.0)  # mm above and below, before and behind
WITHIN = "#DDDDDD"


def areas_along(
    reference: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None,
    predictions: Mapping[str, tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]],
) -> bytes:
    """Draw the area of the cord along it, as PNG.

    Args:
        reference: distances along the cord from its lower end in mm, and areas in mm²; None: there is none.
        predictions: the same of each prediction by name; NaN leaves a gap.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = colours(predictions, GROUP_COLOURS)
    figure, (axes,) = _figure(8.4, 3.0)
    handles = []
    if reference is not None:
        axes.fill_between(reference[0], 0.95 * reference[1], 1.05 * reference[1], color=WITHIN, lw=0)
        axes.plot(*reference, color=INK, lw=1.4)
        handles = [
            Line2D([], [], color=INK, lw=1.4, label="reference"),
            Patch(facecolor=WITHIN, label="reference ± 5 %"),
        ]
    for name, (along, areas) in predictions.items():
        axes.plot(along, areas, color=colour[name], lw=1.2)
        handles.append(Line2D([], [], color=colour[name], lw=1.2, label=name))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("along the cord from its lower end (mm)")
    axes.set_ylabel("area (mm²)")
    _legend(figure, handles)
    return _png(figure)


def sagittal_overlay(
    image: Shaped[np.ndarray, "x y z"] | None,
    predictions: Mapping[str, Bool[np.ndarray, "x y z"]],
    reference: Bool[np.ndarray, "x y z"] | None,
    affine: Float[np.ndarray, "4 4"],
    *,
    limit: int = 250_000,
) -> bytes:
    """Draw the cord as seen from its left, a panel for each prediction, which is filled, the reference a line; as PNG.

    Each row shows the voxels that lie at the middle of the reference from left to right (of the first prediction where
    there is no reference), so that a cord that bends sideways stays in the picture.

    Args:
        image: intensities, or None where there are none to show.
        predictions: masks by name.
        reference: mask, or None.
        affine: of all of them.
        limit: the largest number of bytes; the picture is made smaller until it fits.
    """
    guide = next(iter(predictions.values())) if reference is None or not reference.any() else reference
    turned, grid = reorient(guide, affine, SAGITTAL)
    middle = _middle(turned)

    def plane(volume: np.ndarray) -> np.ndarray:
        return reorient(volume, affine, SAGITTAL)[0][np.arange(len(middle)), :, middle]

    masks = {name: plane(mask) for name, mask in predictions.items()}
    line = {} if reference is None else {"cord": plane(reference)}
    anywhere = np.logical_or.reduce([*masks.values(), *line.values()])
    size = spacing(grid)[:2]
    rows, columns = _window(anywhere[..., None], spacing(grid), MARGINS)
    scan = np.zeros(anywhere.shape) if image is None else plane(image)
    mm = np.array([rows.stop - rows.start, columns.stop - columns.start]) * size
    figure, panels = _panels(1, len(masks), mm, PANEL_WIDTH * len(masks), [])
    shade = dict.fromkeys(("cord",), STRUCTURE_COLOURS[0])
    shown = scan[rows, columns]
    outlines = {name: mask[rows, columns] for name, mask in line.items()}
    for axes, (name, mask) in zip(panels, masks.items(), strict=True):
        _draw_slice(axes, shown, {"cord": mask[rows, columns]}, outlines, shade, size, _contrast(shown))
        _say(axes, 0.03, 0.99, name, ha="left", va="top")
    _say_directions(panels[0], SAGITTAL)
    _draw_scale(panels[-1])
    return _png_within(figure, limit)


def _middle(mask: np.ndarray) -> np.ndarray:
    """The index from right to left of the middle of the mask in each row, between and beyond them the nearest."""
    rows, _, places = np.nonzero(mask)
    if not len(rows):
        return np.full(len(mask), mask.shape[2] // 2)
    counts = np.bincount(rows, minlength=len(mask))
    held = np.flatnonzero(counts)
    middles = np.bincount(rows, places, minlength=len(mask))[held] / counts[held]
    return np.rint(np.interp(np.arange(len(mask)), held, middles)).astype(int)
