"""Figures of bones in motion as SVG, which a page may colour, and whose cursor it may move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ankleseg.report.overlays import BAR_MM, OPPOSITE

ANGLES = {
    "dorsiflexion_deg": ("dorsiflexion +", "plantar flexion −"),
    "inversion_deg": ("inversion +", "eversion −"),
    "internal_rotation_deg": ("internal rotation +", "external rotation −"),
}
LEAST_SPAN = 4.0  # degrees that a panel shows at least, so that noise does not look like motion
LEFT, RIGHT, TOP, BOTTOM, GAP = 46.0, 12.0, 24.0, 36.0, 30.0  # pixels around and between panels
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Panel:
    """Where values go in a figure: frames 0 … count − 1 across, low … high upwards."""

    left: float
    top: float
    width: float
    height: float
    count: int
    ticks: list[float]

    def x(self, frame: float) -> float:
        return self.left + self.width * (frame / (self.count - 1) if self.count > 1 else 0.5)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return self.top + self.height * (high - value) / (high - low)

    def axes(self, title: str, below: str = "", *, numbers: bool = False) -> str:
        """Grid, ticks and title; the line at zero is stronger."""
        parts = [f'<text class="title" x="{self.left:.0f}" y="{self.top - 8:.0f}">{escape(title)}</text>']
        if below:
            end = self.left + self.width
            parts.append(f'<text class="soft" text-anchor="end" x="{end:.0f}" y="{self.top - 8:.0f}">{below}</text>')
        for tick in self.ticks:
            at, kind = self.y(tick), "zero" if abs(tick) < 1e-9 else "grid"
            parts.append(f'<path class="{kind}" d="M{self.left:.1f} {at:.1f}h{self.width:.1f}"/>')
            said = f"{tick:g}".replace("-", "−")
            parts.append(f'<text text-anchor="end" x="{self.left - 6:.1f}" y="{at + 4:.1f}">{said}</text>')
        if numbers:
            under = self.top + self.height + 16
            step = max(1, -(-self.count // 15))
            parts += [
                f'<text text-anchor="middle" x="{self.x(k):.1f}" y="{under:.1f}">{k + 1}</text>'
                for k in range(0, self.count, step)
            ]
        return "".join(parts)

    def line(self, values: np.ndarray, kind: str) -> str:
        """A line through the values that are known, broken where one is missing."""
        path, drawing = [], False
        for frame, value in enumerate(values):
            known = bool(np.isfinite(value))
            if known:
                path.append(f"{'L' if drawing else 'M'}{self.x(frame):.1f} {self.y(value):.1f}")
            drawing = known
        return f'<path class="{kind}" d="{"".join(path)}"/>' if path else ""

    def band(self, low: np.ndarray, high: np.ndarray, kind: str) -> str:
        """The area between two curves, over the frames where both are known."""
        known = np.flatnonzero(np.isfinite(low) & np.isfinite(high))
        if len(known) < 2:
            return ""
        parts = []
        for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
            there = [f"{self.x(k):.1f} {self.y(high[k]):.1f}" for k in run]
            back = [f"{self.x(k):.1f} {self.y(low[k]):.1f}" for k in run[::-1]]
            parts.append("M" + "L".join(there + back) + "Z")
        return f'<path class="{kind}" d="{"".join(parts)}"/>'


def motion_curves(rows: Rows, count: int, *, width: int = 820, height: int = 560) -> str:
    """Draw the three angles of every joint over the frames, with a cursor of the class ``cursor``.

    Points of suspect frames are hollow; a line is broken where a bone has no pose. Joints have the classes
    ``series-0``, ``series-1``, … in the order of `joints`. ``data-left``, ``data-right`` and ``data-count`` tell where
    the first and the last frame lie.

    Args:
        rows: of `ankleseg.measures.kinematics.motion_rows`.
        count: of frames of the sequence.
        width, height: of the drawing, which scales.
    """
    tall = (height - TOP - BOTTOM - GAP * (len(ANGLES) - 1)) / len(ANGLES)
    parts = []
    panel = None
    for number, (measure, (title, opposite)) in enumerate(ANGLES.items()):
        table = {joint: _curve(rows, joint, measure, count) for joint in joints(rows)}
        ticks = _ticks([value for values in table.values() for value in values])
        panel = _Panel(LEFT, TOP + number * (tall + GAP), width - LEFT - RIGHT, tall, count, ticks)
        parts.append(panel.axes(f"{title}, degrees", opposite, numbers=number == len(ANGLES) - 1))
        for index, (joint, values) in enumerate(table.items()):
            suspect = {row["frame"] for row in rows if row["joint"] == joint and row["status"] != "ok"}
            parts.append(f'<g class="series-{index}"><title>{escape(joint)}</title>' + panel.line(values, "line"))
            for frame in np.flatnonzero(np.isfinite(values)).tolist():
                kind, at = "open" if frame in suspect else "dot", (panel.x(frame), panel.y(values[frame]))
                parts.append(f'<circle class="{kind}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="3"/>')
            parts.append("</g>")
    assert panel is not None
    first, last, foot = panel.x(0), panel.x(count - 1), panel.top + panel.height
    parts.append(f'<path class="cursor" d="M0 {TOP}V{foot:.1f}" transform="translate({first:.1f})"/>')
    parts.append(f'<text class="soft" text-anchor="middle" x="{(first + last) / 2:.0f}" y="{height - 4}">frame</text>')
    about = f'data-left="{first:.1f}" data-right="{last:.1f}" data-count="{count}"'
    return _svg(width, height, "".join(parts), "joint angles over the frames", "curves", about)


def group_curves(rows: Rows, *, width: int = 1200, height: int = 720) -> str:
    """Draw the angles of every joint over the frames: every subject a thin line, every group its mean and band.

    The band is the mean ± one standard deviation of the subjects who have the frame; a group of one has none. Groups
    have the classes ``series-0``, ``series-1``, … in the order of `groups`.

    Args:
        rows: of `ankleseg.measures.kinematics.motion_rows`, with ``subject`` and ``group``, one sequence of a subject.
        width, height: of the drawing, which scales.
    """
    count = 1 + max((row["frame"] for row in rows), default=0)
    names = joints(rows)
    wide = (width - LEFT - RIGHT - (LEFT + 8) * (len(ANGLES) - 1)) / len(ANGLES)
    tall = (height - TOP - BOTTOM - GAP * (len(names) - 1)) / max(1, len(names))
    parts = []
    for line, joint in enumerate(names):
        for column, (measure, (title, _)) in enumerate(ANGLES.items()):
            subjects = {
                (group, subject): _curve([row for row in rows if row["subject"] == subject], joint, measure, count)
                for group, subject in dict.fromkeys((group_of(row), row["subject"]) for row in rows)
            }
            ticks = _ticks([value for values in subjects.values() for value in values])
            left = LEFT + column * (wide + LEFT + 8)
            panel = _Panel(left, TOP + line * (tall + GAP), wide, tall, count, ticks)
            parts.append(panel.axes(f"{joint}: {title}, degrees", numbers=line == len(names) - 1))
            for index, group in enumerate(groups(rows)):
                mine = np.array([values for (of, _), values in subjects.items() if of == group])
                mean, spread = _mean_and_spread(mine)
                drawn = [panel.line(values, "thin") for values in mine]
                drawn += [panel.band(mean - spread, mean + spread, "band"), panel.line(mean, "line")]
                parts.append(f'<g class="series-{index}"><title>{escape(group)}</title>{"".join(drawn)}</g>')
    middle = f'<text class="soft" text-anchor="middle" x="{width / 2:.0f}" y="{height - 4}">frame</text>'
    return _svg(width, height, "".join(parts) + middle, "joint angles over the frames by group", "curves")


def joints(rows: Rows) -> list[str]:
    """Return the joints in the rows, each once."""
    return list(dict.fromkeys(row["joint"] for row in rows))


def groups(rows: Rows) -> list[str]:
    """Return the groups in the rows, each once, in the order of the alphabet."""
    return sorted({group_of(row) for row in rows})


def group_of(row: Mapping[str, Any]) -> str:
    """Return the group of a row in words."""
    return str(row["group"] or "no group")


def static_overlays(slices: Mapping[str, Any], colour: Mapping[str, str]) -> list[str]:
    """Draw slices of the static scan with the outlines of its bones, each as an SVG.

    Args:
        slices: of `ankleseg.report.movie.static_slices`.
        colour: of the bones.
    """
    ratio = slices["ratio"]
    width, height = slices["width"], slices["height"] * ratio
    drawn = []
    for number, shown in enumerate(slices["shown"]):
        size = 0.06 * width
        style = f'font-size="{size:.1f}"'
        parts = [
            f'<image href="{shown["image"]}" width="{width}" height="{height:.2f}" preserveAspectRatio="none"/>',
            f'<g transform="scale(1 {ratio:.4f})">',
            *(
                f'<path d="{path}" stroke="{colour[bone]}" class="bone"><title>{escape(bone)}</title></path>'
                for bone, path in shown["own"].items()
                if path
            ),
            "</g>",
            f'<text {style} x="{0.3 * size:.1f}" y="{size:.1f}">{shown["number"]}</text>',
        ]
        if number == 0:
            parts += _directions(slices["codes"], width, height, size)
            bar = BAR_MM / slices["mm"]
            at = height - 0.6 * size
            parts += [f'<path class="{kind}" d="M{0.5 * size:.1f} {at:.1f}h{bar:.1f}"/>' for kind in ("rim", "bar")]
            parts.append(f'<text {style} x="{0.5 * size:.1f}" y="{at - 0.4 * size:.1f}">{BAR_MM} mm</text>')
        drawn.append(_svg(width, height, "".join(parts), f"slice {shown['number']} with the bones", "scan"))
    return drawn


def _directions(codes: str, width: float, height: float, size: float) -> list[str]:
    down, right = codes[0], codes[1]
    middle, edge = 0.5 * height + 0.35 * size, 0.3 * size
    places = (
        (right, width - edge, middle, "end"),
        (OPPOSITE[right], edge, middle, "start"),
        (OPPOSITE[down], width / 2, size, "middle"),
        (down, width / 2, height - edge, "middle"),
    )
    return [
        f'<text font-size="{size:.1f}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{letter}</text>'
        for letter, x, y, anchor in places
    ]


def _curve(rows: Rows, joint: str, measure: str, count: int) -> np.ndarray:
    values = np.full(count, np.nan)
    for row in rows:
        if row["joint"] == joint and row[measure] is not None:
            values[row["frame"]] = row[measure]
    return values


def _mean_and_spread(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (n − 1) at every frame, of the curves known there; NaN where there are none."""
    known = np.isfinite(curves)
    number = known.sum(axis=0)
    filled = np.where(known, curves, 0.0)
    mean = np.divide(filled.sum(axis=0), number, out=np.full(curves.shape[1], np.nan), where=number > 0)
    squares = np.where(known, (filled - mean) ** 2, 0.0).sum(axis=0)
    variance = np.divide(squares, number - 1, out=np.full(curves.shape[1], np.nan), where=number > 1)
    return mean, np.sqrt(variance)


def _ticks(values: Iterable[float]) -> list[float]:
    """Round numbers around the values and zero."""
    from matplotlib.ticker import MaxNLocator

    known = [value for value in values if np.isfinite(value)]
    low, high = min([0.0, *known]), max([0.0, *known])
    lacking = max(0.0, LEAST_SPAN - (high - low)) / 2
    ticks = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low - lacking, high + lacking)
    return [float(tick) for tick in ticks]


def _svg(width: float, height: float, content: str, alternative: str, kind: str, about: str = "") -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(alternative)}" '
        f'viewBox="0 0 {width:g} {height:.6g}" {about}>{content}</svg>'
    )
