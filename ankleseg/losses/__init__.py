"""Losses: of segmentations by logits, of restored and sharp images, of registration; a critic, a penalty on weights."""

from ankleseg.losses.deep_supervision import deep_supervision
from ankleseg.losses.penalties import L2SP, WeightPenalty
from ankleseg.losses.registration import RegistrationLoss
from ankleseg.losses.restoration import CorrelationWeighted, MeanSquaredError
from ankleseg.losses.segmentation import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    DiceCrossEntropy,
    DiceLoss,
    Focal,
    GeneralisedDice,
)
from ankleseg.losses.similarity import LocalCorrelation
from ankleseg.losses.smoothness import Diffusion, InverseConsistency
from ankleseg.losses.super_resolution import SharpSegmentation, gradient_penalty, slope_of

__all__ = [
    "L2SP",
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "CorrelationWeighted",
    "DiceCrossEntropy",
    "DiceLoss",
    "Diffusion",
    "Focal",
    "GeneralisedDice",
    "InverseConsistency",
    "LocalCorrelation",
    "MeanSquaredError",
    "RegistrationLoss",
    "SharpSegmentation",
    "WeightPenalty",
    "deep_supervision",
    "gradient_penalty",
    "slope_of",
]
