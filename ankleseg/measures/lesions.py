"""Lesion-wise scores as in BraTS 2023: each lesion is compared alone, and a missed or invented one counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool

from ankleseg.measures.overlap import overlap, require_one_shape
from ankleseg.measures.surface import surface_distance
from ankleseg.volumes.geometry import bounding_box

WORST_MM = 374.0  # the organisers': about the diagonal of 240×240×155 voxels of 1 mm

LesionFinding = Literal["found", "missed", "invented", "left out"]


@dataclass(frozen=True)
class Lesion:
    """One lesion of the reference, or one that the prediction invented.

    ``finding``: ``found`` (a predicted component touches the dilated lesion), ``missed``, ``invented`` (of the
    prediction, ``volume_mm3`` too) or ``left out`` (of the reference, and too small to count). Dice 0 and 374 mm
    where it was missed or invented.
    """

    finding: LesionFinding
    volume_mm3: float
    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class LesionScores:
    """The lesions of a case, and their means; what is left out is in no mean and no other count."""

    lesions: tuple[Lesion, ...]

    @property
    def dice(self) -> float | None:
        """Mean over all lesions that count, found, missed and invented; None where there are none."""
        return _mean([lesion.dice for lesion in self.counted])

    @property
    def hd95_mm(self) -> float | None:
        """Mean of the distances of the same lesions."""
        return _mean([lesion.hd95_mm for lesion in self.counted])

    @property
    def counted(self) -> tuple[Lesion, ...]:
        """The lesions that the means are of."""
        return tuple(lesion for lesion in self.lesions if lesion.finding != "left out")

    def count(self, finding: LesionFinding) -> int:
        """Number of lesions of one finding."""
        return sum(lesion.finding == finding for lesion in self.lesions)


def lesion_scores(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    spacing: np.ndarray | Sequence[float],
    *,
    dilation: int = 3,
    least_mm3: float = 50.0,
) -> LesionScores:
    """Compare each lesion of the reference alone with what was predicted of it.

    Voxels of the reference belong to one lesion where the reference, dilated, is connected (26 neighbours; each of
    ``dilation`` steps takes 18), so that close pieces are one. A lesion is compared, undilated, with all predicted
    components (26 neighbours) that touch it dilated: one that touches two lesions is compared, whole, with both.
    A lesion that none touches is missed, a component that touches none invented: Dice 0 and 374 mm each. Lesions up to
    ``least_mm3`` are left out, and what touches them is not invented. An invented component counts whatever its size.

    It differs from the organisers' program in two ways. Where nothing counts, it gives Dice 1 and 0 mm: here nothing
    is applicable, so that a case without the tissue does not raise a mean. Its 95th percentile weighs surface elements
    by their area, ours (`surface_distance`) counts voxels of the surface.

    Args:
        prediction: mask.
        reference: mask of the same shape.
        spacing: size of a voxel in mm along each axis.
        dilation: steps; 3 for gliomas, 1 for meningiomas and metastases.
        least_mm3: the largest volume that is left out; 50 for gliomas and meningiomas, 2 for metastases.

    Raises:
        GeometryError: the shapes differ.

    Source: Saluja et al., program of the BraTS 2023 challenge, github.com/rachitsaluja/BraTS-2023-Metrics.
    """
    from scipy import ndimage

    require_one_shape(prediction, reference)
    size = np.asarray(spacing, dtype=float)
    if not (prediction.any() or reference.any()):
        return LesionScores(())
    box = _widened(bounding_box(prediction | reference), dilation, reference.shape)
    predicted, true = prediction[box], reference[box]
    step, touching = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
    dilated = ndimage.binary_dilation(true, step, iterations=dilation) if dilation else true
    zones, _ = ndimage.label(dilated, touching)
    components, found = ndimage.label(predicted, touching)
    both = dilated & predicted
    pairs = np.unique(np.stack([zones[both], components[both]]), axis=1)
    of_component = ndimage.find_objects(components)
    lesions = []
    for number, room in enumerate(ndimage.find_objects(zones), start=1):
        partners = pairs[1, pairs[0] == number]
        here = _around(room, [of_component[k - 1] for k in partners])
        lesion = (zones[here] == number) & true[here]
        lesions.append(_compared(np.isin(components[here], partners), lesion, size, least_mm3))
    voxels = np.bincount(components.ravel(), minlength=found + 1)
    invented = [k for k in range(1, found + 1) if k not in pairs[1]]
    lesions += [Lesion("invented", float(voxels[k] * size.prod()), 0.0, WORST_MM) for k in invented]
    return LesionScores(tuple(lesions))


def _compared(
    predicted: Bool[np.ndarray, "x y z"], lesion: Bool[np.ndarray, "x y z"], spacing: np.ndarray, least_mm3: float
) -> Lesion:
    volume = float(np.count_nonzero(lesion) * spacing.prod())
    if not predicted.any():
        return Lesion("left out" if volume <= least_mm3 else "missed", volume, 0.0, WORST_MM)
    dice, hd95_mm = overlap(predicted, lesion).dice, surface_distance(predicted, lesion, spacing).hd95_mm
    assert dice is not None and hd95_mm is not None  # neither mask is empty
    return Lesion("left out" if volume <= least_mm3 else "found", volume, dice, hd95_mm)


def _widened(box: tuple[slice, ...], margin: int, shape: Sequence[int]) -> tuple[slice, ...]:
    sides = zip(box, shape, strict=True)
    return tuple(slice(max(side.start - margin, 0), min(side.stop + margin, length)) for side, length in sides)


def _around(room: tuple[slice, ...], others: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """The smallest box that holds several."""
    axes = zip(room, *others, strict=True)
    return tuple(slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in axes)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
