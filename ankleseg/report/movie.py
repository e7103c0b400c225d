"""Slices and outlines of a dynamic sequence, small enough to be carried by a page that plays them as a movie."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ankleseg.report.motion import MotionSequence
from ankleseg.report.overlays import as_slices
from ankleseg.volumes import axis_codes, reorient, slice_axis, spacing

MARGIN_MM = 15.0  # shown around the bones of all frames
CLOSE_MM = 6.0  # shown around one bone
MOVIE_BONE = "talus"
QUALITY = 88  # of the JPEG; 288×288 pixels take about 20 kB
STRAIGHTER = 0.1  # pixels by which an outline may be simplified

Window = tuple[slice, slice]


def movie(sequence: MotionSequence) -> dict[str, Any]:
    """Return what a page needs to play a sequence and to show each bone before and after its own registration.

    Three slices at most are kept of each frame: those that hold most of a bone over the whole sequence. The movie shows
    the one of the talus.

    Returns:
        plain numbers, texts, lists and dictionaries. ``width`` and ``height`` in pixels; ``ratio``, the height of a
        pixel over its width, which is ``mm``; ``codes``, the directions to which rows and columns run; ``shown``, a
        list of slices with the ``number`` of the slice in the file (from 0) and the ``frames`` as data URIs; ``movie``,
        the slice of the movie, and ``slice``, that of each bone, as places in this list; ``own`` and ``foot``, {bone:
        outlines [slice][frame]} as SVG paths, of the bone placed by its own pose and by that of the whole foot;
        ``close``, {bone: [left, top, right, bottom]}, pixels around the bone on all frames.
    """
    grid = as_slices(sequence.frames[..., 0], sequence.affine)[1]
    size = spacing(grid)
    own, foot = (
        {bone: reorient(mask, sequence.affine, axis_codes(grid))[0] for bone, mask in masks.items()}
        for masks in (sequence.masks, sequence.placed_by_foot)
    )
    frames = reorient(sequence.frames, sequence.affine, axis_codes(grid))[0]
    shape = frames.shape[:2]
    rows, columns = _window(_placed(own, foot), shape, size, MARGIN_MM)
    places = {bone: _main_slice(own.get(bone), foot.get(bone), frames.shape[2]) for bone in sequence.bones}
    first = places.get(MOVIE_BONE, next(iter(places.values()), frames.shape[2] // 2))
    kept = sorted({*places.values(), first})
    numbers = stored_indices(sequence.affine, grid, frames.shape[2])
    frames = frames[rows, columns]
    contrast = grey_limits(frames[:, :, kept])
    close = {}
    for bone, place in places.items():
        here = [{bone: masks[bone][:, :, [place]]} if bone in masks else {} for masks in (own, foot)]
        top_bottom, left_right = _window(_placed(*here), shape, size, CLOSE_MM)
        close[bone] = _inside(top_bottom, left_right, rows, columns)
    count = frames.shape[3]

    def outlines(mask: np.ndarray) -> list[list[str]]:
        part = mask[rows, columns]
        return [[outline(part[:, :, k, t]) for t in range(count)] for k in kept]

    return {
        "width": frames.shape[1],
        "height": frames.shape[0],
        "ratio": float(size[0] / size[1]),
        "mm": float(size[1]),
        "codes": axis_codes(grid)[:2],
        "shown": [
            {"number": numbers[k], "frames": [jpeg(frames[:, :, k, t], contrast) for t in range(count)]} for k in kept
        ],
        "movie": kept.index(first),
        "slice": {bone: kept.index(place) for bone, place in places.items()},
        "own": {bone: outlines(mask) for bone, mask in own.items()},
        "foot": {bone: outlines(mask) for bone, mask in foot.items()},
        "close": close,
    }


def outline(mask: Shaped[np.ndarray, "rows columns"]) -> str:
    """Return the outline of a mask as an SVG path in pixels; the first pixel reaches from 0 to 1.

    Masks are bool or fractions; the outline is drawn where the mask crosses one half. Outlines at the border of the
    picture are closed.
    """
    from skimage.measure import find_contours

    mask = np.asarray(mask)
    inside = np.argwhere(mask > 0)
    if not len(inside):
        return ""
    low = inside.min(axis=0)
    high = inside.max(axis=0) + 1
    part = np.pad(mask[low[0] : high[0], low[1] : high[1]].astype(float), 1)
    parts = []
    for line in find_contours(part, 0.5):
        points = _thinned(line[:-1]) + low - 0.5
        if len(points) > 2:
            parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points) + "Z")
    return "".join(parts)


def jpeg(image: Shaped[np.ndarray, "rows columns"], limits: tuple[float, float]) -> str:
    """Return a slice as a grey JPEG in a data URI, black and white at the limits."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_grey(image, limits)).save(buffer, format="jpeg", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def grey_limits(image: Shaped[np.ndarray, "*shape"]) -> tuple[float, float]:
    """Return the intensities to be shown black and white: the 1st and the 99.5th percentile."""
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, [1, 99.5]) if known.size else (0.0, 1.0)
    return float(low), float(high) if high > low else float(low) + 1


