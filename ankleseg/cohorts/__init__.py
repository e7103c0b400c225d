"""Cohorts: who was scanned, where the files are, and how subjects are split. No pixels."""

from ankleseg.cohorts.case import Case, Cohort, Reference
from ankleseg.cohorts.sources import load_cohort
from ankleseg.cohorts.splits import Explicit, HoldOutGroup, KFold, LeaveOneOut, Split

__all__ = [
    "Case",
    "Cohort",
    "Explicit",
    "HoldOutGroup",
    "KFold",
    "LeaveOneOut",
    "Reference",
    "Split",
    "load_cohort",
]
