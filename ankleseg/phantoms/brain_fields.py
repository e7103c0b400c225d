"""From the numbers of a head to smooth fields on grids: what is where, the folds included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ankleseg.phantoms import brain_template as template
from ankleseg.phantoms.brain import FOLIA, Brain
from ankleseg.phantoms.brain_folds import distance_inside, ended_sheet, grow_folds, valley_distance
from ankleseg.phantoms.grid import Field, FieldReader, Grid
from ankleseg.phantoms.shapes import smooth_maximum, smooth_minimum
from ankleseg.volumes.geometry import bounding_box

# mm of a newborn's head
OUTLINE_SPACING = 1.5  # skin, skull, hulls and the pattern of the folds
NUCLEI_SPACING = 0.9
CORTEX_SPACING = 0.6
FALX_GAP = 0.8  # between the midline and a hemisphere
PADDING = 3


class HeadGrid:
    """A grid that covers a field of view, with the places of its nodes in the average head.

    Args:
        brain: the subject.
        grid: field of view, in the world.
        spacing: mm of a newborn's head.
        coarse: grid whose places are interpolated; None evaluates them.
    """

    def __init__(self, brain: Brain, grid: Grid, spacing: float, coarse: HeadGrid | None = None) -> None:
        self.spacing = spacing
        self.grid = grid.resized(grid.spacing / (spacing * brain.scale), (PADDING,) * 3)
        if coarse is None:
            first, second, third = (np.arange(side, dtype=np.float32) for side in self.grid.shape)
            columns = (self.grid.affine[:3] / brain.scale).astype(np.float32).reshape(3, 4, 1, 1, 1)
            points = columns[:, 2] * third + columns[:, 3] + columns[:, 1] * second[:, None]
            points = points + columns[:, 0] * first[:, None, None]
            self.points = brain.template_points(points.reshape(3, -1)).reshape(points.shape)
        else:
            self.points = np.stack([coarse.onto(axis, self) for axis in coarse.points])

    def onto(self, values: np.ndarray, other: HeadGrid) -> np.ndarray:
        """Values on this grid, interpolated on a finer one."""
        return interpolated(values, self.grid, other.grid)

    def evaluate(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Values of a function of points (3, n) of the average head."""
        return function(self.points.reshape(3, -1)).reshape(self.grid.shape)


def interpolated(values: np.ndarray, own: Grid, other: Grid) -> np.ndarray:
    """Values on one grid, interpolated cubically on another along the same axes, which lies within it."""
    reader = FieldReader(Field(values, np.zeros(3, int)), own, other)
    found = reader.block(range(other.shape[2]))
    result = np.full((other.shape[0], other.shape[2], other.shape[1]), 99, np.float32)
    if found is not None:
        result[found[0]] = found[1]
    return np.moveaxis(result, 1, 2)


@dataclass(frozen=True)
class Outlines:
    """Distances on the coarse grid: bodies, negative inside.

    Attributes:
        hemispheres: the two, parted by the falx, before folding.
        depth: below the surface of the hemispheres, mm.
        core: what joins the hemispheres under the folds.
        cavity: inside of the skull.
        bone: outside of the skull.
        skin: outside of the head.
        pattern: gyri positive, sulci negative.
    """

    hemispheres: np.ndarray
    depth: np.ndarray
    core: np.ndarray
    cavity: np.ndarray
    bone: np.ndarray
    skin: np.ndarray
    pattern: np.ndarray


def outlines(brain: Brain, coarse: HeadGrid) -> Outlines:
    """Evaluate the head without its folds, and grow their pattern."""
    points = coarse.points.reshape(3, -1)
    cerebrum = template.cerebrum(points)
    core = template.core(points)
    parted = smooth_maximum(cerebrum, FALX_GAP - np.abs(points[0]), 1.5)
    hind = smooth_minimum(template.cerebellum(points), template.brainstem(points), 4.0)
    full = smooth_minimum(cerebrum, hind, 8.0)
    cavity = smooth_minimum(full - brain.fluid - brain.fluid_variation(points), template.spinal_canal(points), 3.0)
    bone = cavity - brain.skull
    skin = smooth_minimum(bone - brain.scalp, template.face(points), 10.0)
    shape = coarse.grid.shape
    hemispheres = parted.reshape(shape)
    depth = _signed_depth(hemispheres, coarse.spacing)
    pattern = grow_folds(
        brain.fold_noise(points).reshape(shape), depth, brain.wavelength, coarse.spacing, _constant_sulci(points, shape)
    )
    return Outlines(hemispheres, depth, *(values.reshape(shape) for values in (core, cavity, bone, skin)), pattern)


def _signed_depth(level: np.ndarray, spacing: float) -> np.ndarray:
    return distance_inside(level, spacing) - distance_inside(-level, spacing)


