"""From the numbers of a head to smooth fields on grids: what is where, the folds included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.phantoms import brain_template as template
from ankleseg.phantoms.brain import FOLIA, Brain
from ankleseg.phantoms.brain_folds import distance_inside, ended_sheet, grow_folds, valley_distance
from ankleseg.phantoms.brain_grid import HeadGrid
from ankleseg.phantoms.grid import FAR, Field
from ankleseg.phantoms.shapes import smooth_maximum, smooth_minimum
from ankleseg.volumes.geometry import bounding_box

# mm of a newborn's head
FALX_GAP = 0.8  # between the midplane and a hemisphere
FISSURES = 2.6  # from one fissure of the cerebellum to the next, at a radius of 12 mm
APEX = (-15.0, -17.0)  # y and z of the line that they run out from


@dataclass(frozen=True)
class Outlines:
    """Distances on the coarse grid: bodies, negative inside.

    Attributes:
        hemispheres: the two, parted by the falx, before folding.
        depth: below the surface of the hemispheres, mm.
        core: what joins the hemispheres under the folds.
        unfolded: the core and the ventricles, which no sulcus comes near.
        brain: cerebrum, cerebellum and brainstem.
        cavity: inside of the skull.
        bone: outside of the skull.
        skin: outside of the head.
        pattern: gyri positive, sulci negative.
    """

    hemispheres: np.ndarray
    depth: np.ndarray
    core: np.ndarray
    unfolded: np.ndarray
    brain: np.ndarray
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
    depth, pattern = _folds(brain, coarse, hemispheres)
    unfolded = np.minimum(core, template.lateral_ventricle(points) - brain.ventricles)
    return Outlines(
        hemispheres=hemispheres,
        depth=depth,
        core=core.reshape(shape),
        unfolded=unfolded.reshape(shape),
        brain=full.reshape(shape),
        cavity=cavity.reshape(shape),
        bone=bone.reshape(shape),
        skin=skin.reshape(shape),
        pattern=pattern,
    )


def _folds(brain: Brain, coarse: HeadGrid, hemispheres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth below the surface of the hemispheres, and the pattern of their folds; far from them it is 0."""
    from scipy.ndimage import map_coordinates

    depth, pattern = -hemispheres, np.zeros_like(hemispheres)
    box = bounding_box(hemispheres < 3 * coarse.spacing)
    level, points = hemispheres[box], coarse.points[(slice(None), *box)]
    flat = points.reshape(3, -1)
    inside = np.where(level < 0, distance_inside(level, coarse.spacing), -level)
    noise, forcing = brain.fold_noise(flat).reshape(level.shape), _constant_sulci(flat).reshape(level.shape)
    grown = grow_folds(noise, inside, brain.wavelength, coarse.spacing, forcing)
    # Sulci bend sideways, more the deeper they go.
    share = np.clip(inside / 8.0, 0, 1) / np.float32(coarse.spacing)
    places = np.indices(level.shape, np.float32)
    for place, component in zip(places, brain.lean, strict=True):
        place += share * component(flat).reshape(level.shape)
    depth[box], pattern[box] = inside, map_coordinates(grown, places, order=3, mode="nearest")
    return depth, pattern


def _constant_sulci(points: np.ndarray) -> np.ndarray:
    """Where every brain has a sulcus: added to the pattern as it grows."""
    mirrored = template.right(points)
    nearest = np.full(points.shape[1], FAR, np.float32)
    for line in template.CONSTANT_SULCI:
        np.minimum(nearest, template.polyline_distance(mirrored, line), out=nearest)
    return -1.5 * np.exp(-((nearest / 2.6) ** 2))


def cortex(brain: Brain, outline: Outlines, coarse: HeadGrid, fine: HeadGrid) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the outer and the inner surface of the cortex, on the fine grid."""
    from scipy.ndimage import gaussian_filter

    hemispheres, depth, core, unfolded, pattern = (
        coarse.onto(values, fine)
        for values in (outline.hemispheres, outline.depth, outline.core, outline.unfolded, outline.pattern)
    )
    variation = coarse.onto(coarse.evaluate(brain.depth_variation), fine)
    bottom = np.clip(brain.sulcal_depth + variation, 3.0, 16.0)
    width = brain.sulcal_width + 0.5 * np.exp(-np.maximum(depth, 0) / 1.2)
    beside = valley_distance(pattern, depth, brain.wavelength, fine.spacing) - width
    sulci = ended_sheet(beside, depth - bottom)
    sulci = np.minimum(sulci, sylvian_fissure(fine.points, brain.sulcal_width))
    np.maximum(sulci, 3.2 - unfolded, out=sulci)
    outer = smooth_maximum(hemispheres, -sulci, 1.0)
    within = distance_inside(np.minimum(outer, core), fine.spacing)
    thickness = brain.thickness + coarse.onto(coarse.evaluate(brain.thickness_variation), fine)
    return outer, thickness - gaussian_filter(within, 0.6)


def sylvian_fissure(points: np.ndarray, width: float) -> np.ndarray:
    """Distance to the fissure above the temporal lobe, with the sulcus around the insula at its bottom."""
    side, y, z = np.abs(points[0]), points[1], points[2]
    height = z - (4.0 - 0.27 * y - 0.10 * side)
    opening = np.maximum(np.abs(height - 1.0 - np.sin(y / 6)) * 0.95 - width, np.maximum(25.0 - side, -24 - y))
    insula = np.maximum(np.abs(side - 25.5) - width, np.maximum(np.abs(y - 3) - 15, np.abs(height - 1) - 7.5))
    return np.minimum(opening, insula)


def cerebellum(brain: Brain, nuclei: HeadGrid, fine: HeadGrid) -> tuple[Field, Field]:
    """Distances to the outer and the inner surface of the cerebellar cortex.

    The fissures run out from a line from side to side near the fourth ventricle.
    """
    smooth = nuclei.onto(nuclei.evaluate(template.cerebellum), fine)
    box = bounding_box(smooth < 0.3, 3)
    smooth = smooth[box]
    points = fine.points[(slice(None), *box)]
    up, back = points[2] - APEX[1], APEX[0] - points[1]
    radius = np.maximum(np.hypot(up, back), 3.0)
    wobble = brain.folia_wobble(points.reshape(3, -1)).reshape(radius.shape)
    place = (12.0 * np.arctan2(up, back) + wobble) / FISSURES
    number = np.rint(place)
    beside = np.abs(place - number) * (FISSURES / 12.0) * radius - 0.30
    bottom = brain.folia_depths[number.astype(int) % FOLIA]
    outer = smooth_maximum(smooth, -ended_sheet(beside, -smooth - bottom), 0.4)
    inner = 0.95 - distance_inside(outer, fine.spacing)
    start = np.array([part.start for part in box])
    return Field(outer.astype(np.float32), start), Field(inner.astype(np.float32), start)
