"""Cleaning: which scans of a cohort can be used and why not, and what can be mended without touching the files."""

from ankleseg.motion.cleaning.case import Cleaned, CleaningRules, clean_case
from ankleseg.motion.cleaning.cohort import clean_cohort, clean_into, derivative_name, read_cleaned, write_cleaned
from ankleseg.motion.cleaning.sequences import CleanedSequence

__all__ = [
    "Cleaned",
    "CleanedSequence",
    "CleaningRules",
    "clean_case",
    "clean_cohort",
    "clean_into",
    "derivative_name",
    "read_cleaned",
    "write_cleaned",
]
