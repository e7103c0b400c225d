"""Losses: of segmentations by logits, of restored and sharp images, of registration; a critic, a penalty on weights."""

from ankleseg.losses.penalties import WeightPenalty
from ankleseg.losses.restoration import CorrelationWeighted, MeanSquaredError
from ankleseg.losses.segmentation import BinaryCrossEntropy, CategoricalCrossEntropy, DiceCrossEntropy, DiceLoss
from ankleseg.losses.similarity import LocalCorrelation
from ankleseg.losses.smoothness import Diffusion, InverseConsistency
from ankleseg.losses.super_resolution import SharpSegmentation, gradient_penalty, slope_of

__all__ = [
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "CorrelationWeighted",
    "DiceCrossEntropy",
    "DiceLoss",
    "Diffusion",
    "InverseConsistency",
    "LocalCorrelation",
    "MeanSquaredError",
    "SharpSegmentation",
    "WeightPenalty",
    "gradient_penalty",
    "slope_of",
]
