"""The grid of a series: are its slices alike, parallel, in line and evenly spaced, and where are its voxels?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.dicom.objects import Frame
from ankleseg.volumes.geometry import Affine, affine_problem
from ankleseg.volumes.itk_images import ras_affine

SPACING_TOLERANCE = 0.1  # of the slice distance
ONE_POSITION = 0.01  # of the slice distance, within which two slices lie at one place
LARGEST_TILT = 0.5  # degrees between the way the slices are stacked and their normal


def check_alike(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse colours, and frames of several sizes, orientations or pixel spacings.

    Raises:
        FileError: naming what is mixed.
    """
    normal = np.cross(*frames[0].axes)
    frames = sorted(frames, key=lambda frame: float(np.dot(normal, frame.position)))
    first = frames[0]
    size = (first.source.pixels.columns, first.source.pixels.rows)
    axes = np.array([frame.axes for frame in frames])
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise FileError("mixes slices of different orientation", file=path, mend="give a series of parallel slices")
    for frame in frames:
        pixels = frame.source.pixels
        if not pixels.grey:
            many = f"{pixels.samples} numbers a voxel (colours or vectors)" if pixels.samples > 1 else "colours"
            raise FileError(f"stores {many}", file=path, mend="give a scan with one intensity a voxel")
        if (pixels.columns, pixels.rows) != size:
            other = (pixels.columns, pixels.rows)
            raise FileError(f"mixes slices of {size} and {other} pixels", file=path, mend="separate them")
        if not np.allclose(frame.spacing, first.spacing, rtol=1e-3):
            raise FileError("mixes slices of different pixel spacing", file=path, mend="separate them")


def slice_numbers(frames: Sequence[Frame]) -> list[int]:
    """Return which slice each frame shows, counted along the normal from 0."""
    normal = np.cross(*frames[0].axes)
    heights = np.array([np.dot(normal, frame.position) for frame in frames])
    usual = frames[0].distance or frames[0].thickness or 1.0
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order]) > ONE_POSITION * max(usual, 0.1)
    numbers = np.empty(len(frames), int)
    numbers[order] = np.concatenate([[0], np.cumsum(steps)])
    return numbers.tolist()


def check_distances(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse missing slices, slices unevenly apart, and slices that are shifted against each other.

    Args:
        frames: one a slice, sorted along the normal.

    Raises:
        FileError: naming the slices.
    """
    if len(frames) == 1:
        return
    positions, normal = np.array([frame.position for frame in frames]), np.cross(*frames[0].axes)
    distances = np.diff(positions @ normal)
    usual = float(np.median(distances))
    gaps = distances > (1 + SPACING_TOLERANCE) * usual
    if gaps.any():
        missing = int(np.round(distances[gaps] / usual - 1).sum())
        before, after = frames[int(np.argmax(gaps))], frames[int(np.argmax(gaps)) + 1]
        raise FileError(
            f"lacks slices: {max(missing, 1)} missing, the first between {_named(before)} and {_named(after)}, "
            f"{distances.max():.2f} mm apart where {usual:.2f} mm are usual",
            file=path,
            mend="export the whole series again",
        )
    if (distances < (1 - SPACING_TOLERANCE) * usual).any():
        raise FileError(
            f"has slices {distances.min():.2f} to {distances.max():.2f} mm apart",
            file=path,
            mend="resample it evenly first",
        )
    _check_line(path, frames, positions, normal)


def _check_line(path: Path, frames: Sequence[Frame], positions: np.ndarray, normal: np.ndarray) -> None:
    step = (positions[-1] - positions[0]) / (len(frames) - 1)
    aside = positions - positions[0] - np.arange(len(frames))[:, None] * step
    drift = float(np.linalg.norm(aside - np.outer(aside @ normal, normal), axis=1).max())
    if drift > max(SPACING_TOLERANCE * min(frames[0].spacing), 0.05):
        raise FileError(
            f"has slices that do not lie in one line: up to {drift:.2f} mm aside",
            file=path,
            mend="export the series again without editing its positions",
        )
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > LARGEST_TILT:
        straight = "dcm2niix straightens it: give its file with _Tilt in the name"
        mend = straight if frames[0].source.modality == "CT" else "resample it to a straight grid first"
        raise FileError(f"has slices shifted against each other by {tilt:.1f}° (gantry tilt)", file=path, mend=mend)


def _named(frame: Frame) -> str:
    return frame.file.name if frame.source.pixels.frames == 1 else f"frame {frame.index + 1} of {frame.file.name}"


def ras_grid(path: Path, frames: Sequence[Frame]) -> Affine:
    """Return the affine of slices that are sorted along their normal, to RAS+ mm.

    Raises:
        FileError: no slice distance, or impossible axes.
    """
    first, last = frames[0], frames[-1]
    if len(frames) > 1:
        step = (np.array(last.position) - first.position) / (len(frames) - 1)
        distance = float(np.linalg.norm(step))
    else:
        step, distance = np.cross(*first.axes), first.distance or first.thickness
    if not distance > 0:
        raise FileError("does not say the thickness of its slice", file=path, mend="export the series again")
    along = step / np.linalg.norm(step)
    affine = ras_affine([*first.axes, along.tolist()], [*first.spacing, distance], first.position)
    problem = affine_problem(affine)
    if problem:
        raise FileError(problem, file=path, mend="export the series again")
    return affine


def voxel_type(frames: Sequence[Frame]) -> np.dtype:
    """Return the type that holds all intensities: whole numbers where no slope or intercept is broken, else float."""
    scales = {(frame.slope, frame.intercept) for frame in frames}
    layouts = {frame.source.pixels for frame in frames}
    if scales == {(1.0, 0.0)}:
        return np.result_type(*{layout.dtype for layout in layouts})
    whole = len(scales) == 1 and all(float(value).is_integer() for pair in scales for value in pair)
    slope, intercept = next(iter(scales))
    ends = [slope * end + intercept for layout in layouts for end in layout.range]
    for kind in (np.int16, np.uint16, np.int32) if whole else ():
        if min(ends) >= np.iinfo(kind).min and max(ends) <= np.iinfo(kind).max:
            return np.dtype(kind)
    return np.dtype(np.float64 if max(layout.stored for layout in layouts) > 24 else np.float32)
