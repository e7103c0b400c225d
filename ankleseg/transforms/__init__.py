"""What MONAI lacks for MRI of joints, brains and cords, as MONAI dictionary transforms; they mix with its own."""

from ankleseg.transforms.centreline_from_label import CentrelineFromLabeld
from ankleseg.transforms.clip_spikes import ClipSpikesd
from ankleseg.transforms.crop_along_centreline import CropAlongCentrelined
from ankleseg.transforms.decode_labels import DecodeLabelsd
from ankleseg.transforms.foreground_mask import ForegroundMaskd
from ankleseg.transforms.foreground_windows import ForegroundWindowsd
from ankleseg.transforms.intensity_range import IntensityRanged
from ankleseg.transforms.intensity_scale import Scale, scales_of
from ankleseg.transforms.left_right import refuse_left_right, reverses_left_right
from ankleseg.transforms.load_references import LoadReferencesd
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.transforms.mirror_to_side import MirrorToSided
from ankleseg.transforms.normalize_by_cohort import NormalizeByCohortd
from ankleseg.transforms.normalize_in_foreground import NormalizeInForegroundd
from ankleseg.transforms.nyul import NyulStandardized
from ankleseg.transforms.preparation import Preparation
from ankleseg.transforms.rand_anatomical_flip import RandAnatomicalFlipd
from ankleseg.transforms.rand_centreline_jitter import RandCentrelineJitterd
from ankleseg.transforms.rand_coil_field import RandCoilFieldd
from ankleseg.transforms.rand_field_of_view import RandFieldOfViewd
from ankleseg.transforms.rand_foreground_crop import RandForegroundCropd
from ankleseg.transforms.rand_gamma_in_range import RandGammaInRanged
from ankleseg.transforms.rand_ghost import RandGhostd
from ankleseg.transforms.rand_image_from_labels import RandImageFromLabelsd
from ankleseg.transforms.rand_shapes_in_label import RandShapesInLabeld
from ankleseg.transforms.rand_slice_from_block import RandSliceFromBlockd
from ankleseg.transforms.rand_slice_spacing import RandSliceSpacingd
from ankleseg.transforms.rand_smooth_field import RandSmoothFieldd
from ankleseg.transforms.rand_thick_slices import RandThickSlicesd
from ankleseg.transforms.rand_world_affine import RandWorldAffined
from ankleseg.transforms.rand_world_blur import RandWorldBlurd
from ankleseg.transforms.resample_to_grid import ResampleToGridd
from ankleseg.transforms.resample_to_spacing import ResampleToSpacingd
from ankleseg.transforms.restore_intensities import RememberScand, RestoreIntensitiesd
from ankleseg.transforms.scale_in_foreground import ScaleInForegroundd
from ankleseg.transforms.slices_last import SlicesLastd
from ankleseg.transforms.thick_scans import ThickDraw, ThickScans
from ankleseg.transforms.thick_slices import ThickSlicesd
from ankleseg.transforms.windows import PatchWindows, Window

__all__ = [
    "CentrelineFromLabeld",
    "ClipSpikesd",
    "CropAlongCentrelined",
    "DecodeLabelsd",
    "ForegroundMaskd",
    "ForegroundWindowsd",
    "IntensityRanged",
    "LoadReferencesd",
    "LowResolution",
    "MirrorToSided",
    "NormalizeByCohortd",
    "NormalizeInForegroundd",
    "NyulStandardized",
    "PatchWindows",
    "Preparation",
    "RandAnatomicalFlipd",
    "RandCentrelineJitterd",
    "RandCoilFieldd",
    "RandFieldOfViewd",
    "RandForegroundCropd",
    "RandGammaInRanged",
    "RandGhostd",
    "RandImageFromLabelsd",
    "RandShapesInLabeld",
    "RandSliceFromBlockd",
    "RandSliceSpacingd",
    "RandSmoothFieldd",
    "RandThickSlicesd",
    "RandWorldAffined",
    "RandWorldBlurd",
    "RememberScand",
    "ResampleToGridd",
    "ResampleToSpacingd",
    "RestoreIntensitiesd",
    "Scale",
    "ScaleInForegroundd",
    "SlicesLastd",
    "ThickAxis",
    "ThickDraw",
    "ThickScans",
    "ThickSlicesd",
    "Window",
    "refuse_left_right",
    "reverses_left_right",
    "scales_of",
    "thick_scan",
]
