"""One final Lightning module a task; network, loss and optimiser are injected."""

from ankleseg.tasks.base import Task
from ankleseg.tasks.schedules import polynomial_decay
from ankleseg.tasks.segmentation import Segmentation, ValidatedCase
from ankleseg.tasks.watching import History, ValidationOverlays

__all__ = ["History", "Segmentation", "Task", "ValidatedCase", "ValidationOverlays", "polynomial_decay"]
