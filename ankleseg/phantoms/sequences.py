"""Dynamic sequences of a subject: drawn, imaged and written beside the static scan, their truth apart from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.ankle import Ankle, Side
from ankleseg.phantoms.cycle import Cycle, JointRange, draw_joint_range
from ankleseg.phantoms.dynamic_protocol import (
    DYNAMIC_CONTRASTS,
    DYNAMIC_PROTOCOLS,
    TASKS,
    DynamicProtocol,
    DynamicSettings,
    Task,
    draw_dynamic_grid,
)
from ankleseg.phantoms.dynamic_scan import DynamicScan, dynamic_phantom
from ankleseg.phantoms.exam import HEEL, Exam, ankle_exam, motion_generators
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.model_angles import ANGLES
from ankleseg.phantoms.moving_anatomy import MovingAnatomy, build_moving_anatomy
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.phantoms.protocol import Contrast, Scan, Size
from ankleseg.phantoms.scanner import draw_textures
from ankleseg.volumes import write_volume
from ankleseg.volumes.poses import transform


@dataclass(frozen=True)
class MovingSubject:
    """A subject after the static scan, who can be imaged in motion any number of times.

    Attributes:
        ankle: as it lay in the static scan.
        scan: the static scan.
        anatomy: what moves, with the contrast of the dynamic scans.
        joints: how far.
        protocol: matrix of the frames.
        name, seed: of the subject; with the task they decide everything that a sequence draws.
    """

    ankle: Ankle
    scan: Scan
    anatomy: MovingAnatomy
    joints: JointRange
    protocol: DynamicProtocol
    name: str
    seed: int

    def sequence(self, task: Task = "active", settings: DynamicSettings | None = None) -> DynamicScan:
        """Take a dynamic sequence; the same task and settings give the same one.

        Raises:
            ConfigError: an unknown task.
        """
        if task not in TASKS:
            raise ConfigError(f"invalid task {task!r}: expected {' or '.join(TASKS)}")
        settings = settings or DynamicSettings()
        rng = motion_generators(self.name, self.seed)[1 + TASKS.index(task)]
        cycle = Cycle(self.ankle, self.joints, settings, task, rng)
        return dynamic_phantom(self.anatomy, cycle, self._field_of_view(cycle, settings, rng), settings, rng)

    def _field_of_view(self, cycle: Cycle, settings: DynamicSettings, rng: np.random.Generator) -> Grid:
        """A field of view round the moving ankle that ends below the upper end of what the static scan shows."""
        poses = cycle.poses(np.arange(settings.frames, dtype=float))
        affine = self.scan.affine
        tibia = np.argwhere(self.scan.masks["tibia"])
        highest = tibia[tibia[:, 1] == tibia[:, 1].max()].astype(float)
        bones = np.concatenate([np.argwhere(mask)[::50] for mask in self.scan.masks.values()]).astype(float)
        heel = (self.ankle.pose.world_from_foot() @ HEEL)[:3]
        return draw_dynamic_grid(
            self.protocol,
            settings,
            affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0),
            top=transform(poses["tibia"], transform(affine, highest)).reshape(-1, 3),
            heel=transform(poses["calcaneus"], heel[None])[:, 0],
            middle=transform(poses["talus"], transform(affine, bones)).reshape(-1, 3).mean(0),
            rng=rng,
        )


def moving_subject(exam: Exam, name: str, size: Size, seed: int, contrast: Contrast) -> MovingSubject:
    """Take the static scan of an exam, and make what its dynamic sequences are sampled from."""
    before = deepcopy(exam.scanning)
    scan = exam.take()
    shared = motion_generators(name, seed)[0]
    joints = draw_joint_range(exam.ankle, shared)
    table = DYNAMIC_CONTRASTS[contrast](shared)
    # Patches of marrow and septa are anatomy, the same as in the static scan; the fine grain is drawn anew.
    _, patches, septa = draw_textures(exam.grid, exam.scanner, before)
    grain = LatticeNoise(shared, exam.grid.extent, exam.scanner.grain_mm)
    protocol = DYNAMIC_PROTOCOLS[size]
    anatomy = build_moving_anatomy(exam.labels, table, [grain, patches, septa], exam.grid, protocol)
    return MovingSubject(exam.ankle, scan, anatomy, joints, protocol, name, seed)


def moving_ankle(
    name: str, *, size: Size = "demo", seed: int = 0, side: Side | None = None, contrast: Contrast = "t1"
) -> MovingSubject:
    """Draw one subject of a cohort and take its static scan; `MovingSubject.sequence` takes the dynamic ones.

    Args:
        name: as in `ankle_names`: ``sub-C01`` is a control, ``sub-E01`` has equinus.
        size, seed, side, contrast: as in `write_ankle_cohort`; all scans are those it would write.
    """
    exam = ankle_exam(name, size=size, seed=seed, side=side, contrast=contrast)
    return moving_subject(exam, name, size, seed, contrast)


def ankle_sequence(
    name: str,
    *,
    size: Size = "demo",
    seed: int = 0,
    side: Side | None = None,
    contrast: Contrast = "t1",
    task: Task = "active",
    **settings: Any,
) -> tuple[Ankle, Scan, DynamicScan]:
    """Draw one subject of a cohort, take its static scan and one dynamic sequence.

    Args:
        name, size, seed, side, contrast: as in `moving_ankle`.
        task: ``active`` or ``passive``.
        settings: attributes of `DynamicSettings`.

    Raises:
        ConfigError: an unknown task or a setting out of its range.
    """
    asked = DynamicSettings(**settings)
    subject = moving_ankle(name, size=size, seed=seed, side=side, contrast=contrast)
    return subject.ankle, subject.scan, subject.sequence(task, asked)


def write_sequence(root: Path, subject: str, task: str, sequence: DynamicScan) -> None:
    """Write a sequence with its sidecar into a BIDS folder, and its truth under ``derivatives/truth``."""
    name = f"{subject}_task-{task}"
    images, truth = root / subject / "dyn", root / "derivatives" / "truth" / subject / "dyn"
    for folder in (images, truth):
        folder.mkdir(parents=True, exist_ok=True)
    write_volume(images / f"{name}_dynamic.nii.gz", sequence.frames, sequence.affine)
    sidecar = {
        "SliceThickness": float(sequence.thickness_mm),
        "SpacingBetweenSlices": float(sequence.thickness_mm + sequence.gap_mm),
        "RepetitionTime": sequence.seconds,
    }
    (images / f"{name}_dynamic.json").write_text(json.dumps(sidecar, indent=2) + "\n")
    for bone, mask in sequence.masks.items():
        write_volume(truth / f"{name}_label-{bone}_mask.nii.gz", mask, sequence.affine)
    (truth / f"{name}_poses.json").write_text(_poses_json(sequence.poses))
    rows = [",".join(("frame", "joint", *ANGLES))]
    for joint, angles in sequence.angles.items():
        rows += [",".join([str(frame), joint, *(f"{angle:.4f}" for angle in row)]) for frame, row in enumerate(angles)]
    (truth / f"{name}_angles.csv").write_text("\n".join(rows) + "\n")


def _poses_json(poses: Mapping[str, np.ndarray]) -> str:
    rows = [
        {"frame": frame, "bone": bone, "status": "ok", "correlation": None, "frame_from_static": pose.tolist()}
        for frame in range(len(next(iter(poses.values()))))
        for bone, pose in ((bone, stack[frame]) for bone, stack in poses.items())
    ]
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
