"""Motion of the joints: the pose of one bone relative to another, as angles and shifts in anatomical axes.

All is told as of a right foot (x lateral, y anterior, z superior): the motion of a left foot is mirrored first. So
dorsiflexion, inversion and internal rotation are positive on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from ankleseg.errors import GeometryError
from ankleseg.measures.anatomical_frames import MIRROR, SIDES, Frame
from ankleseg.volumes.poses import Pose, invert_pose, transform

JOINTS = {
    "talocrural": ("talus", "tibia"),
    "subtalar": ("calcaneus", "talus"),
    "tibiocalcaneal": ("calcaneus", "tibia"),
}  # the distal bone, in the proximal one
ANGLES = ("dorsiflexion_deg", "inversion_deg", "internal_rotation_deg")
SHIFTS = ("lateral_mm", "anterior_mm", "superior_mm")
COLUMNS = ("frame", "joint", *ANGLES, *SHIFTS, "status")
STATUSES = ("ok", "suspect", "failed")

Zero = Literal["static", "axes"]


@dataclass(frozen=True, eq=False)
class JointMotion:
    """How the distal bone of a joint moves, seen from the proximal one, frame by frame.

    Attributes:
        joint: its name, of `JOINTS`.
        poses: (T, 4, 4) in the proximal bone's axes, mm, as of a right foot; NaN where a bone is missing.
        origin: (3,) point of the distal bone whose shift is told, in the same axes.
        status: of each frame: that of the worse of the two bones.
    """

    joint: str
    poses: Float[np.ndarray, "t 4 4"]
    origin: Float[np.ndarray, "3"]
    status: tuple[str, ...]

    @property
    def angles(self) -> Float[np.ndarray, "t 3"]:
        """Dorsiflexion, inversion and internal rotation, degrees."""
        return joint_angles(self.poses[:, :3, :3])

    @property
    def shifts(self) -> Float[np.ndarray, "t 3"]:
        """Shift of the distal bone's origin to lateral, anterior and superior, mm."""
        return transform(self.poses, self.origin) - self.origin


def joint_angles(rotation: Float[np.ndarray, "*stack 3 3"]) -> Float[np.ndarray, "*stack 3"]:
    """Return dorsiflexion, inversion and internal rotation in degrees of rotations of a right foot.

    ``R = Rx(dorsiflexion) Ry(inversion) Rz(internal rotation)``: about the lateral axis of the proximal bone, the
    floating anterior axis and the superior axis of the distal bone. Unique while inversion is within ±90°.

    Source: Grood and Suntay 1983, with the axes of Wu et al. 2002.
    """
    rotation = np.asarray(rotation, float)
    dorsiflexion = np.arctan2(-rotation[..., 1, 2], rotation[..., 2, 2])
    inversion = np.arctan2(rotation[..., 0, 2], np.hypot(rotation[..., 0, 0], rotation[..., 0, 1]))
    internal = np.arctan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    return np.degrees(np.stack([dorsiflexion, inversion, internal], axis=-1))


def joint_motion(
    poses: Mapping[str, Pose],
    frames: Mapping[str, Frame],
    side: str,
    status: Mapping[str, Sequence[str]] | None = None,
    *,
    zero: Zero = "static",
) -> dict[str, JointMotion]:
    """Return the motion of every joint whose two bones have poses and frames.

    With ``J = static_from_frame(proximal) · frame_from_static(distal)`` and the bones' axes ``P`` and ``D``
    (``world_from_bone``), the pose is ``P⁻¹ J P`` for ``zero="static"``: the motion since the static scan, zero where
    both bones move alike; and ``P⁻¹ J D`` for ``zero="axes"``: where the distal bone's axes are seen from the proximal
    one, zero where the two frames coincide.

    Args:
        poses: {bone: (T, 4, 4)} ``frame_from_static``, RAS+ mm; NaN where a frame has none.
        frames: {bone: (4, 4)} ``world_from_bone`` in the static scan.
        side: ``left`` or ``right``.
        status: {bone: T of ``ok``, ``suspect``, ``failed``}; failed poses are left out. None: all that are there hold.
        zero: what the angles are told from.

    Raises:
        GeometryError: an unknown side, or numbers of frames that differ.
    """
    if side not in SIDES:
        raise GeometryError(f"invalid side {side!r}: expected {' or '.join(SIDES)}")
    known, states = _known(poses, status or {})
    motion = {}
    for joint, (distal, proximal) in JOINTS.items():
        if not {distal, proximal} <= set(known) & set(frames):
            continue
        proximal_from_world = invert_pose(frames[proximal])
        moved = proximal_from_world @ invert_pose(known[proximal]) @ known[distal]
        pose = moved @ (frames[proximal] if zero == "static" else frames[distal])
        origin = transform(proximal_from_world, frames[distal][:3, 3]) if zero == "static" else np.zeros(3)
        if side == "left":
            pose, origin = MIRROR @ pose @ MIRROR, origin * [-1, 1, 1]
        worse = [max(pair, key=STATUSES.index) for pair in zip(states[distal], states[proximal], strict=True)]
        motion[joint] = JointMotion(joint, pose, origin, tuple(worse))
    return motion


def motion_rows(motion: Mapping[str, JointMotion]) -> list[dict[str, object]]:
    """Return the table of a sequence, a row for every frame and joint, with None for what is not known."""
    rows = []
    for name, joint in motion.items():
        values = np.concatenate([joint.angles, joint.shifts], axis=1)
        for frame, (numbers, status) in enumerate(zip(values, joint.status, strict=True)):
            told = [float(number) if np.isfinite(number) else None for number in numbers]
            row = {"frame": frame, "joint": name, **dict(zip((*ANGLES, *SHIFTS), told, strict=True)), "status": status}
            rows.append(row)
    return sorted(rows, key=lambda row: row["frame"])  # type: ignore[arg-type, return-value]


def ranges_of_motion(motion: Mapping[str, JointMotion]) -> list[dict[str, object]]:
    """Return least, greatest and range (their difference) of every angle and shift, and the number of frames in it."""
    rows: list[dict[str, object]] = []
    for name, joint in motion.items():
        for measure, values in zip((*ANGLES, *SHIFTS), np.concatenate([joint.angles, joint.shifts], 1).T, strict=True):
            values = values[np.isfinite(values)]
            known = len(values) > 0
            rows.append(
                {
                    "joint": name,
                    "measure": measure,
                    "least": float(values.min()) if known else None,
                    "greatest": float(values.max()) if known else None,
                    "range": float(np.ptp(values)) if known else None,
                    "frames": len(values),
                }
            )
    return rows


def _known(
    poses: Mapping[str, Pose], status: Mapping[str, Sequence[str]]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Poses with NaN where they failed, and a status for every frame."""
    known, states = {}, {}
    for bone, stack in poses.items():
        stack = np.array(stack, float)
        there = np.isfinite(stack).all((1, 2))
        told = list(status.get(bone, ["ok"] * len(stack)))
        if len(told) != len(stack):
            raise GeometryError(
                f"{bone} has {len(stack)} poses and {len(told)} statuses", mend="give one status for each frame"
            )
        states[bone] = [state if found else "failed" for state, found in zip(told, there, strict=True)]
        stack[[state == "failed" for state in states[bone]]] = np.nan
        known[bone] = stack
    counts = {bone: len(stack) for bone, stack in known.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{bone} {count}" for bone, count in counts.items())
        raise GeometryError(f"the bones have different numbers of frames ({listed})", mend="give one sequence")
    return known, states
