"""Cleaning: which scans of a cohort can be used and why not, and what can be mended without touching the files."""

from ankleseg.prepare.cleaning.case import Cleaned, CleaningRules, clean_case
from ankleseg.prepare.cleaning.cohort import clean_cohort, clean_into, derivative_name, read_cleaned, write_cleaned
from ankleseg.prepare.cleaning.sequences import CleanedSequence

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
