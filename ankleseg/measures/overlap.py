"""Overlap of two masks, with a rule for empty ones that cannot flatter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import GeometryError

OverlapStatus = Literal["ok", "both empty", "missed", "invented"]


@dataclass(frozen=True)
class Overlap:
    """Overlap of a prediction with its reference; all four measures lie in [0, 1], or are None where not applicable.

    ``status``: ``ok``; ``both empty`` (not applicable, all None); ``missed`` (only the reference has voxels) and
    ``invented`` (only the prediction has), where all four measures are 0.
    """

    status: OverlapStatus
    dice: float | None
    iou: float | None
    precision: float | None
    recall: float | None


def overlap(prediction: Bool[np.ndarray, "..."], reference: Bool[np.ndarray, "..."]) -> Overlap:
    """Measure the overlap of two masks on one grid.

    With P and R the sets of voxels: Dice = 2|P∩R| / (|P|+|R|), IoU = |P∩R| / |P∪R|, precision = |P∩R| / |P|,
    recall = |P∩R| / |R|. When exactly one of them is empty every measure is 0, also the one that would be 0/0:
    leaving it out of a mean would make a method better the more it misses.

    Args:
        prediction: mask of any shape.
        reference: mask of the same shape.

    Raises:
        GeometryError: the shapes differ.

    Source: Dice 1945; Taha and Hanbury, BMC Medical Imaging 2015, sections on overlap.
    """
    require_one_shape(prediction, reference)
    predicted = int(np.count_nonzero(prediction))
    true = int(np.count_nonzero(reference))
    if not predicted and not true:
        return Overlap("both empty", None, None, None, None)
    if not predicted or not true:
        return Overlap("missed" if true else "invented", 0.0, 0.0, 0.0, 0.0)
    shared = int(np.count_nonzero(prediction & reference))
    return Overlap(
        "ok",
        dice=2 * shared / (predicted + true),
        iou=shared / (predicted + true - shared),
        precision=shared / predicted,
        recall=shared / true,
    )


def require_one_shape(prediction: np.ndarray, reference: np.ndarray) -> None:
    """Raise GeometryError unless two masks have the same shape (numpy would broadcast some that differ)."""
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"a prediction of shape {prediction.shape} cannot be compared with a reference of shape {reference.shape}",
            mend="bring both to one grid",
        )


def expected_dice(probability: Float[np.ndarray, "..."], mask: Bool[np.ndarray, "..."]) -> float | None:
    """Dice that a mask has on average if each voxel belongs to the structure with the probability that is said of it.

    2 Σ_mask p / (Σ p + |mask|): the soft Dice of a mask with the probabilities that it was made of. It is as right as
    the probabilities are, and networks are mostly too sure. None where the mask is empty.

    Args:
        probability: of each voxel, 0 to 1.
        mask: of the same shape.

    Raises:
        GeometryError: the shapes differ.

    Source: Borges, Pacheco and Silva 2024 (arXiv:2402.10665), soft Dice confidence.
    """
    require_one_shape(mask, probability)
    size = int(np.count_nonzero(mask))
    if not size:
        return None
    inside = float(probability[mask].sum(dtype=np.float64))
    return 2 * inside / (float(probability.sum(dtype=np.float64)) + size)
