"""Agreement of two label maps voxel by voxel, and how much of it an empty one would reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from ankleseg.measures.overlap import OverlapStatus, require_one_shape


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of a prediction with its reference; all measures lie in [0, 1], or are None where not applicable.

    ``status`` and the rule for empty ones are those of `Overlap`. ``accuracy`` and ``specificity`` count background,
    and ``empty_accuracy`` is the accuracy that a prediction without any voxel would have: only what lies above it was
    found. They are known of empty ones too.
    """

    status: OverlapStatus
    dice: float | None
    iou: float | None
    sensitivity: float | None
    specificity: float | None
    accuracy: float
    empty_accuracy: float


def label_agreement(
    prediction: Shaped[np.ndarray, "*shape"], reference: Shaped[np.ndarray, "*shape"]
) -> LabelAgreement:
    """Compare two label maps, or two masks, on one grid.

    With A the voxels that have the same label, not 0, in both, P and R those that have any: Dice = 2|A| / (|P|+|R|),
    IoU = |A| / (|P|+|R|−|A|), sensitivity = |A| / |R|, specificity = the share of the background of the reference
    that was predicted as such, accuracy = the share of all voxels with the same label. Of masks they are the usual
    ones; of label maps Dice and IoU are the generalised overlap, in which each label weighs by its voxels.

    Args:
        prediction: mask, or whole numbers, 0 the background.
        reference: of the same shape.

    Raises:
        GeometryError: the shapes differ.

    Source: Crum, Camara and Hill, TMI 2006 (generalised overlap); Taha and Hanbury, BMC Medical Imaging 2015.
    """
    require_one_shape(prediction, reference)
    predicted, true = prediction != 0, reference != 0
    p, r, total = int(np.count_nonzero(predicted)), int(np.count_nonzero(true)), true.size
    shared = int(np.count_nonzero((prediction == reference) & true))
    background = total - int(np.count_nonzero(predicted | true))
    always = {
        "specificity": background / (total - r) if total > r else None,
        "accuracy": (shared + background) / total,
        "empty_accuracy": (total - r) / total,
    }
    if not p and not r:
        return LabelAgreement("both empty", None, None, None, **always)
    if not p or not r:
        return LabelAgreement("missed" if r else "invented", 0.0, 0.0, 0.0, **always)
    overlaps = 2 * shared / (p + r), shared / (p + r - shared), shared / r
    return LabelAgreement("ok", *overlaps, **always)
