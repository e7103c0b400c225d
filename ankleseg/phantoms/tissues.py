"""Labels of a phantom: a tissue and, inside a bone, which bone."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Tissue(IntEnum):
    """Tissues by the number that marks them in a label map."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    TENDON = 4
    VESSEL = 5
    CARTILAGE = 6
    CORTEX = 7
    MARROW = 8
    GROWTH_PLATE = 9
    HEEL_PAD = 10
    JOINT_FLUID = 11


TISSUES_A_BONE = 16


def label_of(tissue: int, bone: int = 0) -> int:
    """Label of a tissue, of bone number `bone` if it is a part of one; fits a byte."""
    return int(tissue) + TISSUES_A_BONE * int(bone)


def bone_of(labels: np.ndarray) -> np.ndarray:
    """Bone number of each label, 0 outside the bones."""
    return labels // TISSUES_A_BONE


def tissue_of(labels: np.ndarray) -> np.ndarray:
    """Tissue number of each label."""
    return labels % TISSUES_A_BONE
