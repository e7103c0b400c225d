"""Patches for training and whole volumes for validation."""

from ankleseg.patches.augmentation import Augmentation, AugmentationDraw
from ankleseg.patches.datamodule import SegmentationData
from ankleseg.patches.dataset import EpochSampler, PatchDataset, VolumeDataset
from ankleseg.patches.sampling import PatchSampler, PatchWindows, Window
from ankleseg.patches.schedule import PatchSchedule
from ankleseg.patches.source import PatchSource

__all__ = [
    "Augmentation",
    "AugmentationDraw",
    "EpochSampler",
    "PatchDataset",
    "PatchSampler",
    "PatchSchedule",
    "PatchSource",
    "PatchWindows",
    "SegmentationData",
    "VolumeDataset",
    "Window",
]
