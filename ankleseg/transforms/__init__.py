"""What MONAI lacks for MRI of joints, brains and cords, as MONAI dictionary transforms; they mix with its own."""

from ankleseg.transforms.clip_spikes import ClipSpikesd
from ankleseg.transforms.foreground_mask import ForegroundMaskd
from ankleseg.transforms.intensity_scale import Scale, scales_of
from ankleseg.transforms.load_references import LoadReferencesd
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis, thick_scan
from ankleseg.transforms.mirror_to_side import MirrorToSided
from ankleseg.transforms.normalize_in_foreground import NormalizeInForegroundd
from ankleseg.transforms.preparation import Preparation
from ankleseg.transforms.resample_to_spacing import ResampleToSpacingd
from ankleseg.transforms.scale_in_foreground import ScaleInForegroundd
from ankleseg.transforms.slices_last import SlicesLastd

__all__ = [
    "ClipSpikesd",
    "ForegroundMaskd",
    "LoadReferencesd",
    "LowResolution",
    "MirrorToSided",
    "NormalizeInForegroundd",
    "Preparation",
    "ResampleToSpacingd",
    "Scale",
    "ScaleInForegroundd",
    "SlicesLastd",
    "ThickAxis",
    "scales_of",
    "thick_scan",
]
