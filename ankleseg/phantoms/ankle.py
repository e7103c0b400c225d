"""A child's ankle drawn by seed: age, pose, bones, soft tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.bones import TALOCRURAL_AXIS, Bone, BoneModel, Variation, build_skeleton
from ankleseg.phantoms.pose import scaling
from ankleseg.phantoms.soft_tissue import SoftTissue, build_soft_tissue
from ankleseg.volumes.poses import rotation_about, translation

Group = Literal["control", "equinus"]
Side = Literal["left", "right"]

GROUPS = ("control", "equinus")
SIDES = ("left", "right")
SUBTALAR_AXIS = (-0.3, 0.7, 0.66)  # forwards, up and medially (Inman 1976)


@dataclass(frozen=True)
class Pose:
    """Angles of the joints in degrees, and where the ankle lies.

    Attributes:
        plantar_flexion: of the talus on the tibia; the foot points down.
        inversion: of the calcaneus under the talus.
        midfoot_flexion: further plantar flexion of the forefoot on the hindfoot.
        world_from_shin: 4×4 similarity that takes the right ankle's frame (mm at the average size) to the world;
            a left ankle's mirrors.
    """

    plantar_flexion: float
    inversion: float
    midfoot_flexion: float
    world_from_shin: np.ndarray

    @property
    def scale(self) -> float:
        """Size of the ankle relative to the average one."""
        return float(np.cbrt(abs(np.linalg.det(self.world_from_shin[:3, :3]))))

    @property
    def world_from_talus(self) -> np.ndarray:
        """Where the talus goes."""
        return self.world_from_shin @ rotation_about(TALOCRURAL_AXIS, -self.plantar_flexion)

    def world_from_foot(self, share: float = 1.0) -> np.ndarray:
        """Where a bone below the talus goes that follows a `share` of the subtalar motion."""
        return self.world_from_talus @ rotation_about(SUBTALAR_AXIS, self.inversion * share, (0.0, 10.0, -10.0))

    @property
    def world_from_forefoot(self) -> np.ndarray:
        """Where the cuneiform bones and the metatarsals go."""
        return self.world_from_foot(0.6) @ rotation_about((1, 0, 0), -self.midfoot_flexion, (0.0, 34.0, -12.0))

    def world_from_bone(self, bone: Bone) -> np.ndarray:
        """Where each bone goes."""
        if bone in (Bone.TIBIA, Bone.FIBULA):
            return self.world_from_shin
        if bone == Bone.TALUS:
            return self.world_from_talus
        if bone in (Bone.CALCANEUS, Bone.CUBOID):
            return self.world_from_foot()
        return self.world_from_foot(0.6) if bone == Bone.NAVICULAR else self.world_from_forefoot


@dataclass(frozen=True)
class Ankle:
    """One subject's ankle.

    Attributes:
        age: years.
        group, side: as in the cohort's table.
        pose: joint angles and place.
        skeleton: the bones, each in the common frame of the neutral right ankle.
        soft_tissue: everything around them.
        joint_space: mm at the average size.
        real: bones whose shape is given, not drawn: their neighbours make room for them.
        real_gap: least distance in mm between bones of given shape, which are cut back where they lie nearer; None
            leaves them as they are.
    """

    age: float
    group: Group
    side: Side
    pose: Pose
    skeleton: Mapping[Bone, BoneModel]
    soft_tissue: SoftTissue
    joint_space: float
    real: frozenset[Bone] = frozenset()
    real_gap: float | None = None


def draw_ankle(rng: np.random.Generator, *, group: Group = "control", side: Side | None = None) -> Ankle:
    """Draw a child's ankle; the same `rng` state gives the same ankle, mirrored if the other `side` is asked for.

    Raises:
        ConfigError: an unknown group or side.
    """
    if group not in GROUPS:
        raise ConfigError(f"invalid group {group!r}: expected {' or '.join(GROUPS)}")
    if side is not None and side not in SIDES:
        raise ConfigError(f"invalid side {side!r}: expected {' or '.join(SIDES)}")
    drawn_side: Side = "left" if rng.random() < 0.5 else "right"
    chosen = drawn_side if side is None else side
    vary = Variation(rng)
    age = float(rng.uniform(7, 14))
    # Foot length grows almost linearly from 7 to 14 years, by about a quarter in all (Anderson, Blais and Green 1956).
    scale = (0.80 + 0.033 * (age - 7)) * vary.number(1.0, 0.035)
    joint_space = vary.number(3.6 - 0.16 * (age - 7), 0.25)
    equinus = float(rng.uniform(15, 35)) if group == "equinus" else 0.0
    lean = [vary.number(0, 4) for _ in range(3)]
    place = [vary.number(0, 8) for _ in range(3)]
    tilt = rotation_about((1, 0, 0), lean[0]) @ rotation_about((0, 1, 0), lean[1]) @ rotation_about((0, 0, 1), lean[2])
    mirror = scaling((-1, 1, 1)) if chosen == "left" else np.eye(4)
    pose = Pose(
        plantar_flexion=vary.number(14, 6) + equinus,
        inversion=vary.number(0, 4),
        midfoot_flexion=vary.number(4, 4),
        world_from_shin=mirror @ translation(place) @ tilt @ scaling(scale),
    )
    skeleton = build_skeleton(vary, joint_space)
    soft_tissue = build_soft_tissue(vary, calf_shortening=0.5 * equinus)
    return Ankle(age, group, chosen, pose, skeleton, soft_tissue, joint_space)
