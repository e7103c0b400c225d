"""Deterministic steps from a raw to a prepared scan, shared by training and prediction, and the way back."""

from ankleseg.prepare.common_spacing import at_common_spacing
from ankleseg.prepare.foreground import NonZero, Otsu, Threshold, WholeImage
from ankleseg.prepare.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.prepare.pairs import FramePairs, PreparedPair, RepeatPairs
from ankleseg.prepare.placement import Placement
from ankleseg.prepare.preparation import Preparation, Prepared
from ankleseg.prepare.scaling import BrightEnd, MinMax, Percentile, Scale, ZScore
from ankleseg.prepare.scan import PreparedCase, prepare_case

__all__ = [
    "BrightEnd",
    "FramePairs",
    "LowResolution",
    "MinMax",
    "NonZero",
    "Otsu",
    "Percentile",
    "Placement",
    "Preparation",
    "Prepared",
    "PreparedCase",
    "PreparedPair",
    "RepeatPairs",
    "Scale",
    "ThickAxis",
    "Threshold",
    "WholeImage",
    "ZScore",
    "at_common_spacing",
    "prepare_case",
    "thick_scan",
]
