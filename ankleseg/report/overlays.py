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
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARK = "#111111"
LIGHT = "#F2F2F2"
MARGIN_MM = 8.0  # shown around the structures
MOSAIC_SLICES = 8
MOSAIC_WIDTH = 1200  # pixels, before a mosaic is made to fit its limit
GAP = 4  # pixels between slices
LEGEND_LINE = 26  # pixels
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
    legend = _legend_entries(colour) if structures else []
    figure, (axes,) = _panels(1, 1, np.array(image.shape) * spacing, width, legend)
    _draw_slice(axes, image, masks[0], masks[1], colour, spacing, _contrast(image))
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
    field of view is shown. The number of a slice is its voxel index in the file, from 0.

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
    figure, panels = _panels(-(-len(chosen) // across), across, mm, MOSAIC_WIDTH, _legend_entries(colour))
    shown = np.stack([scan[rows, columns, index] for index in chosen], axis=-1)
    if image is None:
        shown = np.zeros(shown.shape)
    stored = _stored_indices(affine, grid, anywhere.shape[2])
    for number, (axes, index) in enumerate(zip(panels, chosen, strict=False)):
        here = [{name: mask[rows, columns, index] for name, mask in masks.items()} for masks in (predicted, true)]
        _draw_slice(axes, shown[..., number], here[0], here[1], colour, size[:2], _contrast(shown))
        _say(axes, 0.03, 0.98, f"{stored[index]}", ha="left", va="top")
    _say_directions(panels[0], axis_codes(grid))
    _draw_scale(panels[len(chosen) - 1])
    return _png_within(figure, limit)


def _window(
    anywhere: np.ndarray, size: np.ndarray, margins: tuple[float, float] = (MARGIN_MM, MARGIN_MM)
) -> tuple[slice, slice]:
    """Rows and columns that hold every structure in every slice, with margins in mm."""
    window = []
    for axis, other in ((0, 1), (1, 0)):
        inside = np.flatnonzero(anywhere.any(axis=(other, 2)))
        length = anywhere.shape[axis]
        margin = round(margins[axis] / size[axis])
        first, last = (inside[0], inside[-1]) if len(inside) else (0, length - 1)
        window.append(slice(max(0, first - margin), min(length, last + 1 + margin)))
    return window[0], window[1]


def _slices_through(anywhere: np.ndarray) -> list[int]:
    area = anywhere.sum(axis=(0, 1)).astype(float)
    share = np.cumsum(area if area.any() else area + 1)
    wanted = (np.arange(MOSAIC_SLICES) + 0.5) / MOSAIC_SLICES * share[-1]
    return sorted({int(index) for index in np.searchsorted(share, wanted)})


def _stored_indices(affine: np.ndarray, grid: np.ndarray, count: int) -> list[int]:
    flipped = axis_codes(affine)[slice_axis(affine)] != axis_codes(grid)[2]
    return list(range(count - 1, -1, -1)) if flipped else list(range(count))


def _panels_across(count: int, mm: np.ndarray) -> int:
    """Number of columns that makes a mosaic about twice as wide as high, with few empty places."""

    def badness(across: int) -> float:
        down = -(-count // across)
        return abs(np.log((across * mm[1]) / (down * mm[0]) / 2)) + (down * across - count) / count

    return min(range(1, count + 1), key=badness)


def _panels(down: int, across: int, mm: np.ndarray, width: int, legend: Sequence[Artist]) -> tuple[Figure, list[Axes]]:
    """A dark figure, ``width`` pixels wide, of panels that show so many mm (rows, columns), a legend below them."""
    from matplotlib.figure import Figure

    lines = _legend_lines(legend, width)
    side = (width - GAP * (across - 1)) / across
    tall = round(side * mm[0] / mm[1])
    height = down * tall + GAP * (down - 1) + LEGEND_LINE * lines
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=DARK)
    panels = []
    for number in range(down * across):
        row, column = divmod(number, across)
        left, top = column * (side + GAP), row * (tall + GAP)
        axes = figure.add_axes((left / width, 1 - (top + tall) / height, side / width, tall / height))
        axes.set_axis_off()
        panels.append(axes)
    if legend:
        figure.legend(
            handles=legend,
            loc="lower center",
            ncols=-(-len(legend) // lines),
            frameon=False,
            fontsize=9,
            labelcolor=LIGHT,
            borderaxespad=0.2,
            borderpad=0.3,
            handlelength=1.4,
            columnspacing=1.6,
        )
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


def _say(
    axes: Axes, x: float, y: float, text: str, *, ha: str = "center", va: str = "center", family: str = "sans-serif"
) -> None:
    from matplotlib.patheffects import withStroke

    around = [withStroke(linewidth=2.2, foreground=DARK)]
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        color=LIGHT,
        fontsize=8.5,
        family=family,
        ha=ha,
        va=va,
        path_effects=around,
    )


def _say_directions(axes: Axes, codes: str) -> None:
    down, right = codes[0], codes[1]
    family = "monospace"  # its I has serifs and is not taken for a line
    _say(axes, 0.5, 0.02, down, va="bottom", family=family)
    _say(axes, 0.5, 0.98, OPPOSITE[down], va="top", family=family)
    _say(axes, 0.98, 0.5, right, ha="right", family=family)
    _say(axes, 0.02, 0.5, OPPOSITE[right], ha="left", family=family)


def _draw_scale(axes: Axes) -> None:
    from matplotlib.patheffects import withStroke

    width, (bottom, top) = axes.get_xlim()[1], axes.get_ylim()
    at = bottom - 0.05 * (bottom - top)
    start = 0.04 * width
    axes.plot(
        [start, start + BAR_MM], [at, at], color=LIGHT, lw=2.5, path_effects=[withStroke(linewidth=4, foreground=DARK)]
    )
    _say(axes, 0.04, 0.065, f"{BAR_MM} mm", ha="left", va="bottom")


def _legend_entries(colour: Mapping[str, str]) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        *(Patch(facecolor=shade, label=name) for name, shade in colour.items()),
        Patch(facecolor=LIGHT, alpha=0.45, label="filled: prediction"),
        Line2D([], [], color=LIGHT, lw=1.5, label="line: reference"),
    ]


def _legend_lines(legend: Sequence[Artist], width: int) -> int:
    """Lines a legend takes: a letter is about 6.2 pixels wide, the sample beside a name with its gaps 36."""
    if not legend:
        return 0
    widest = max(36 + 6.2 * len(str(entry.get_label())) for entry in legend)
    return -(-len(legend) // max(1, int(width // widest)))


def _render(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _png_within(figure: Figure, limit: int, *, faithful: bool = False) -> bytes:
    """PNG of at most ``limit`` bytes: few colours first, then fewer pixels; ``faithful`` keeps the shades of grey."""
    from PIL import Image

    count, method = (256, Image.Quantize.MEDIANCUT) if faithful else (128, Image.Quantize.FASTOCTREE)
    while True:
        buffer = io.BytesIO()
        picture = Image.fromarray(_render(figure))
        picture.quantize(count, method=method, dither=Image.Dither.NONE).save(buffer, format="png")
        data = buffer.getvalue()
        if len(data) <= limit or figure.dpi < 20:
            return data
        figure.set_dpi(figure.dpi * min(0.95, (limit / len(data)) ** 0.5))
