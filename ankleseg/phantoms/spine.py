"""A spine with its cord: all that is drawn at random of it, in tables along a curved axis.

The sizes of the cord lie about those that Frostell et al. 2016 gather (Front. Neurol. 7:238), the heights of its end
about those of Saifuddin et al. 1998 (Spine 23:1452); those of canal and vertebrae are usual ones of adults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

VERTEBRAE = (*(f"C{n}" for n in range(1, 8)), *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
VERTEBRAE = (*VERTEBRAE, "S1", "S2", "S3")
# mm along the canal, each with the disc below it
NECK, CHEST = (18, 22, 18, 18, 18, 18, 19), (20, 21, 21.5, 22, 22.5, 23, 24, 24.5, 26, 27, 29, 31)
HEIGHTS = (*NECK, *CHEST, 34, 35, 36, 36, 36, 30, 27, 25)
# at mid-height, mm: cord from side to side and from back to front, dural sac, vertebral body, spinous process, degrees
# that the axis leans backwards on its way down, where in its room the cord lies (1: in front), depth below the skin
SIZES: Mapping[str, tuple[float, ...]] = {
    "C1": (11.6, 8.6, 22.5, 17.0, 13, 12, 12, 0, 0.1, 52),
    "C3": (12.6, 8.0, 20.5, 13.8, 17, 15, 20, 3, 0.2, 50),
    "C5": (13.2, 7.8, 20.0, 13.2, 19, 16, 22, 10, 0.2, 56),
    "C7": (11.6, 7.1, 18.5, 13.0, 23, 17, 36, 28, 0.2, 66),
    "T2": (9.3, 6.6, 16.0, 13.2, 28, 18, 38, 27, 0.4, 68),
    "T6": (8.5, 6.3, 15.3, 13.4, 28, 24, 40, 8, 0.5, 55),
    "T9": (8.4, 6.4, 15.4, 13.6, 33, 28, 32, -8, 0.2, 50),
    "T12": (9.5, 8.0, 17.5, 15.0, 41, 31, 28, -14, -0.2, 54),
    "L1": (9.2, 7.8, 19.0, 15.5, 43, 32, 29, -13, -0.4, 56),
    "L3": (8.0, 7.0, 19.5, 15.5, 46, 34, 32, -3, -0.5, 60),
    "L5": (8.0, 7.0, 17.0, 13.5, 50, 34, 24, 16, -0.5, 62),
    "S1": (8.0, 7.0, 15.0, 11.5, 46, 30, 10, 30, -0.5, 58),
    "S3": (8.0, 7.0, 9.0, 7.0, 30, 18, 8, 48, -0.5, 48),
}  # fmt: skip
COLUMNS = ("wide", "deep", "sac_wide", "sac_deep", "body_wide", "body_deep", "spinous", "lean", "place", "depth")
STEP = 0.05  # mm, of the tables
ABOVE = 50.0  # mm of the axis above the cord, in the brainstem
USUAL_END = 443.0  # mm from the upper to the lower end of a cord whose sizes lie at the heights above
CONUS = 32.0  # mm over which the cord tapers
STRANDS = 9  # pairs of roots below the cord


@dataclass(frozen=True)
class Spine:
    """A spine in tables along its axis, which is that of the cord and goes on below it.

    Attributes:
        along: mm from the upper end of the cord, increasing towards the feet; `STEP` apart.
        frame: position in the world (RAS+ mm), then unit vectors towards the feet, the right and the front, then the
            change of the first of these in 1/mm.
        values: by name, along the axis: those of `COLUMNS`, ``aside`` and ``forth`` of the cord in the sac (mm),
            ``below`` the upper edge of the vertebra (mm), its ``height`` and its ``disc``'s (mm),
            ``ahead`` to the skin in front (mm), and whether ``above`` the cord.
        roots: sideways and forwards from the middle of the sac, mm; far away where a root is not.
        end: mm along the axis where the cord ends.
    """

    along: Float[np.ndarray, " n"]
    frame: Float[np.ndarray, "n 15"]
    values: Mapping[str, Float[np.ndarray, " n"]]
    roots: Float[np.ndarray, "strands n 2"]
    end: float

    @cached_property
    def by_height(self) -> Int[np.ndarray, " h"]:
        """Rows of the tables by height from the lowest, half a millimetre apart."""
        height = self.frame[:, 2]
        places = np.arange(height[-1], height[0], 0.5)
        return np.interp(-places, -height, np.arange(len(height))).astype(np.int32)

    def at_height(self, heights: Float[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Return the row where the axis has about these heights, mm of the world."""
        place = (heights - self.frame[-1, 2]) * 2
        return self.by_height[np.clip(place, 0, len(self.by_height) - 1).astype(np.int32)]

    def row(self, along: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
        """Return the row nearest to places along the axis, mm."""
        return np.clip((along + (ABOVE + STEP / 2)) * (1 / STEP), 0, len(self.along) - 1).astype(np.int32)

    def locate(
        self, points: Float[np.ndarray, "3 m"]
    ) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Return for points in the world the row of the section that they lie in, and mm to the right and to the front.

        Sections are perpendicular to the axis; two steps of Newton's method lead to them from the point's height.
        """
        row = self.at_height(points[2])
        for _ in range(2):
            position, down, _, _, bend = np.split(self.frame[row], 5, axis=1)
            offset = points.T - position
            slope = np.maximum(1 - np.einsum("mi,mi->m", offset, bend), 0.3)
            row = self.row(self.along[row] + np.einsum("mi,mi->m", offset, down) / slope)
        position, _, right, front, _ = np.split(self.frame[row], 5, axis=1)
        offset = points.T - position
        return row, np.einsum("mi,mi->m", offset, right), np.einsum("mi,mi->m", offset, front)

    def outside(self, points: Float[np.ndarray, "3 m"]) -> Float[np.ndarray, " m"]:
        """Return about how far points lie outside the surface of the cord, mm, negative within and far above it."""
        row, right, front = self.locate(points)
        wide, deep = (np.maximum(self.values[name][row] / 2, 1e-3) for name in ("wide", "deep"))
        return np.maximum((np.hypot(right / wide, front / deep) - 1) * np.minimum(wide, deep), -self.along[row])


def draw_spine(rng: np.random.Generator, *, straight: float = 1.0) -> Spine:
    """Draw a spine; its curves are multiplied by `straight`."""
    tops = np.concatenate([[0], np.cumsum(HEIGHTS)]) * float(np.clip(rng.normal(1, 0.04), 0.9, 1.1))
    along = np.arange(-ABOVE, tops[-1], STEP)
    end = float(tops[VERTEBRAE.index("L1")] + np.clip(rng.normal(0.6, 0.35), -0.5, 1.5) * 34)
    values = _sizes(rng, along, tops, end)
    number = np.clip(np.searchsorted(tops, along, side="right") - 1, 0, len(HEIGHTS) - 1)
    share = np.interp(number, [0, 1, 6, 7, 16, 19, 23, 24, 26], [0, 0.27, 0.27, 0.2, 0.2, 0.28, 0.28, 0.08, 0.06])
    below = np.where(along < 0, 0.45 * HEIGHTS[0], along - tops[number])  # above the atlas the skull, all bone
    values |= {"below": below, "height": np.diff(tops)[number], "disc": share * np.diff(tops)[number]}
    values["above"] = along < 0
    values["ahead"] = np.interp(along, [-40, 45, 75, 130, 200, 600], [150, 125, 62, 75, 135, 145])
    frame = _frame(rng, along, straight * values.pop("lean"), straight)
    single = {name: column.astype(bool if name == "above" else np.float32) for name, column in values.items()}
    return Spine(along.astype(np.float32), frame, single, _roots(rng, along, tops, values, end), end)


def _smooth(rng: np.random.Generator, along: np.ndarray, amplitude: float, apart: float) -> np.ndarray:
    """A smooth random curve of a standard deviation of about `amplitude`, whose knots are so many mm apart."""
    from scipy.interpolate import CubicSpline

    knots = np.arange(along[0], along[-1] + apart, apart)
    return CubicSpline(knots, amplitude * np.clip(rng.normal(size=len(knots)), -1.8, 1.8))(along)


def _sizes(rng: np.random.Generator, along: np.ndarray, tops: np.ndarray, end: float) -> dict[str, np.ndarray]:
    """The columns of `SIZES` of one subject, and where in the sac the cord lies."""
    from scipy.interpolate import PchipInterpolator

    middles = [np.mean(tops[[VERTEBRAE.index(name), VERTEBRAE.index(name) + 1]]) for name in SIZES]
    curves = [PchipInterpolator(middles, column) for column in zip(*SIZES.values(), strict=True)]
    inside = np.clip(along, middles[0], middles[-1])
    values = dict(zip(COLUMNS, (curve(inside) for curve in curves), strict=True))
    stretched = np.clip(along * USUAL_END / end, middles[0], middles[-1])
    for name, spread in (("wide", 0.07), ("deep", 0.07), ("sac", 0.06), ("body", 0.06), ("depth", 0.15)):
        factor = np.clip(rng.normal(1, spread), 1 - 2 * spread, 1 + 2 * spread) + _smooth(rng, along, 0.015, 25)
        for column in [column for column in COLUMNS if column.startswith(name)]:
            values[column] = factor * (values[column] if spread != 0.07 else curves[COLUMNS.index(column)](stretched))
    taper = np.clip((along - (end - CONUS)) / CONUS, 0, 1)
    medulla = np.clip(-along / 30, 0, 1) ** 1.5
    values["wide"] *= (1 - taper**2) ** 0.6 * (1 + medulla)
    values["deep"] *= (1 - taper**2) ** 0.6 * (1 + medulla)
    ending = np.clip(1 - (along - tops[VERTEBRAE.index("S2")]) / 20, 0, 1) ** 0.5  # of the sac
    for side, least, most in (("wide", 15.0, 23.0), ("deep", 11.5, 18.0)):
        sac = np.clip(values[f"sac_{side}"], least, most)
        sac = np.where(along > tops[VERTEBRAE.index("L5")], values[f"sac_{side}"], sac)
        values[f"sac_{side}"] = np.maximum(sac, values[side] + 3) * ending
    place = np.clip(values.pop("place") + _smooth(rng, along, 0.25, 60), -0.8, 0.8)
    values["aside"] = np.clip(_smooth(rng, along, 0.15, 60), -0.6, 0.6) * (values["sac_wide"] - values["wide"]) / 2
    values["forth"] = place * (values["sac_deep"] - values["deep"]) / 2
    return values


def _frame(rng: np.random.Generator, along: np.ndarray, lean: np.ndarray, straight: float) -> np.ndarray:
    """The axis with its unit vectors, from how far it leans backwards on its way down, degrees."""
    back = np.radians(lean + straight * (_smooth(rng, along, 4.0, 70) + np.clip(rng.normal(0, 4), -8, 8)))
    side = np.radians(straight * _smooth(rng, along, 1.5, 80))
    down = np.stack([np.sin(side), -np.sin(back) * np.cos(side), -np.cos(back) * np.cos(side)], 1)
    position = np.cumsum(down, axis=0) * STEP
    position -= position[np.searchsorted(along, 0.0)]
    right = np.array([1.0, 0, 0]) - down[:, :1] * down
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    bend = np.gradient(down, STEP, axis=0)
    return np.concatenate([position, down, right, np.cross(right, down), bend], 1).astype(np.float32)


def _roots(
    rng: np.random.Generator, along: np.ndarray, tops: np.ndarray, values: Mapping[str, np.ndarray], end: float
) -> Float[np.ndarray, "strands n 2"]:
    """The cauda equina: pairs of roots that leave one after the other, those of the sacrum behind and in the middle."""
    half = np.stack([values["sac_wide"], values["sac_deep"]], 1) / 2
    strands = []
    leaving = np.interp(np.arange(STRANDS), [0, STRANDS - 1], tops[[VERTEBRAE.index("L2"), VERTEBRAE.index("S2")]])
    for pair in range(STRANDS):
        for side in (-1, 1):
            late = pair / (STRANDS - 1)
            aside = side * (0.72 - 0.6 * late) + rng.normal(0, 0.07) + _smooth(rng, along, 0.04, 30)
            forth = rng.uniform(-0.85, -0.2) + 0.35 * (1 - late) + _smooth(rng, along, 0.05, 30)
            out = np.clip(1 - (leaving[pair] - along) / 28, 0, 1) ** 2  # on the way to its foramen
            place = np.stack([aside + out * (1.05 * side - aside), forth * (1 - out)], 1)
            place *= np.minimum(1, 0.86 / np.maximum(np.linalg.norm(place, axis=1), 1e-3) + out)[:, None]
            absent = (along < end - 60) | (along > leaving[pair] + 2)
            strands.append(np.where(absent[:, None], 1e3, place * half))
    filum = np.stack([0.05 * half[:, 0], -0.6 * half[:, 1]], 1)
    strands.append(np.where((along < end - 2)[:, None], 1e3, filum))
    return np.array(strands, np.float32)
