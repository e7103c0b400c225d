"""Deterministic steps from a raw to a prepared scan, shared by training and prediction, and the way back."""

from ankleseg.transforms.common_spacing import at_common_spacing
from ankleseg.transforms.foreground import NonZero, Otsu, Threshold, WholeImage
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.transforms.placement import Placement
from ankleseg.transforms.preparation import Preparation, Prepared
from ankleseg.transforms.scaling import BrightEnd, MinMax, Percentile, Scale, ZScore
from ankleseg.transforms.scan import PreparedCase, prepare_case

__all__ = [
    "BrightEnd",
    "LowResolution",
    "MinMax",
    "NonZero",
    "Otsu",
    "Percentile",
    "Placement",
    "Preparation",
    "Prepared",
    "PreparedCase",
    "Scale",
    "ThickAxis",
    "Threshold",
    "WholeImage",
    "ZScore",
    "at_common_spacing",
    "prepare_case",
    "thick_scan",
]
