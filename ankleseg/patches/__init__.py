"""Patches for training and whole volumes for validation."""

from ankleseg.patches.augmentation import Augmentation, AugmentationDraw
from ankleseg.patches.base import PatchData
from ankleseg.patches.datamodule import SegmentationData
from ankleseg.patches.dataset import EpochSampler, PatchDataset, VolumeDataset
from ankleseg.patches.pairs import PairData, PairDataset, PairVolumes
from ankleseg.patches.sampling import PatchSampler, PatchWindows, Window
from ankleseg.patches.schedule import PatchSchedule
from ankleseg.patches.source import PatchSource
from ankleseg.patches.super_resolution import SeenThick, SuperResolutionData, ThickPatches, ThickVolumes
from ankleseg.patches.thick import ThickDraw, ThickScans, thick_pair, thick_volume

__all__ = [
    "Augmentation",
    "AugmentationDraw",
    "EpochSampler",
    "PairData",
    "PairDataset",
    "PairVolumes",
    "PatchData",
    "PatchDataset",
    "PatchSampler",
    "PatchSchedule",
    "PatchSource",
    "PatchWindows",
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
