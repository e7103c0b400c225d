"""One final Lightning module a task; network, loss and optimiser are injected."""

from ankleseg.tasks.base import Task
from ankleseg.tasks.schedules import polynomial_decay
from ankleseg.tasks.segmentation import Segmentation, ValidatedCase
from ankleseg.tasks.watching import CrashCheckpoint, History, ValidationOverlays

__all__ = [
    "CrashCheckpoint",
    "History",
    "Segmentation",
    "Task",
    "ValidatedCase",
    "ValidationOverlays",
    "polynomial_decay",
]