def stored_indices(affine: Float[np.ndarray, "4 4"], grid: Float[np.ndarray, "4 4"], count: int) -> list[int]:
    """Return the index in the file, from 0, of each slice as shown; ``grid`` is the affine of `as_slices`."""
    flipped = axis_codes(affine)[slice_axis(affine)] != axis_codes(grid)[2]
    return list(range(count - 1, -1, -1)) if flipped else list(range(count))


def _thinned(points: np.ndarray) -> np.ndarray:
    """A closed line without points that lie almost between their neighbours; of two neighbours one stays."""
    for _ in range(3):
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        along, aside = after - before, points - before
        area = np.abs(along[:, 0] * aside[:, 1] - along[:, 1] * aside[:, 0])
        spare = area < STRAIGHTER * np.linalg.norm(along, axis=1)
        spare[::2] = False
        points = points[~spare]
    return points


def _grey(image: np.ndarray, limits: tuple[float, float]) -> UInt8[np.ndarray, "rows columns"]:
    low, high = limits
    shade = np.nan_to_num((np.asarray(image, float) - low) / (high - low), nan=0.0)
    return (255 * np.clip(shade, 0, 1)).round().astype(np.uint8)


def _main_slice(own: np.ndarray | None, foot: np.ndarray | None, count: int) -> int:
    for mask in (own, foot):
        if mask is not None and np.any(mask > 0):
            return int(np.argmax(np.asarray(mask, np.float32).sum(axis=(0, 1, 3))))
    return count // 2


def _placed(own: Mapping[str, np.ndarray], foot: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The bones by their own poses; by that of the whole foot, which may lie far off, only where there are none."""
    return [mask for mask in own.values() if (mask >= 0.5).any()] or list(foot.values())


def _window(masks: Sequence[np.ndarray], shape: Sequence[int], size: np.ndarray, margin: float) -> Window:
    """Rows and columns that hold the masks on every slice and frame; all, where there is nothing."""
    window = []
    for axis, other in ((0, 1), (1, 0)):
        there = [np.flatnonzero((mask >= 0.5).any(axis=(other, 2, 3))) for mask in masks]
        ends = [(found[0], found[-1] + 1) for found in there if len(found)] or [(0, shape[axis])]
        around = round(margin / float(size[axis]))
        low, high = min(a for a, _ in ends), max(b for _, b in ends)
        window.append(slice(int(max(0, low - around)), int(min(shape[axis], high + around))))
    return window[0], window[1]


def _inside(rows: slice, columns: slice, outer_rows: slice, outer_columns: slice) -> list[int]:
    """Left, top, right and bottom of a window, counted from the corner of the window around it."""
    top, left = outer_rows.start, outer_columns.start
    right, bottom = min(columns.stop, outer_columns.stop), min(rows.stop, outer_rows.stop)
    return [max(columns.start - left, 0), max(rows.start - top, 0), right - left, bottom - top]


def static_slices(
    image: Shaped[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"], masks: Mapping[str, np.ndarray], count: int
) -> dict[str, Any]:
    """Return slices through the bones of the static scan, each standing for the same share of them.

    Returns:
        ``width``, ``height``, ``ratio``, ``mm`` and ``codes`` as `movie`, and ``shown``, a list of slices with their
        ``number`` in the file, ``image`` as data URI and ``own``: {bone: outline as SVG path}.
    """
    scan, grid = as_slices(image, affine)
    size = spacing(grid)
    turned = {bone: as_slices(mask, affine)[0][..., None] for bone, mask in masks.items()}
    rows, columns = _window(list(turned.values()), scan.shape, size, MARGIN_MM / 2)
    area = sum((mask.sum(axis=(0, 1, 3), dtype=float) for mask in turned.values()), np.zeros(scan.shape[2]))
    share = np.cumsum(area if area.any() else area + 1)
    chosen = sorted({int(k) for k in np.searchsorted(share, (np.arange(count) + 0.5) / count * share[-1])})
    numbers = stored_indices(affine, grid, scan.shape[2])
    part = scan[rows, columns][:, :, chosen]
    limits = grey_limits(part)
    step = max(1, round(min(part.shape[:2]) / 400))  # finer than a page shows
    return {
        "width": part.shape[1],
        "height": part.shape[0],
        "ratio": float(size[0] / size[1]),
        "mm": float(size[1]),
        "codes": axis_codes(grid)[:2],
        "shown": [
            {
                "number": numbers[k],
                "image": jpeg(part[::step, ::step, at], limits),
                "own": {bone: outline(mask[rows, columns][:, :, k, 0]) for bone, mask in turned.items()},
            }
            for at, k in enumerate(chosen)
        ],
    }
