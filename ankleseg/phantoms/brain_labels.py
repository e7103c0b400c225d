"""From a head to labels on a grid: layers of smooth fields, painted one over the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ankleseg.phantoms import brain_template as template
from ankleseg.phantoms.brain import Brain
from ankleseg.phantoms.brain_fields import cerebellum, cortex, outlines
from ankleseg.phantoms.brain_grid import Function, HeadGrid, ObliqueReader, small_part
from ankleseg.phantoms.brain_tissues import SIDED, TISSUES_A_SIDE, BrainTissue, Hemisphere, brain_label
from ankleseg.phantoms.grid import Field, FieldReader, Grid, trimmed

# mm of a newborn's head
OUTLINE_SPACING = 1.5  # skin, skull, hulls and the pattern of the folds
NUCLEI_SPACING = 0.9
CORTEX_SPACING = 0.6
PLANES_AT_ONCE = 16  # painted together, to bound the memory

# added to a label on either side of the midplane
LEFT, RIGHT = (
    np.array([brain_label(0, side) if tissue in SIDED else 0 for tissue in range(TISSUES_A_SIDE)], np.uint8)
    for side in (Hemisphere.LEFT, Hemisphere.RIGHT)
)


@dataclass(frozen=True)
class Layer:
    """A field that is painted where it is negative.

    Attributes:
        tissue: what is painted.
        field: values on a part of `grid`.
        grid: where they lie.
    """

    tissue: BrainTissue
    field: Field
    grid: Grid


class BrainLabels:
    """Labels of a head at the voxel centres of any grid (a `LabelSource` of the scanner).

    The head is evaluated once, on grids along `field_of_view`; it is read from them cubically, or linearly by a grid
    that is oblique to them. Beyond the field of view there is air.

    Args:
        brain: the subject.
        field_of_view: what is evaluated.
    """

    def __init__(self, brain: Brain, field_of_view: Grid) -> None:
        self._field_of_view = field_of_view
        self._layers, self._midline = _layers(brain, field_of_view)

    def __call__(self, grid: Grid) -> UInt8[np.ndarray, "x y z"]:
        own_from_grid = np.linalg.inv(self._field_of_view.affine) @ grid.affine
        along = np.abs(own_from_grid[:3, :3])
        order = along.argmax(1)  # axis of the grid along each axis of the field of view
        if sorted(order) != [0, 1, 2] or np.sort(along, 0)[1].max() > 1e-5 * along.max():
            return self._painted(grid, ObliqueReader)
        first, second, third = (grid.shape[axis] for axis in order)
        lying = Grid((first, second, third), grid.affine[:, [*order, 3]])
        return np.transpose(self._painted(lying, FieldReader), np.argsort(order))

    def _painted(self, grid: Grid, reading: type[FieldReader] | type[ObliqueReader]) -> np.ndarray:
        readers = [(np.uint8(layer.tissue), reading(layer.field, layer.grid, grid)) for layer in self._layers]
        middle = reading(self._midline.field, self._midline.grid, grid)
        rows, columns, count = grid.shape
        labels = np.zeros((rows, count, columns), np.uint8)
        for start in range(0, count, PLANES_AT_ONCE):
            planes = range(start, min(start + PLANES_AT_ONCE, count))
            slab = labels[:, planes.start : planes.stop]
            for tissue, reader in readers:
                found = reader.block(planes)
                if found is not None:
                    part, distances = found
                    np.copyto(slab[part], tissue, where=distances < 0)
            found = middle.block(planes)
            if found is not None:
                part, distances = found
                slab[part] += np.where(distances < 0, LEFT[slab[part]], RIGHT[slab[part]])
        return np.moveaxis(labels, 1, 2)


def _whole(values: np.ndarray) -> Field:
    return Field(np.ascontiguousarray(values, np.float32), np.zeros(3, int))


def _layers(brain: Brain, grid: Grid) -> tuple[list[Layer], Layer]:
    """Fields in the order they are painted; and the distance to the right of the midplane."""
    coarse = HeadGrid(brain, grid, OUTLINE_SPACING)
    outline = outlines(brain, coarse)
    nuclei = HeadGrid(brain, grid, NUCLEI_SPACING, coarse)
    fine = HeadGrid(brain, grid, CORTEX_SPACING, coarse, around=outline.brain < coarse.spacing)
    layers: list[Layer] = []

    def paint(tissue: BrainTissue, field: Field, own: HeadGrid = coarse) -> None:
        layers.append(Layer(tissue, trimmed(field), own.grid))

    def paint_small(tissue: BrainTissue, function: Function, grow: float = 0.0) -> None:
        paint(tissue, small_part(function, coarse, nuclei, grow), nuclei)

    skin, bone, cavity = outline.skin, outline.bone, outline.cavity
    paint(BrainTissue.SKIN, _whole(skin))
    paint(BrainTissue.FAT, _whole(skin + 1.0))
    muscles = brain.depth_variation(coarse.points.reshape(3, -1)).reshape(skin.shape)
    paint(BrainTissue.MUSCLE, _whole(np.maximum(skin + 3.6, -1.6 - muscles)))
    paint_small(BrainTissue.FAT, template.orbits)
    paint_small(BrainTissue.EYE, template.eyes)
    paint_small(BrainTissue.LENS, template.lenses)
    paint(BrainTissue.BONE, _whole(bone))
    paint(BrainTissue.CSF, _whole(cavity))
    falx = np.maximum(cavity, -4.0 - coarse.points[2])
    paint(BrainTissue.DURA, _whole(np.maximum(falx, coarse.points[0] - 0.3)))
    paint(BrainTissue.CSF, _whole(np.maximum(falx, coarse.points[0] + 0.3)))
    outer, inner = cortex(brain, outline, coarse, fine)
    paint(BrainTissue.CORTEX, _whole(outer), fine)
    paint(BrainTissue.WHITE_MATTER, _whole(inner), fine)
    paint(BrainTissue.WHITE_MATTER, _whole(outline.core))
    paint_small(BrainTissue.MYELINATED, template.internal_capsule)
    for tissue, function in (
        (BrainTissue.LENTIFORM, template.lentiform),
        (BrainTissue.CAUDATE, template.caudate),
        (BrainTissue.THALAMUS, template.thalamus),
        (BrainTissue.HIPPOCAMPUS, template.hippocampus),
    ):
        paint_small(tissue, function)
    paint_small(BrainTissue.VENTRICLE, template.lateral_ventricle, brain.ventricles)
    folia, arbor = cerebellum(brain, nuclei, fine)
    paint(BrainTissue.CEREBELLAR_CORTEX, folia, fine)
    paint(BrainTissue.CEREBELLAR_WHITE_MATTER, arbor, fine)
    paint_small(BrainTissue.CEREBELLAR_WHITE_MATTER, template.middle_peduncle)
    paint_small(BrainTissue.BRAINSTEM, template.brainstem)
    paint_small(BrainTissue.VENTRICLE, template.third_ventricle)
    paint_small(BrainTissue.VENTRICLE, template.fourth_ventricle)
    return layers, Layer(BrainTissue.AIR, _whole(coarse.points[0]), coarse.grid)
