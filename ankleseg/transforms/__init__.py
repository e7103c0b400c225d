"""Deterministic steps from a raw to a prepared scan, shared by training and prediction, and the way back."""

from ankleseg.transforms.common_spacing import at_common_spacing
from ankleseg.transforms.foreground import NonZero, Otsu, Threshold, WholeImage
from ankleseg.transforms.foreground_windows import ForegroundWindowsd
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.transforms.placement import Placement
from ankleseg.transforms.preparation import Preparation, Prepared
from ankleseg.transforms.rand_foreground_crop import RandForegroundCropd
from ankleseg.transforms.scaling import BrightEnd, MinMax, Percentile, Scale, ZScore
from ankleseg.transforms.scan import PreparedCase, prepare_case
from ankleseg.transforms.windows import PatchWindows, Window

__all__ = [
    "BrightEnd",
    "ForegroundWindowsd",
    "LowResolution",
    "MinMax",
    "NonZero",
    "Otsu",
    "PatchWindows",
    "Percentile",
    "Placement",
    "Preparation",
    "Prepared",
    "PreparedCase",
    "RandForegroundCropd",
    "Scale",
    "ThickAxis",
    "Threshold",
    "WholeImage",
    "Window",
    "ZScore",
    "at_common_spacing",
    "prepare_case",
    "thick_scan",
]
