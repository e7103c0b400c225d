"""Lightning data modules over MONAI's datasets: patches for training and whole volumes for validation."""

from ankleseg.data.base import PatchData
from ankleseg.data.common_spacing import at_common_spacing, distances_of_slices
from ankleseg.data.datamodule import SegmentationData
from ankleseg.data.dataset import EpochSampler, PatchDataset, PatchTransforms, VolumeDataset
from ankleseg.data.label_maps import LabelMapData
from ankleseg.data.learning import as_learnt_before, learns, learnt_from
from ankleseg.data.pairs import PairData, PairDataset
from ankleseg.data.prepared_pairs import FramePairs, RepeatPairs
from ankleseg.data.reading import item_of, prepared, preparing, reading
from ankleseg.data.registration import PairedPatches, RegistrationData
from ankleseg.data.rehearsal import RehearsedPatches
from ankleseg.data.sampler import PatchSampler
from ankleseg.data.schedule import PatchSchedule
from ankleseg.data.super_resolution import SuperResolutionData

__all__ = [
    "EpochSampler",
    "FramePairs",
    "LabelMapData",
    "PairData",
    "PairDataset",
    "PairedPatches",
    "PatchData",
    "PatchDataset",
    "PatchSampler",
    "PatchSchedule",
    "PatchTransforms",
    "RegistrationData",
    "RehearsedPatches",
    "RepeatPairs",
    "SegmentationData",
    "SuperResolutionData",
    "VolumeDataset",
    "as_learnt_before",
    "at_common_spacing",
    "distances_of_slices",
    "item_of",
    "learns",
    "learnt_from",
    "prepared",
    "preparing",
    "reading",
]
