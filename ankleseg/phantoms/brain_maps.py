"""Heads given as label maps, imaged by the scanner that images the drawn ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ankleseg.errors import ConfigError, FileError
from ankleseg.phantoms.brain import AGE_GROUPS, Age
from ankleseg.phantoms.brain_exam import BrainScans, brain_exam, brain_generators
from ankleseg.phantoms.brain_protocol import BrainContrast, ThickSlices, check_brain_settings
from ankleseg.phantoms.brain_tissues import BrainTissue, Hemisphere, brain_label, brain_tissue_of
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.scanner import LabelArray
from ankleseg.volumes import Volume, read_label_map, reorient
from ankleseg.volumes.geometry import bounding_box
from ankleseg.volumes.poses import translation

LARGEST = 65535  # value of a label map
MARGIN = 4.0  # mm of air around the head
NEWBORN = 230_000.0  # mm³ of cortex and white matter

_BOTH_SIDES = {
    BrainTissue.WHITE_MATTER: ((2, 25, 78, 81), (41, 57, 79, 82)),  # from 25 on lesions and hypointensities
    BrainTissue.CORTEX: ((3, *range(1000, 1036)), (42, *range(2000, 2036))),
    BrainTissue.VENTRICLE: ((4, 5, 31, 136, 137), (43, 44, 63, 163, 164)),  # from 31 on choroid plexus
    BrainTissue.THALAMUS: ((9, 10), (48, 49)),
    BrainTissue.CAUDATE: ((11, 26), (50, 58)),  # with the accumbens
    BrainTissue.LENTIFORM: ((12, 13), (51, 52)),
    BrainTissue.HIPPOCAMPUS: ((17, 18), (53, 54)),  # with the amygdala
}
_MIDDLE = {
    BrainTissue.CEREBELLAR_WHITE_MATTER: (7, 46),
    BrainTissue.CEREBELLAR_CORTEX: (8, 47),
    BrainTissue.VENTRICLE: (14, 15, 72),
    BrainTissue.BRAINSTEM: (16, 28, 60),  # with the ventral diencephalon
    BrainTissue.CSF: (24, 122, 520),
    BrainTissue.WHITE_MATTER: (77, 80, *range(251, 256)),
    BrainTissue.MYELINATED: (85, 512, 530),  # optic chiasm, spinal cord, optic nerve
    BrainTissue.VESSEL: (30, 62, 502, 514),
    BrainTissue.EYE: (259, 506),
    BrainTissue.MUSCLE: (258, 507, 508, 509),  # soft tissue of any kind, muscles of the eye, mucosa
    BrainTissue.SKIN: (511,),
    BrainTissue.BONE: (165, 515),
    BrainTissue.MARROW: (516,),
}

#: Label of a brain phantom for the values that FreeSurfer's segmentations hold, with the tissues around the brain that
#: whole-head segmentations add (Puonti et al. 2020).
FREESURFER: Mapping[int, int] = {
    0: BrainTissue.AIR,
    **{
        value: brain_label(tissue, side)
        for tissue, sides in _BOTH_SIDES.items()
        for side, values in zip((Hemisphere.LEFT, Hemisphere.RIGHT), sides, strict=True)
        for value in values
    },
    **{value: brain_label(tissue) for tissue, values in _MIDDLE.items() for value in values},
}


def image_brain_labels(
    labels: str | Path | Volume,
    *,
    table: Mapping[int, int] = FREESURFER,
    spacing: float | None = None,
    age: Age = "child",
    contrast: BrainContrast = "both",
    thick: ThickSlices | None = None,
    seed: int = 0,
    name: str = "sub-R01",
) -> BrainScans:
    """Image a label map of a head.

    Each sample takes the label of the voxel that it lies in, so a scan on a finer grid shows the voxels of the map.

    Args:
        labels: file or volume of whole numbers.
        table: label of a brain phantom (`ankleseg.phantoms.brain_tissues.brain_label`) for each value of the map.
        spacing: of the isotropic scan, mm; None: the smallest of the map. The scan lies along the axes of the map, in
            the order right, front, up, and covers all that is not air.
        age: whose tissues the labels are given.
        contrast, thick: as in `write_brain_cohort`.
        seed, name: another of either gives other signals and noise.

    Raises:
        ConfigError: a value of the map is not in the table.
        FileError: the file cannot be read, or holds other than whole numbers, or nothing but air.
    """
    check_brain_settings("full", age, contrast, 1)
    source = _source(labels if isinstance(labels, Volume) else read_label_map(labels), table)
    generators = brain_generators(name, seed)
    exam = brain_exam(_grid_around(source, spacing), age, _scale(source), generators)
    return exam.take(source, contrast, thick, {"age": age})


def _source(volume: Volume, table: Mapping[int, int]) -> LabelArray:
    data, affine = reorient(volume.data, volume.affine, "RAS")
    if data.ndim != 3 or not (data.min() >= 0 and data.max() <= LARGEST and np.array_equal(np.rint(data), data)):
        raise FileError(
            f"is not a label map: it holds other values than whole numbers from 0 to {LARGEST}",
            file=volume.path,
            mend="choose another",
        )
    values = data.astype(np.int32)
    found = np.flatnonzero(np.bincount(values.ravel()))
    unknown = [int(value) for value in found if int(value) not in table]
    if unknown:
        raise ConfigError(
            f"no tissue is known for the values {', '.join(map(str, unknown))}",
            file=volume.path,
            mend="give a table with all values of the map",
        )
    chosen = np.zeros(int(found[-1]) + 1, np.uint8)
    chosen[found] = [table[int(value)] for value in found]
    known = chosen[values]
    if not known.any():
        raise FileError("holds nothing but air", file=volume.path, mend="choose another label map")
    return LabelArray(known, affine)


def _grid_around(source: LabelArray, spacing: float | None) -> Grid:
    own = np.linalg.norm(source.affine[:3, :3], axis=0)
    margin = np.ceil(MARGIN / own).astype(int)
    box = bounding_box(source.labels != BrainTissue.AIR)
    low = np.array([part.start for part in box]) - margin
    high = np.array([part.stop for part in box]) + margin
    covered = Grid(tuple(int(side) for side in high - low), source.affine @ translation(low))  # type: ignore[arg-type]
    return covered.resized(own / (float(own.min()) if spacing is None else spacing))


def _scale(source: LabelArray) -> float:
    """Size of the brain in newborns' brains, which is that of the textures."""
    tissues = brain_tissue_of(source.labels)
    cerebrum = np.isin(tissues, [BrainTissue.CORTEX, BrainTissue.WHITE_MATTER]).sum()
    if not cerebrum:
        return AGE_GROUPS["child"].scale
    return float(np.cbrt(cerebrum * abs(np.linalg.det(source.affine[:3, :3])) / NEWBORN))
