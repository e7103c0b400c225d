"""Deterministic steps from a raw to a prepared scan, shared by training and prediction, and the way back."""

from ankleseg.transforms.common_spacing import at_common_spacing
from ankleseg.transforms.foreground import NonZero, Otsu, Threshold, WholeImage
from ankleseg.transforms.foreground_windows import ForegroundWindowsd
from ankleseg.transforms.intensity_range import IntensityRanged
from ankleseg.transforms.left_right import refuse_left_right, reverses_left_right
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.transforms.placement import Placement
from ankleseg.transforms.preparation import Preparation, Prepared
from ankleseg.transforms.rand_anatomical_flip import RandAnatomicalFlipd
from ankleseg.transforms.rand_coil_field import RandCoilFieldd
from ankleseg.transforms.rand_foreground_crop import RandForegroundCropd
from ankleseg.transforms.rand_gamma_in_range import RandGammaInRanged
from ankleseg.transforms.rand_noise_in_range import RandNoiseInRanged
from ankleseg.transforms.rand_scale_in_range import RandScaleInRanged
from ankleseg.transforms.rand_shift_in_range import RandShiftInRanged
from ankleseg.transforms.rand_thick_slices import RandThickSlicesd
from ankleseg.transforms.rand_world_affine import RandWorldAffined
from ankleseg.transforms.rand_world_blur import RandWorldBlurd
from ankleseg.transforms.scaling import BrightEnd, MinMax, Percentile, Scale, ZScore
from ankleseg.transforms.scan import PreparedCase, prepare_case
from ankleseg.transforms.thick_scans import ThickDraw
from ankleseg.transforms.thick_slices import ThickSlicesd
from ankleseg.transforms.windows import PatchWindows, Window

__all__ = [
    "BrightEnd",
    "ForegroundWindowsd",
    "IntensityRanged",
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
    "RandAnatomicalFlipd",
    "RandCoilFieldd",
    "RandForegroundCropd",
    "RandGammaInRanged",
    "RandNoiseInRanged",
    "RandScaleInRanged",
    "RandShiftInRanged",
    "RandThickSlicesd",
    "RandWorldAffined",
    "RandWorldBlurd",
    "Scale",
    "ThickAxis",
    "ThickDraw",
    "ThickSlicesd",
    "Threshold",
    "WholeImage",
    "Window",
    "ZScore",
    "at_common_spacing",
    "prepare_case",
    "refuse_left_right",
    "reverses_left_right",
    "thick_scan",
]
