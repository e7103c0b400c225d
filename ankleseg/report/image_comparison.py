"""Images of one anatomy side by side with their differences from a reference, in one slice and enlarged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.report.overlays import (
    DARK,
    ORIENTATIONS,
    _contrast,
    _draw_scale,
    _panels,
    _png_within,
    _say,
    _say_directions,
)
from ankleseg.volumes import anatomical_axis, axis_codes, reorient, spacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 1500  # pixels, before a picture is made to fit its limit
ENLARGED = 3.0
LIMITS_OF = 99.5  # percentile of the differences at which their colours end
DIFFERENCES = ("#B8E6FF", "#1B6FB8", DARK, "#C2511A", "#FFE0A3")  # darker than the reference to brighter

Slice = Float[np.ndarray, "rows columns"]


def edge_on_axis(affine: Float[np.ndarray, "4 4"], thick_affine: Float[np.ndarray, "4 4"], thick_axis: int) -> int:
    """Return the array axis across which a grid is cut to see the slices of another grid edge-on.

    Coronal cuts are preferred; slices that are coronal themselves are seen in sagittal cuts.

    Args:
        affine: of the grid to cut.
        thick_affine, thick_axis: of the other grid, and its axis across the slices.
    """
    directions = affine[:3, :3] / spacing(affine)
    across = thick_affine[:3, thick_axis] / np.linalg.norm(thick_affine[:3, thick_axis])
    seen = int(np.abs(directions.T @ across).argmax())
    coronal = anatomical_axis(affine, "PA")
    return anatomical_axis(affine, "LR") if seen == coronal else coronal


def slice_across(
    data: Shaped[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"], axis: int, index: int
) -> tuple[Shaped[np.ndarray, "rows columns"], Float[np.ndarray, "2"], str]:
    """Cut one slice across an array axis, turned as it is looked at; with its spacing and the codes of its axes."""
    place = [slice(None)] * 3
    place[axis] = slice(index, index + 1)
    turned, grid = reorient(data[tuple(place)], affine, ORIENTATIONS[axis_codes(affine)[axis]])
    return turned[..., 0], spacing(grid)[:2], axis_codes(grid)


def image_comparison(
    images: Mapping[str, Slice],
    reference: Slice,
    *,
    spacing: Sequence[float] | np.ndarray,
    codes: str,
    centre: tuple[float, float],
    limit: int = 400_000,
) -> bytes:
    """Draw a slice of images, of their reference and of their differences from it; below, its middle enlarged. PNG.

    All images have the grey scale of the reference; the differences share one scale, orange where an image is brighter
    than the reference and blue where it is darker.

    Args:
        images: slices by name, on the grid of the reference.
        reference: the slice; rows run downwards (see `slice_across`).
        spacing: mm between rows and between columns.
        codes: of the axes, such as ``ILP``: where rows and columns point to.
        centre: row and column of the middle of the enlarged part.
        limit: the largest number of bytes; the picture is made smaller until it fits.
    """
    from matplotlib.colors import LinearSegmentedColormap

    differences = {name: image - reference for name, image in images.items()}
    sizes = [np.percentile(np.abs(difference), LIMITS_OF) for difference in differences.values()]
    reach = float(max(sizes, default=0.0)) or 1.0
    grey = _contrast(reference)
    shown = {**images, "reference": reference}
    mm = np.array(reference.shape) * spacing
    figure, panels = _panels(2, len(shown) + len(differences), mm, WIDTH, [])
    window = _enlarged_window(mm, np.asarray(spacing), centre)
    around_zero = LinearSegmentedColormap.from_list("differences", DIFFERENCES)
    across = len(shown) + len(differences)
    for number, axes in enumerate(panels):
        row, column = divmod(number, across)
        if column < len(shown):
            name = list(shown)[column]
            _draw(axes, shown[name], mm, "gray", grey)
        else:
            name = list(differences)[column - len(shown)]
            _draw(axes, differences[name], mm, around_zero, (-reach, reach))
            name = f"{name} − reference, ± {float(f'{reach:.2g}'):g}"
        if row:
            axes.set(xlim=window[2:], ylim=window[1::-1])
        else:
            _say(axes, 0.5, 0.985, name, va="top")
            _frame(axes, window)
    _say_directions_below(panels[len(images)], codes)
    _draw_scale(panels[0])
    return _png_within(figure, limit, faithful=True)


def _enlarged_window(
    mm: np.ndarray, size: np.ndarray, centre: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Top, bottom, left and right in mm of the enlarged part, inside the slice."""
    half = mm / ENLARGED / 2
    middle = np.clip((np.asarray(centre) + 0.5) * size, half, mm - half)
    (top, left), (bottom, right) = middle - half, middle + half
    return float(top), float(bottom), float(left), float(right)


def _draw(axes: Axes, image: np.ndarray, mm: np.ndarray, colours: Any, limits: tuple[float, float]) -> None:
    extent = (0, mm[1], mm[0], 0)
    axes.imshow(
        image, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, interpolation="nearest", aspect="auto"
    )
    axes.set(xlim=(0, mm[1]), ylim=(mm[0], 0))


def _frame(axes: Axes, window: tuple[float, float, float, float]) -> None:
    top, bottom, left, right = window
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color="#F0E442", lw=0.8)


def _say_directions_below(axes: Axes, codes: str) -> None:
    """The names of the directions; that at the top would lie on the name of the image."""
    _say_directions(axes, codes)
    for text in axes.texts:
        if text.get_position() == (0.5, 0.98):
            text.set_position((0.5, 0.93))
