"""Phantoms: a digital child's ankle with exact truth, and the scanner that images it or any other label map.

Names are loaded when they are first used, so that ``python -m ankleseg.phantoms --help`` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ankleseg.phantoms.ankle import Ankle, Pose, draw_ankle
    from ankleseg.phantoms.ankle_labels import AnkleLabels
    from ankleseg.phantoms.bone_masks import image_bone_masks, write_bone_mask_cohort
    from ankleseg.phantoms.bones import Bone
    from ankleseg.phantoms.cohort import ankle_scan, write_ankle_cohort
    from ankleseg.phantoms.contrast import SignalTable, random_contrast, t1_contrast
    from ankleseg.phantoms.grid import Grid
    from ankleseg.phantoms.protocol import Scan
    from ankleseg.phantoms.scanner import LabelArray, Scanner, scan
    from ankleseg.phantoms.tissues import Tissue

_HOMES = {
    "ankle": ("Ankle", "Pose", "draw_ankle"),
    "ankle_labels": ("AnkleLabels",),
    "bone_masks": ("image_bone_masks", "write_bone_mask_cohort"),
    "bones": ("Bone",),
    "cohort": ("ankle_scan", "write_ankle_cohort"),
    "contrast": ("SignalTable", "random_contrast", "t1_contrast"),
    "grid": ("Grid",),
    "protocol": ("Scan",),
    "scanner": ("LabelArray", "Scanner", "scan"),
    "tissues": ("Tissue",),
}

__all__ = [
    "Ankle",
    "AnkleLabels",
    "Bone",
    "Grid",
    "LabelArray",
    "Pose",
    "Scan",
    "Scanner",
    "SignalTable",
    "Tissue",
    "ankle_scan",
    "draw_ankle",
    "image_bone_masks",
    "random_contrast",
    "scan",
    "t1_contrast",
    "write_ankle_cohort",
    "write_bone_mask_cohort",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"ankleseg.phantoms.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
