"""Labels of a head: a tissue and, in the cerebrum, on which side it lies."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from jaxtyping import Bool


class BrainTissue(IntEnum):
    """Tissues of a head by the number that marks them in a label map."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    EYE = 6
    LENS = 7
    CSF = 8
    DURA = 9
    VESSEL = 10
    CORTEX = 11
    WHITE_MATTER = 12
    MYELINATED = 13
    VENTRICLE = 14
    THALAMUS = 15
    CAUDATE = 16
    LENTIFORM = 17
    HIPPOCAMPUS = 18
    CEREBELLAR_CORTEX = 19
    CEREBELLAR_WHITE_MATTER = 20
    BRAINSTEM = 21


class Hemisphere(IntEnum):
    """Sides of the head by the number that marks them in a label map."""

    NEITHER = 0
    LEFT = 1
    RIGHT = 2


TISSUES_A_SIDE = 32
SIDES = (Hemisphere.LEFT, Hemisphere.RIGHT)
INTRACRANIAL = frozenset(tissue for tissue in BrainTissue if tissue >= BrainTissue.CSF)
DEEP_GREY = frozenset({BrainTissue.THALAMUS, BrainTissue.CAUDATE, BrainTissue.LENTIFORM})
SIDED = frozenset(  # parts of a cerebral hemisphere
    BrainTissue[name]
    for name in "CORTEX WHITE_MATTER MYELINATED VENTRICLE THALAMUS CAUDATE LENTIFORM HIPPOCAMPUS".split()
)
CEREBELLUM = frozenset({BrainTissue.CEREBELLAR_CORTEX, BrainTissue.CEREBELLAR_WHITE_MATTER})


def brain_label(tissue: int, side: int = Hemisphere.NEITHER) -> int:
    """Label of a tissue, on one side where it is a part of a cerebral hemisphere; fits a byte."""
    return int(tissue) + TISSUES_A_SIDE * int(side)


def brain_tissue_of(labels: np.ndarray) -> np.ndarray:
    """Tissue number of each label."""
    return labels % TISSUES_A_SIDE


def hemisphere_of(labels: np.ndarray) -> np.ndarray:
    """Side of each label, 0 for what is no part of a cerebral hemisphere."""
    return labels // TISSUES_A_SIDE


def _members(tissues: frozenset[BrainTissue]) -> Bool[np.ndarray, "256"]:
    return np.isin(brain_tissue_of(np.arange(256)), list(tissues))


def _on_side(side: Hemisphere, tissues: frozenset[BrainTissue]) -> Bool[np.ndarray, "256"]:
    return _members(tissues) & (hemisphere_of(np.arange(256)) == side)


def brain_structures() -> Mapping[str, Bool[np.ndarray, "256"]]:
    """Which labels belong to each structure that is written as a mask.

    ``left_hemisphere`` is the cerebral hemisphere with its cortex, white matter, nuclei and lateral ventricle;
    ``left_inner`` is that without the cortex, so that ``left_cortex``, ``right_cortex``, ``left_inner`` and
    ``right_inner`` are disjoint.
    """
    return {
        "cortex": _members(frozenset({BrainTissue.CORTEX})),
        "white_matter": _members(frozenset({BrainTissue.WHITE_MATTER, BrainTissue.MYELINATED})),
        "ventricles": _members(frozenset({BrainTissue.VENTRICLE})),
        "deep_grey": _members(DEEP_GREY),
        "cerebellum": _members(CEREBELLUM),
        "brainstem": _members(frozenset({BrainTissue.BRAINSTEM})),
        "csf": _members(frozenset({BrainTissue.CSF})),
        "intracranial": _members(INTRACRANIAL),
        **{f"{side.name.lower()}_cortex": _on_side(side, frozenset({BrainTissue.CORTEX})) for side in SIDES},
        **{f"{side.name.lower()}_hemisphere": _on_side(side, SIDED) for side in SIDES},
        **{f"{side.name.lower()}_inner": _on_side(side, SIDED - {BrainTissue.CORTEX}) for side in SIDES},
    }
