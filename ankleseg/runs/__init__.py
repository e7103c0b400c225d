"""A run: its folder, its trainer, and the test that ends it."""

from ankleseg.runs.beginning import as_source, begun, freezing
from ankleseg.runs.folder import Manifest, cohort_root, resumed
from ankleseg.runs.network import description_of, labels_of, prepared_by, warn_of_norms, with_sizes
from ankleseg.runs.source import data_of, report_forgetting
from ankleseg.runs.testing import test
from ankleseg.runs.trainer import epochs_of, precision_of, quiet_libraries, slurm_tasks, trainer_of

__all__ = [
    "Manifest",
    "as_source",
    "begun",
    "cohort_root",
    "data_of",
    "description_of",
    "epochs_of",
    "freezing",
    "labels_of",
    "precision_of",
    "prepared_by",
    "quiet_libraries",
    "report_forgetting",
    "resumed",
    "slurm_tasks",
    "test",
    "trainer_of",
    "warn_of_norms",
    "with_sizes",
]
