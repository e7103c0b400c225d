"""Pictures of a registration: checkerboards before and after, the warped grid, the Jacobian, and a blink."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from jaxtyping import Float

from ankleseg.report.image_comparison import _say_directions_below, slice_across
from ankleseg.report.overlays import DARK, _contrast, _draw_scale, _panels, _png_within, _render, _say
from ankleseg.volumes import spacing

WIDTH = 1400  # pixels of four panels
BLINK_WIDTH = 420
BLINK_MS = 700
SQUARES_MM = 24.0
LINES_MM = 6.0
GRID_COLOUR = "#F0E442"
JACOBIAN_RANGE = 2.0  # colours of the Jacobian end at a half and at double the volume

Volume = Float[np.ndarray, "x y z"]


class RegistrationPictures:
    """Slices of two scans through the middle of what the fixed one shows, in its three array directions.

    Args:
        fixed: intensities.
        before, after: the moving scan on the same grid, where the headers put it and registered.
        affine: of the grid.
        displacement: of the field without its affine part, RAS+ mm (X, Y, Z, 3), and its determinant; None: no field.
        jacobian: determinant of the derivative of that field.
    """

    def __init__(
        self,
        fixed: Volume,
        before: Volume,
        after: Volume,
        affine: Float[np.ndarray, "4 4"],
        displacement: Float[np.ndarray, "x y z 3"] | None = None,
        jacobian: Volume | None = None,
    ) -> None:
        self.scans = {"fixed": fixed, "before": before, "after": after}
        self.affine, self.displacement, self.jacobian = affine, displacement, jacobian
        shown = np.argwhere(fixed > np.percentile(fixed, 60))
        self.middle = np.median(shown if len(shown) else np.argwhere(np.ones(fixed.shape)), axis=0).astype(int)

    def comparison(self, axis: int, limit: int = 500_000) -> bytes:
        """Draw a slice across an array axis: checkerboards before and after, the warped grid, the Jacobian; PNG."""
        fixed, before, after = (self._cut(scan, axis) for scan in self.scans.values())
        _, size, codes = slice_across(self.scans["fixed"], self.affine, axis, self.middle[axis])
        mm = np.array(fixed.shape) * size
        figure, panels = _panels(1, 2 if self.displacement is None else 4, mm, WIDTH, [])
        scales = [_to_unit(image) for image in (fixed, before, after)]
        for axes, image, name in zip(panels, scales[1:], ("before", "after"), strict=False):
            _show(axes, _checkerboard(scales[0], image, size), mm, "gray", (0, 1))
            _say(axes, 0.5, 0.985, f"fixed and moving, {name}", va="top")
        if self.displacement is not None and self.jacobian is not None:
            _show(panels[2], scales[2], mm, "gray", (0, 1))
            self._draw_grid(panels[2], axis, mm)
            _say(panels[2], 0.5, 0.985, f"the moving scan's grid, {LINES_MM:g} mm", va="top")
            ratio = np.log2(np.maximum(self._cut(self.jacobian, axis), 1e-3))
            _show(panels[3], ratio, mm, "RdBu_r", (-np.log2(JACOBIAN_RANGE), np.log2(JACOBIAN_RANGE)))
            _say(panels[3], 0.5, 0.985, "Jacobian: blue ½, white 1, red 2", va="top")
        _say_directions_below(panels[0], codes)
        _draw_scale(panels[0])
        return _png_within(figure, limit, faithful=True)

    def blink(self, axis: int) -> bytes:
        """Draw the fixed and the registered scan in turn, as an animated PNG."""
        from PIL import Image

        frames = []
        for name in ("fixed", "after"):
            image = self._cut(self.scans[name], axis)
            _, size, _ = slice_across(self.scans["fixed"], self.affine, axis, self.middle[axis])
            mm = np.array(image.shape) * size
            figure, (axes,) = _panels(1, 1, mm, BLINK_WIDTH, [])
            _show(axes, _to_unit(image), mm, "gray", (0, 1))
            _say(axes, 0.5, 0.985, "fixed" if name == "fixed" else "moved", va="top")
            frames.append(Image.fromarray(_render(figure)).convert("L"))
        buffer = io.BytesIO()
        frames[0].save(buffer, format="png", save_all=True, append_images=frames[1:], duration=BLINK_MS, loop=0)
        return buffer.getvalue()

    def _cut(self, data: np.ndarray, axis: int) -> np.ndarray:
        return slice_across(data, self.affine, axis, int(self.middle[axis]))[0]

    def _draw_grid(self, axes: Any, axis: int, mm: np.ndarray) -> None:
        """Lines of the moving scan's grid as the field shows them: where coordinates are multiples of a distance."""
        assert self.displacement is not None
        directions = self.affine[:3, :3] / spacing(self.affine)
        place = [slice(None)] * 3
        place[axis] = slice(self.middle[axis], self.middle[axis] + 1)
        for other in (number for number in range(3) if number != axis):
            shape = [1, 1, 1]
            shape[other] = -1
            along = (np.arange(self.displacement.shape[other]) * spacing(self.affine)[other]).reshape(shape)
            moved = self.displacement[tuple(place)] @ directions[:, other] + along
            coordinate = slice_across(moved, self.affine, axis, 0)[0]
            lines = np.arange(np.ceil(coordinate.min() / LINES_MM), coordinate.max() / LINES_MM) * LINES_MM
            rows, columns = coordinate.shape
            x, y = (np.arange(columns) + 0.5) * mm[1] / columns, (np.arange(rows) + 0.5) * mm[0] / rows
            if len(lines):
                axes.contour(x, y, coordinate, levels=lines, colors=[GRID_COLOUR], linewidths=0.5)


def _show(axes: Any, image: np.ndarray, mm: np.ndarray, colours: str, limits: tuple[float, float]) -> None:
    extent = (0, mm[1], mm[0], 0)
    axes.imshow(image, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, aspect="auto")
    axes.set(xlim=(0, mm[1]), ylim=(mm[0], 0))
    axes.set_facecolor(DARK)


def _to_unit(image: np.ndarray) -> np.ndarray:
    low, high = _contrast(image)
    return np.clip((image - low) / (high - low), 0, 1)


def _checkerboard(first: np.ndarray, second: np.ndarray, size: np.ndarray) -> np.ndarray:
    rows, columns = np.ogrid[: first.shape[0], : first.shape[1]]
    squares = (rows * size[0] // SQUARES_MM + columns * size[1] // SQUARES_MM).astype(int) % 2
    return np.where(squares == 0, first, second)
