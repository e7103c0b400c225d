"""Deterministic steps from a raw to a prepared scan, shared by training and prediction, and the way back."""

from ankleseg.prepare.common_spacing import at_common_spacing
from ankleseg.prepare.foreground import NonZero, Otsu, Threshold, WholeImage
from ankleseg.prepare.placement import Placement
from ankleseg.prepare.preparation import Preparation, Prepared
from ankleseg.prepare.scaling import MinMax, Percentile, ZScore
from ankleseg.prepare.scan import PreparedCase, prepare_case

__all__ = [
    "MinMax",
    "NonZero",
    "Otsu",
    "Percentile",
    "Placement",
    "Preparation",
    "Prepared",
    "PreparedCase",
    "Threshold",
    "WholeImage",
    "ZScore",
    "at_common_spacing",
    "prepare_case",
]
