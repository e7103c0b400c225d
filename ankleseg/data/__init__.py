"""Patches for training and whole volumes for validation."""

from ankleseg.data.augmentation import Augmentation, AugmentationDraw
from ankleseg.data.base import PatchData
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import EpochSampler, PatchDataset, VolumeDataset
from ankleseg.data.pairs import PairData, PairDataset, PairVolumes
from ankleseg.data.prepared_pairs import FramePairs, PreparedPair, RepeatPairs
from ankleseg.data.sampling import PatchSampler, PatchWindows, Window
from ankleseg.data.schedule import PatchSchedule
from ankleseg.data.source import PatchSource
from ankleseg.data.super_resolution import SeenThick, SuperResolutionData, ThickPatches, ThickVolumes
from ankleseg.data.thick import ThickDraw, ThickScans, thick_pair, thick_volume

__all__ = [
    "Augmentation",
    "AugmentationDraw",
    "EpochSampler",
    "FramePairs",
    "PairData",
    "PairDataset",
    "PairVolumes",
    "PatchData",
    "PatchDataset",
    "PatchSampler",
    "PatchSchedule",
    "PatchSource",
    "PatchWindows",
    "PreparedPair",
    "RepeatPairs",
    "SeenThick",
    "SegmentationData",
    "SuperResolutionData",
    "ThickDraw",
    "ThickPatches",
    "ThickScans",
    "ThickVolumes",
    "VolumeDataset",
    "Window",
    "thick_pair",
    "thick_volume",
]
