"""Losses: of segmentations by logits, of restored and sharp images, of a critic, and a penalty on weights."""

from ankleseg.losses.deep_supervision import deep_supervision
from ankleseg.losses.penalties import WeightPenalty
from ankleseg.losses.restoration import CorrelationWeighted, MeanSquaredError
from ankleseg.losses.segmentation import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    DiceCrossEntropy,
    DiceLoss,
    Focal,
    GeneralisedDice,
)
from ankleseg.losses.super_resolution import SharpSegmentation, gradient_penalty, slope_of

__all__ = [
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "CorrelationWeighted",
    "DiceCrossEntropy",
    "DiceLoss",
    "Focal",
    "GeneralisedDice",
    "MeanSquaredError",
    "SharpSegmentation",
    "WeightPenalty",
    "deep_supervision",
    "gradient_penalty",
    "slope_of",
]
