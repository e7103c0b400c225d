"""Slices of scans with filled predictions and outlined references, the way radiologists look at them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped, UInt8

from ankleseg.report.colours import STRUCTURE_COLOURS, colours
from ankleseg.volumes import axis_codes, reorient, slice_axis, spacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = "#111111"
LIGHT = "#F2F2F2"
MARGIN_MM = 8.0  # shown around the structures
MOSAIC_SLICES = 8
MOSAIC_WIDTH = 1200  # pixels, before a mosaic is made to fit its limit
LEGEND_HEIGHT = 32  # pixels
BAR_MM = 20

# Where the axis across the slices points to → where rows, columns and slices are made to point to.
ORIENTATIONS = {"L": "IPR", "R": "IPR", "A": "ILP", "P": "ILP", "I": "PLS", "S": "PLS"}
OPPOSITE = dict(zip("LRAPIS", "RLPASI", strict=True))


def as_slices(
    data: Shaped[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"]
) -> tuple[Shaped[np.ndarray, "rows columns slices"], Float[np.ndarray, "4 4"]]:
    """Turn a volume, without interpolation, into slices as they are looked at, and its affine with it.

    The slices lie across the slice axis. Rows run downwards: superior is up in sagittal and coronal slices, anterior
    in axial ones. Anterior is on the left of sagittal slices, the patient's right on the left of the others.
    """
    return reorient(data, affine, ORIENTATIONS[axis_codes(affine)[slice_axis(affine)]])


def overlay(
    image: Shaped[np.ndarray, "rows columns"],
    prediction: Integer[np.ndarray, "rows columns"] | None = None,
    reference: Integer[np.ndarray, "rows columns"] | None = None,
    *,
    structures: Sequence[str] = (),
    spacing: Sequence[float] = (1.0, 1.0),
    width: int = 480,
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw one slice with a filled prediction and an outlined reference, as RGB.

    Args:
        image: intensities; rows run downwards (see `as_slices`).
        prediction: label map, 0 background, k the k-th structure.
        reference: label map of the same structures.
        structures: their names, for a legend; without them there is none.
        spacing: mm between rows and between columns.
        width: of the picture in pixels; its height follows from the size of the slice in mm.
    """
    given = [labels for labels in (prediction, reference) if labels is not None]
    names = structures or [str(k) for k in range(1, 1 + max((int(labels.max()) for labels in given), default=0))]
    colour = colours(names, STRUCTURE_COLOURS)
    masks = [
        {} if labels is None else {name: labels == k for k, name in enumerate(names, start=1)}
        for labels in (prediction, reference)
    ]
    figure, (axes,) = _panels(1, 1, np.array(image.shape) * spacing, width, legend=bool(structures))
    _draw_slice(axes, image, masks[0], masks[1], colour, spacing, _contrast(image))
    if structures:
        _legend(figure, colour)
    return _render(figure)


