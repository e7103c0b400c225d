"""Deformable registration of one scan to another: pre-alignment by ITK, a field by descent or a network, its files."""

from ankleseg.deformable.carrying import carry_labels
from ankleseg.deformable.files import Outcome, register_files
from ankleseg.deformable.mapping import Mapping
from ankleseg.deformable.prealignment import Alignment, align
from ankleseg.deformable.prediction import predictor
from ankleseg.deformable.quality import judge
from ankleseg.deformable.refinement import Descent, refine
from ankleseg.deformable.registration import Method, Predict, Registration, Settings, register
from ankleseg.deformable.scans import Scan, as_scan

__all__ = [
    "Alignment",
    "Descent",
    "Mapping",
    "Method",
    "Outcome",
    "Predict",
    "Registration",
    "Scan",
    "Settings",
    "align",
    "as_scan",
    "carry_labels",
    "judge",
    "predictor",
    "refine",
    "register",
    "register_files",
]
