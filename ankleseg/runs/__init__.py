"""A run: its folder, its trainer, and the test that ends it."""

from ankleseg.runs.folder import Manifest, cohort_root, resumed
from ankleseg.runs.testing import test
from ankleseg.runs.trainer import epochs_of, quiet_libraries, recipe_of, slurm_tasks, trainer_of

__all__ = [
    "Manifest",
    "cohort_root",
    "epochs_of",
    "quiet_libraries",
    "recipe_of",
    "resumed",
    "slurm_tasks",
    "test",
    "trainer_of",
]
