"""Sorting the slices of a dynamic series into time points, by whatever tells them apart soundly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ankleseg.errors import FileError
from ankleseg.volumes.dicom.objects import Frame
from ankleseg.volumes.volume import Remark

EVENNESS = 0.05  # of the time between frames, by which it may vary
# What may tell the time points: the same value at all slices of one, the surest first.
SAME = (
    ("temporal",),
    ("temporal", "trigger"),
    ("offset",),
    ("trigger",),
    ("acquired",),
    ("acquisition",),
    ("content",),
)
RISING = ("trigger", "acquired", "content", "instance")  # within each slice
NAMES = {"temporal": "temporal position", "offset": "temporal offset", "trigger": "trigger time",
         "acquired": "acquisition time", "acquisition": "acquisition number", "content": "content time",
         "instance": "instance number"}  # fmt: skip
UNSURE = ("content time", "instance number")
Groups = list[list[int]]  # numbers of the frames of each time point


@dataclass(frozen=True)
class TimePoints:
    """The complete time points of a series, each with one frame a slice, sorted along the normal."""

    frames: tuple[tuple[Frame, ...], ...]
    seconds: float
    remarks: tuple[Remark, ...] = ()


def time_points(path: Path, frames: Sequence[Frame], heights: Sequence[int], sidecar: str) -> TimePoints:
    """Sort frames into time points and drop those that lack slices.

    Args:
        heights: which slice each frame shows, from 0.
        sidecar: name of the file that can say what times DICOM does not.

    Raises:
        FileError: a slice that is there twice, or nothing that tells the time points apart.
    """
    slices = max(heights) + 1
    if len(frames) == slices:
        return TimePoints((_sorted(frames, heights, range(len(frames))),), 0.0)
    _check_copies(path, frames)
    groups, told = _grouped(path, frames, heights, slices)
    whole = [group for group in groups if len(group) == slices]
    remarks = []
    if len(whole) < len(groups):
        lacking = {number: len(group) for number, group in enumerate(groups, start=1) if len(group) < slices}
        listed = ", ".join(f"{number} ({count} of {slices} slices)" for number, count in list(lacking.items())[:8])
        problem = f"{len(lacking)} of its {len(groups)} frames are incomplete and left out: frame {listed}"
        remarks.append(Remark(problem, "export the series again if the scan was not stopped early", suspect=True))
    if len(whole) > 1 and told in UNSURE:
        problem = f"its frames are told apart by the {told}"
        remarks.append(Remark(problem, "check their order in a viewer", suspect=True))
    points = tuple(_sorted(frames, heights, group) for group in whole)
    differing = _differing(points)
    in_turn = all(after - before == 1 for before, after in pairwise(groups.index(group) for group in whole))
    seconds = _seconds(points) if in_turn and not differing else 0.0
    if differing:
        problem = f"its frames differ by {differing}, so they are no motion"
        remarks.append(Remark(problem, "take single frames of it", suspect=True))
    elif not seconds and len(points) > 1:
        problem = "does not say soundly how much time lies between its frames"
        mend = f"write the seconds as RepetitionTime into {sidecar} beside it where the time matters"
        remarks.append(Remark(problem, mend))
    return TimePoints(points, seconds, tuple(remarks))


def _sorted(frames: Sequence[Frame], heights: Sequence[int], group: Sequence[int]) -> tuple[Frame, ...]:
    return tuple(frames[number] for number in sorted(group, key=lambda number: heights[number]))


def _check_copies(path: Path, frames: Sequence[Frame]) -> None:
    first: dict[tuple[str, int], Frame] = {}
    for frame in frames:
        if frame.source.instance:
            other = first.setdefault((frame.source.instance, frame.index), frame)
            if other is not frame:
                raise FileError(
                    f"holds the slice {other.file} a second time as {frame.file}",
                    file=path,
                    mend="take one of the two out" if other.file.parent == frame.file.parent else "give one folder",
                )


def _grouped(path: Path, frames: Sequence[Frame], heights: Sequence[int], slices: int) -> tuple[Groups, str]:
    """Find the time points in order, and what told them."""
    dimensions = [(name,) for name in frames[0].order if name.startswith("dimension")]
    for names in (*SAME, *dimensions, ("instance",)):
        if all(name in frame.order for frame in frames for name in names):
            keys = [tuple(frame.order[name] for name in names) for frame in frames]
            groups = _by_key(keys, heights, slices)
            if groups:
                return groups, " and ".join(NAMES.get(name, name) for name in names)
    numbered = _by_key(_numbered(frames, slices), heights, slices)
    if numbered and sum(len(group) == slices for group in numbered) > 1:
        return numbered, NAMES["instance"]
    for name in RISING:
        if all(name in frame.order for frame in frames):
            groups = _by_rank([frame.order[name] for frame in frames], heights, slices)
            if groups:
                return groups, NAMES[name]
    example = _example(frames, heights)
    raise FileError(
        f"holds several slices at one position ({example}), and no time or number says soundly which belong together",
        file=path,
        mend="export the whole series again, or take out what does not belong to it",
    )


def _example(frames: Sequence[Frame], heights: Sequence[int]) -> str:
    first: dict[int, Frame] = {}
    for frame, height in zip(frames, heights, strict=True):
        if height in first:
            return f"{first[height].file} and {frame.file}"
        first[height] = frame
    return ""


def _by_key(keys: Sequence[tuple[float, ...]], heights: Sequence[int], slices: int) -> Groups | None:
    """Group by equal keys, if no slice is twice in a group and at least half of the groups are complete."""
    found: dict[tuple[float, ...], list[int]] = {}
    for number, key in enumerate(keys):
        found.setdefault(key, []).append(number)
    groups = [found[key] for key in sorted(found)]
    twice = any(len({heights[number] for number in group}) < len(group) for group in groups)
    whole = sum(len(group) == slices for group in groups)
    return None if len(groups) < 2 or twice or 2 * whole < len(groups) else groups


def _numbered(frames: Sequence[Frame], slices: int) -> list[tuple[float, ...]]:
    """Count instance numbers off in frames: sound where the first is 1, or the whole count fits."""
    numbers = [frame.order.get("instance", 0.0) for frame in frames]
    first, last = min(numbers), max(numbers)
    unique = len(set(numbers)) == len(numbers)
    sound = unique and (first == 1 or (last - first + 1) % slices == 0)
    return [((number - first) // slices,) if sound else (0.0,) for number in numbers]


def _by_rank(values: Sequence[float], heights: Sequence[int], slices: int) -> Groups | None:
    """Put the k-th frame of every slice together, if the values show that these were taken together."""
    rows: list[list[int]] = [[] for _ in range(slices)]
    for number in sorted(range(len(values)), key=lambda number: values[number]):
        rows[heights[number]].append(number)
    if any(len({values[number] for number in row}) < len(row) for row in rows):
        return None
    groups = [[row[rank] for row in rows if rank < len(row)] for rank in range(max(map(len, rows)))]
    spans = [(min(values[number] for number in group), max(values[number] for number in group)) for group in groups]
    in_turn = all(before[1] < after[0] for before, after in pairwise(spans))
    middle = [float(np.median([values[number] for number in group])) for group in groups]
    step = min((after - before for before, after in pairwise(middle)), default=0.0)
    together = all(high - low < step / 2 for low, high in spans)
    equal = len({len(row) for row in rows}) == 1
    blocks = sorted((min(values[number] for number in row), max(values[number] for number in row)) for row in rows)
    slice_by_slice = equal and all(before[1] < after[0] for before, after in pairwise(blocks))
    whole = sum(len(group) == slices for group in groups)
    sound = (in_turn or together or slice_by_slice) and whole > 1 and 2 * whole >= len(groups)
    return groups if sound else None


def _differing(points: Sequence[Sequence[Frame]]) -> str:
    names = [name for name in points[0][0].contrast if len({point[0].contrast.get(name) for point in points}) > 1]
    return ", ".join(names)


def _seconds(points: Sequence[Sequence[Frame]]) -> float:
    """Return the time from one frame to the next, 0 unless a source of times gives it evenly."""
    for source in ("offset", "begin", "trigger", "acquired"):
        times = _medians(points, source)
        steps = np.diff(times)
        if len(steps) and steps.min() > 0 and np.ptp(steps) <= EVENNESS * np.median(steps):
            return round(float(times[-1] - times[0]) / len(steps), 6)
    told = {frame.times.get("resolution", 0.0) for point in points for frame in point}
    numbers = [point[0].order.get("temporal") for point in points]
    in_turn = all(None in pair or pair[1] - pair[0] in (0, 1) for pair in pairwise(numbers))  # type: ignore[operator]
    return max(told.pop(), 0.0) if len(points) > 1 and len(told) == 1 and in_turn else 0.0


def _medians(points: Sequence[Sequence[Frame]], source: str) -> list[float]:
    if not all(source in frame.times for point in points for frame in point):
        return []
    return [float(np.median([frame.times[source] for frame in point])) for point in points]
