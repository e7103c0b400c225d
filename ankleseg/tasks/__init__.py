"""One final Lightning module a task; network, loss and optimiser are injected."""

from ankleseg.tasks.base import Task, ValidatedCase
from ankleseg.tasks.norm_statistics import FrozenStatistics
from ankleseg.tasks.registration import Registration
from ankleseg.tasks.restoration import Restoration
from ankleseg.tasks.schedules import polynomial_decay
from ankleseg.tasks.segmentation import Segmentation
from ankleseg.tasks.segsrgan import SegSRGAN
from ankleseg.tasks.watching import CrashCheckpoint, History, LastValidation, ValidationOverlays

__all__ = [
    "CrashCheckpoint",
    "FrozenStatistics",
    "History",
    "LastValidation",
    "Registration",
    "Restoration",
    "SegSRGAN",
    "Segmentation",
    "Task",
    "ValidatedCase",
    "ValidationOverlays",
    "polynomial_decay",
]