def _constant_sulci(points: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Where every brain has a sulcus: added to the pattern as it grows."""
    mirrored = template.right(points)
    forcing = np.zeros(points.shape[1], np.float32)
    for line in template.CONSTANT_SULCI:
        distance = template.polyline_distance(mirrored, line)
        np.maximum(forcing, np.exp(-((distance / 2.6) ** 2)), out=forcing)
    return -1.5 * forcing.reshape(shape)


def cortex(brain: Brain, outline: Outlines, coarse: HeadGrid, fine: HeadGrid) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the outer and the inner surface of the cortex, on the fine grid."""
    hemispheres, depth, core, pattern = (
        coarse.onto(values, fine) for values in (outline.hemispheres, outline.depth, outline.core, outline.pattern)
    )
    variation = coarse.onto(coarse.evaluate(brain.depth_variation), fine)
    bottom = np.clip(brain.sulcal_depth + variation, 3.0, 16.0)
    width = brain.sulcal_width + 0.5 * np.exp(-np.maximum(depth, 0) / 1.2)
    beside = valley_distance(pattern, brain.wavelength, fine.spacing) - width
    sulci = ended_sheet(beside, depth - bottom)
    sulci = np.minimum(sulci, sylvian_fissure(fine.points, brain.sulcal_width))
    np.maximum(sulci, 3.2 - core, out=sulci)
    outer = smooth_maximum(hemispheres, -sulci, 1.0)
    within = distance_inside(np.minimum(outer, core), fine.spacing)
    thickness = brain.thickness + coarse.onto(coarse.evaluate(brain.thickness_variation), fine)
    from scipy.ndimage import gaussian_filter

    inner = thickness - gaussian_filter(within, 0.6)
    return outer, inner


def sylvian_fissure(points: np.ndarray, width: float) -> np.ndarray:
    """Distance to the fissure above the temporal lobe, with the sulcus around the insula at its bottom."""
    side, y, z = np.abs(points[0]), points[1], points[2]
    height = z - (1.0 - 0.27 * y + 0.10 * (30 - side))
    bent = height - 1.0 * np.sin(y / 6)
    opening = np.maximum(np.maximum(np.abs(bent) * 0.95 - width, 25.0 - side), -24 - y)
    insula = np.maximum(
        np.maximum(np.abs(side - 25.5 - 0.02 * (y - 2) ** 2 * (y > 2) * 0.0) - width, np.abs(y - 3) - 15),
        np.abs(height - 1) - 7.5,
    )
    return np.minimum(opening, insula)


def cerebellum(brain: Brain, nuclei: HeadGrid, fine: HeadGrid) -> tuple[Field, Field]:
    """Distances to the outer and the inner surface of the cerebellar cortex, folia included."""
    smooth = nuclei.onto(nuclei.evaluate(template.cerebellum), fine)
    box = bounding_box(smooth < 0.3, 3)
    smooth = smooth[box]
    points = fine.points[(slice(None), *box)]
    flat = points.reshape(3, -1)
    up, back = points[2] + 17.0, -(points[1] + 15.0)
    radius = np.maximum(np.hypot(up, back), 3.0)
    place = np.arctan2(up, back) * (12.0 / 3.2) + brain.folia_wobble(flat).reshape(radius.shape) / 3.2
    number = np.rint(place)
    beside = np.abs(place - number) * 3.2 * radius / 12.0 - 0.32
    bottom = brain.folia_depths[number.astype(int) % FOLIA]
    outer = smooth_maximum(smooth, -ended_sheet(beside, -smooth - bottom), 0.4)
    inner = 1.05 - distance_inside(outer, fine.spacing)
    start = np.array([part.start for part in box])
    return Field(outer.astype(np.float32), start), Field(inner.astype(np.float32), start)


def small_part(
    function: Callable[[np.ndarray], np.ndarray], coarse: HeadGrid, nuclei: HeadGrid, grow: float = 0.0
) -> Field:
    """Distance to a small body, on the part of the middle grid that holds it."""
    every = 2
    rough = function(coarse.points[:, ::every, ::every, ::every].reshape(3, -1))
    rough = rough.reshape(tuple(len(range(0, side, every)) for side in coarse.grid.shape))
    near = rough < 4.0 + grow
    if not near.any():
        return Field(np.ones((0, 0, 0), np.float32), np.zeros(3, int))
    middle_from_coarse = np.linalg.inv(nuclei.grid.affine) @ coarse.grid.affine
    found = np.argwhere(near) * every @ middle_from_coarse[:3, :3].T + middle_from_coarse[:3, 3]
    low = np.maximum(np.floor(found.min(0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(found.max(0)).astype(int) + 3, nuclei.grid.shape)
    box = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    points = nuclei.points[(slice(None), *box)]
    values = function(points.reshape(3, -1)).reshape(points.shape[1:]) - grow
    return Field(values.astype(np.float32, copy=False), low)