def mosaic(
    image: Shaped[np.ndarray, "x y z"] | None,
    prediction: Mapping[str, Bool[np.ndarray, "x y z"]],
    reference: Mapping[str, Bool[np.ndarray, "x y z"]],
    affine: Float[np.ndarray, "4 4"],
    *,
    limit: int = 250_000,
) -> bytes:
    """Draw slices through the structures of a case, filled predictions and outlined references, as PNG.

    The slices are spread so that each stands for the same share of the structures; with nothing to show, the whole
    field of view is shown.

    Args:
        image: intensities, or None where there are none to show.
        prediction, reference: masks by structure on the grid of the image, at least one of them.
        affine: of that grid.
        limit: the largest number of bytes; the picture is made smaller until it fits.
    """
    predicted = {name: as_slices(mask, affine)[0] for name, mask in prediction.items()}
    true = {name: as_slices(mask, affine)[0] for name, mask in reference.items()}
    anywhere = np.logical_or.reduce([*predicted.values(), *true.values()])
    source = next(iter([*prediction.values(), *reference.values()])) if image is None else image
    scan, grid = as_slices(source, affine)
    size = spacing(grid)
    rows, columns = _window(anywhere, size)
    chosen = _slices_through(anywhere)
    mm = np.array([rows.stop - rows.start, columns.stop - columns.start]) * size[:2]
    across = _panels_across(len(chosen), mm)
    colour = colours([*true, *predicted], STRUCTURE_COLOURS)
    figure, panels = _panels(-(-len(chosen) // across), across, mm, MOSAIC_WIDTH, legend=True)
    shown = np.stack([scan[rows, columns, index] for index in chosen], axis=-1)
    if image is None:
        shown = np.zeros(shown.shape)
    for number, (axes, index) in enumerate(zip(panels, chosen, strict=False)):
        here = [{name: mask[rows, columns, index] for name, mask in masks.items()} for masks in (predicted, true)]
        _draw_slice(axes, shown[..., number], here[0], here[1], colour, size[:2], _contrast(shown))
        _say(axes, 0.5, 0.98, f"slice {index + 1} of {anywhere.shape[2]}", va="top")
    _say_directions(panels[0], axis_codes(grid))
    _draw_scale(panels[len(chosen) - 1])
    _legend(figure, colour)
    return _png_within(figure, limit)


def _window(anywhere: np.ndarray, size: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold every structure in every slice, with a margin."""
    window = []
    for axis, other in ((0, 1), (1, 0)):
        inside = np.flatnonzero(anywhere.any(axis=(other, 2)))
        length = anywhere.shape[axis]
        margin = round(MARGIN_MM / size[axis])
        first, last = (inside[0], inside[-1]) if len(inside) else (0, length - 1)
        window.append(slice(max(0, first - margin), min(length, last + 1 + margin)))
    return window[0], window[1]


def _slices_through(anywhere: np.ndarray) -> list[int]:
    area = anywhere.sum(axis=(0, 1)).astype(float)
    share = np.cumsum(area if area.any() else area + 1)
    wanted = (np.arange(MOSAIC_SLICES) + 0.5) / MOSAIC_SLICES * share[-1]
    return sorted({int(index) for index in np.searchsorted(share, wanted)})


def _panels_across(count: int, mm: np.ndarray) -> int:
    """Number of columns that makes a mosaic about twice as wide as high."""
    shapes = {across: (across * mm[1]) / (-(-count // across) * mm[0]) for across in range(1, count + 1)}
    return min(shapes, key=lambda across: abs(np.log(shapes[across] / 2)))


def _panels(down: int, across: int, mm: np.ndarray, width: int, *, legend: bool) -> tuple[Figure, list[Axes]]:
    """A dark figure, ``width`` pixels wide, of panels that show so many mm (rows, columns), a legend below them."""
    from matplotlib.figure import Figure

    strip = LEGEND_HEIGHT if legend else 0
    height = round(width / across * mm[0] / mm[1]) * down + strip
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=DARK)
    bottom = strip / height
    panels = []
    for number in range(down * across):
        row, column = divmod(number, across)
        box = (column / across, bottom + (down - 1 - row) * (1 - bottom) / down, 1 / across, (1 - bottom) / down)
        axes = figure.add_axes(box)
        axes.set_axis_off()
        panels.append(axes)
    return figure, panels


def _draw_slice(
    axes: Axes,
    image: np.ndarray,
    prediction: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    colour: Mapping[str, str],
    size: np.ndarray | Sequence[float],
    contrast: tuple[float, float],
) -> None:
    height, width = np.array(image.shape) * size
    low, high = contrast
    axes.imshow(
        image, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0), interpolation="bilinear", aspect="auto"
    )
    # A rim of background closes the outlines of masks that touch the border of the picture.
    x = (np.arange(-1, image.shape[1] + 1) + 0.5) * size[1]
    y = (np.arange(-1, image.shape[0] + 1) + 0.5) * size[0]
    for name, mask in prediction.items():
        if mask.any():
            axes.contourf(x, y, np.pad(mask, 1).astype(float), levels=[0.5, 1.5], colors=[colour[name]], alpha=0.45)
    for name, mask in reference.items():
        if mask.any():
            axes.contour(x, y, np.pad(mask, 1).astype(float), levels=[0.5], colors=[colour[name]], linewidths=1.5)
    axes.set(xlim=(0, width), ylim=(height, 0))


def _contrast(image: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(image, [1, 99.5])
    return float(low), float(high) if high > low else float(low) + 1


def _say(axes: Axes, x: float, y: float, text: str, *, ha: str = "center", va: str = "center") -> None:
    from matplotlib.patheffects import withStroke

    around = [withStroke(linewidth=2.2, foreground=DARK)]
    axes.text(x, y, text, transform=axes.transAxes, color=LIGHT, fontsize=8.5, ha=ha, va=va, path_effects=around)


def _say_directions(axes: Axes, codes: str) -> None:
    down, right = codes[:2]
    _say(axes, 0.5, 0.02, down, va="bottom")
    _say(axes, 0.98, 0.5, right, ha="right")
    _say(axes, 0.02, 0.5, OPPOSITE[right], ha="left")


def _draw_scale(axes: Axes) -> None:
    from matplotlib.patheffects import withStroke

    width, (bottom, top) = axes.get_xlim()[1], axes.get_ylim()
    at = bottom - 0.05 * (bottom - top)
    start = 0.04 * width
    axes.plot(
        [start, start + BAR_MM], [at, at], color=LIGHT, lw=2.5, path_effects=[withStroke(linewidth=4, foreground=DARK)]
    )
    _say(axes, 0.04, 0.065, f"{BAR_MM} mm", ha="left", va="bottom")


def _legend(figure: Figure, colour: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=shade, label=name) for name, shade in colour.items()]
    handles.append(Patch(facecolor=LIGHT, alpha=0.45, label="filled: prediction"))
    handles.append(Line2D([], [], color=LIGHT, lw=1.5, label="line: reference"))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        labelcolor=LIGHT,
        borderpad=0.3,
        handlelength=1.4,
        columnspacing=1.6,
    )


def _render(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _png_within(figure: Figure, limit: int) -> bytes:
    """PNG of at most ``limit`` bytes: few colours first, then fewer pixels."""
    from PIL import Image

    while True:
        buffer = io.BytesIO()
        picture = Image.fromarray(_render(figure))
        picture.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            buffer, format="png", optimize=True
        )
        data = buffer.getvalue()
        if len(data) <= limit or figure.dpi < 20:
            return data
        figure.set_dpi(figure.dpi * min(0.95, (limit / len(data)) ** 0.5))
