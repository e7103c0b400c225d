"""Cohorts: who was scanned, where the files are, and how subjects are split. Paths, but for `read_reference`."""

from ankleseg.cohorts.case import Case, Cohort, Reference, in_order, spare_inputs
from ankleseg.cohorts.dynamic import is_dynamic, load_dynamic
from ankleseg.cohorts.references import read_reference
from ankleseg.cohorts.repeats import load_repeats
from ankleseg.cohorts.scan_pairs import FollowUps, ScanPair, ScanPairs, ScanToScan, ToAtlas
from ankleseg.cohorts.sequences import SequenceHeader, read_sidecar
from ankleseg.cohorts.sources import load_cohort
from ankleseg.cohorts.splits import Explicit, HoldOutGroup, KFold, LeaveOneOut, Split

__all__ = [
    "Case",
    "Cohort",
    "Explicit",
    "FollowUps",
    "HoldOutGroup",
    "KFold",
    "LeaveOneOut",
    "Reference",
    "ScanPair",
    "ScanPairs",
    "ScanToScan",
    "SequenceHeader",
    "Split",
    "ToAtlas",
    "in_order",
    "is_dynamic",
    "load_cohort",
    "load_dynamic",
    "load_repeats",
    "read_reference",
    "read_sidecar",
    "spare_inputs",
]
