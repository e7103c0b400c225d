"""Real bones, given as masks, imaged as if the child lay in the scanner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.ankle import Pose, Side
from ankleseg.phantoms.bone_masks import BoneMask, dress_bones, lay_ankle, read_bones
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.cohort import EDITION, Subject, dynamic_settings, write_cohort
from ankleseg.phantoms.dynamic_protocol import TASKS, DynamicSettings
from ankleseg.phantoms.exam import Exam, subject_generators
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.protocol import (
    CONTRASTS,
    PROTOCOLS,
    STRUCTURES,
    Contrast,
    Protocol,
    Size,
    check_settings,
    draw_scanner,
)
from ankleseg.phantoms.sequences import MovingSubject, moving_subject
from ankleseg.volumes import reorient

FIELD_SPACING = 1.0  # mm; finer than for drawn bones, because real ones have smaller features


def moving_bones(
    masks: Mapping[str, str | Path],
    *,
    side: Side,
    size: Size = "demo",
    seed: int = 0,
    name: str = "sub-R01",
    contrast: Contrast = "t1",
) -> MovingSubject:
    """Image real bones inside made-up soft tissue, on a grid along the axes of the tibia's file, at rest and in motion.

    The field of view ends just below the upper end of the tibia's mask, so that nothing of the shin is made up.

    Args:
        masks: file of each structure: ``calcaneus``, ``talus``, ``tibia``.
        side: which foot it is.
        size, contrast: as in `write_ankle_cohort`.
        seed, name: another of either gives other soft tissue, other small bones, another scan.

    Raises:
        ConfigError: a structure is missing or unknown.
        FileError: a mask cannot be used.
    """
    bones = read_bones(masks)
    exam = _bone_exam(bones, lay_ankle(bones, side), side, size, name, seed, contrast)
    return moving_subject(exam, name, size, seed, contrast)


def _bone_exam(
    bones: Mapping[Bone, BoneMask], pose: Pose, side: Side, size: Size, name: str, seed: int, contrast: Contrast
) -> Exam:
    anatomy, scanning = subject_generators(name, seed)
    ankle = dress_bones(bones, pose, side, anatomy)
    grid = _grid_around(bones, PROTOCOLS[size], scanning)
    scanner = draw_scanner(PROTOCOLS[size], contrast, scanning)
    return Exam(ankle, CONTRASTS[contrast](scanning), grid, scanner, scanning, FIELD_SPACING)


def _grid_around(bones: Mapping[Bone, BoneMask], protocol: Protocol, rng: np.random.Generator) -> Grid:
    """A sagittal field of view along the tibia file's axes that ends below the upper end of the tibia's mask."""
    tibia = bones[Bone.TIBIA]
    _, oriented = reorient(tibia.distance, tibia.affine, "PSR")
    directions = oriented[:3, :3] / np.linalg.norm(oriented[:3, :3], axis=0)
    extremes = {bone: mask.surface @ directions for bone, mask in bones.items()}
    half = np.array(protocol.shape) * protocol.spacing / 2
    everything = np.concatenate(list(extremes.values()))
    backmost, top = extremes[Bone.CALCANEUS][:, 0].max(), extremes[Bone.TIBIA][:, 1].max()
    centre = np.array(
        [
            backmost + rng.uniform(18, 28) - half[0],
            top - 3.0 - half[1],
            (everything[:, 2].min() + everything[:, 2].max()) / 2 + rng.uniform(-3, 3),
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = directions * protocol.spacing
    affine[:3, 3] = directions @ centre - affine[:3, :3] @ ((np.array(protocol.shape) - 1) / 2)
    return Grid(protocol.shape, affine)


def write_bone_mask_cohort(
    out: str | Path,
    *,
    masks: Mapping[str, str | Path],
    side: Side,
    size: Size = "demo",
    subjects: int = 1,
    seed: int = 0,
    contrast: Contrast = "t1",
    dynamic: bool = False,
    motion: DynamicSettings | None = None,
    workers: int | None = None,
) -> Path:
    """Write scans of one set of real bones, each with other soft tissue and noise, as a cohort (sub-R01…).

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        masks: file of each structure: ``calcaneus``, ``talus``, ``tibia``.
        side: which foot the masks are of.
        size, subjects, seed, contrast, dynamic, motion, workers: as in `write_ankle_cohort`.

    Raises:
        ConfigError, FileError, AnklesegError: as in `moving_bones` and `write_ankle_cohort`.
    """
    check_settings(size, side, contrast, subjects)
    if side is None:
        raise ConfigError("side is missing", mend="set side=left or side=right")
    bones = read_bones(masks)
    paths = {name: str(Path(masks[name]).resolve()) for name in STRUCTURES}
    settings = {
        "cohort": "bones", "recipe": EDITION, "masks": paths, "side": side, "size": size, "subjects": subjects,
        "seed": seed, "contrast": contrast,
    }  # fmt: skip
    settings |= dynamic_settings(dynamic, motion)
    pose = lay_ankle(bones, side)

    def make(name: str) -> Subject:
        exam = _bone_exam(bones, pose, side, size, name, seed, contrast)
        row = {"group": "bones", "side": side}
        if not dynamic:
            return Subject(exam.take(), row)
        subject = moving_subject(exam, name, size, seed, contrast)
        return Subject(subject.scan, row, {task: subject.sequence(task, motion) for task in TASKS})

    return write_cohort(out, settings, [f"sub-R{number + 1:02d}" for number in range(subjects)], make, workers)
