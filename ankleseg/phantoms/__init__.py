"""Phantoms: a digital child's ankle with exact truth, and the scanner that images it or any other label map.

Names are loaded when they are first used, so that ``python -m ankleseg.phantoms --help`` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ankleseg.phantoms.ankle import Ankle, Pose, draw_ankle
    from ankleseg.phantoms.ankle_labels import AnkleLabels
    from ankleseg.phantoms.bone_cohort import moving_bones, write_bone_mask_cohort
    from ankleseg.phantoms.bones import Bone
    from ankleseg.phantoms.brain import Brain, draw_brain
    from ankleseg.phantoms.brain_cohort import brain_scans, write_brain_cohort
    from ankleseg.phantoms.brain_exam import BrainScans
    from ankleseg.phantoms.brain_labels import BrainLabels
    from ankleseg.phantoms.brain_maps import FREESURFER, image_brain_labels
    from ankleseg.phantoms.brain_protocol import ThickSlices
    from ankleseg.phantoms.brain_tissues import BrainTissue
    from ankleseg.phantoms.cohort import ankle_scan, write_ankle_cohort
    from ankleseg.phantoms.contrast import SignalTable, ffe_contrast, random_contrast, t1_contrast
    from ankleseg.phantoms.cord_cohort import CordScan, cord_scan, write_cord_cohort
    from ankleseg.phantoms.cord_labels import CordLabels, CordTissue, Specimen
    from ankleseg.phantoms.dynamic_protocol import DynamicSettings
    from ankleseg.phantoms.dynamic_scan import DynamicScan, dynamic_phantom
    from ankleseg.phantoms.foot_maps import FootMap, write_foot_maps
    from ankleseg.phantoms.grid import Grid
    from ankleseg.phantoms.protocol import Scan
    from ankleseg.phantoms.scanner import LabelArray, Scanner, scan
    from ankleseg.phantoms.sequences import MovingSubject, ankle_sequence, moving_ankle
    from ankleseg.phantoms.spine import Spine, draw_spine
    from ankleseg.phantoms.tissues import Tissue
    from ankleseg.phantoms.tumour_cohort import tumour_scans, write_tumour_cohort

_HOMES = {
    "ankle": ("Ankle", "Pose", "draw_ankle"),
    "ankle_labels": ("AnkleLabels",),
    "bone_cohort": ("moving_bones", "write_bone_mask_cohort"),
    "bones": ("Bone",),
    "brain": ("Brain", "draw_brain"),
    "brain_cohort": ("brain_scans", "write_brain_cohort"),
    "brain_exam": ("BrainScans",),
    "brain_labels": ("BrainLabels",),
    "brain_maps": ("FREESURFER", "image_brain_labels"),
    "brain_protocol": ("ThickSlices",),
    "brain_tissues": ("BrainTissue",),
    "cohort": ("ankle_scan", "write_ankle_cohort"),
    "contrast": ("SignalTable", "ffe_contrast", "random_contrast", "t1_contrast"),
    "cord_cohort": ("CordScan", "cord_scan", "write_cord_cohort"),
    "cord_labels": ("CordLabels", "CordTissue", "Specimen"),
    "dynamic_protocol": ("DynamicSettings",),
    "dynamic_scan": ("DynamicScan", "dynamic_phantom"),
    "foot_maps": ("FootMap", "write_foot_maps"),
    "grid": ("Grid",),
    "protocol": ("Scan",),
    "scanner": ("LabelArray", "Scanner", "scan"),
    "sequences": ("MovingSubject", "ankle_sequence", "moving_ankle"),
    "spine": ("Spine", "draw_spine"),
    "tissues": ("Tissue",),
    "tumour_cohort": ("tumour_scans", "write_tumour_cohort"),
}

__all__ = [
    "FREESURFER",
    "Ankle",
    "AnkleLabels",
    "Bone",
    "Brain",
    "BrainLabels",
    "BrainScans",
    "BrainTissue",
    "CordLabels",
    "CordScan",
    "CordTissue",
    "DynamicScan",
    "DynamicSettings",
    "FootMap",
    "Grid",
    "LabelArray",
    "MovingSubject",
    "Pose",
    "Scan",
    "Scanner",
    "SignalTable",
    "Specimen",
    "Spine",
    "ThickSlices",
    "Tissue",
    "ankle_scan",
    "ankle_sequence",
    "brain_scans",
    "cord_scan",
    "draw_ankle",
    "draw_brain",
    "draw_spine",
    "dynamic_phantom",
    "ffe_contrast",
    "image_brain_labels",
    "moving_ankle",
    "moving_bones",
    "random_contrast",
    "scan",
    "t1_contrast",
    "tumour_scans",
    "write_ankle_cohort",
    "write_bone_mask_cohort",
    "write_brain_cohort",
    "write_cord_cohort",
    "write_foot_maps",
    "write_tumour_cohort",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"ankleseg.phantoms.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
