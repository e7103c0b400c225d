"""A cycle of dorsi- and plantar flexion: where every bone is at any time of an acquisition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ankleseg.phantoms.ankle import Ankle, Pose
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.dynamic_protocol import DynamicSettings, Task
from ankleseg.volumes.poses import rotation_about, translation

# Bones that move as one; each has the pose of its first.
RIGID_PARTS: Mapping[str, tuple[Bone, ...]] = {
    "calcaneus": (Bone.CALCANEUS,),
    "talus": (Bone.TALUS,),
    "tibia": (Bone.TIBIA,),
    "fibula": (Bone.FIBULA,),
    "cuboid": (Bone.CUBOID,),
    "navicular": (Bone.NAVICULAR,),
    "forefoot": tuple(bone for bone in Bone if bone >= Bone.MEDIAL_CUNEIFORM),
}
MOST_PLANTAR_FLEXION = 60.0  # degrees from the neutral ankle, where the heel meets the shin


@dataclass(frozen=True)
class JointRange:
    """How far one subject's ankle moves, and what goes with it.

    Attributes:
        dorsiflexion, plantar_flexion: largest rotation about the talocrural axis from the static scan, as a share of
            the range that is set.
        inversion, midfoot: degrees about the subtalar and the midfoot axis for each degree of plantar flexion.
    """

    dorsiflexion: float
    plantar_flexion: float
    inversion: float
    midfoot: float


def draw_joint_range(ankle: Ankle, rng: np.random.Generator) -> JointRange:
    """Draw a subject's range of motion; equinus leaves little dorsiflexion."""
    up, down, inversion, midfoot = rng.uniform(size=4)
    coupling = 0.08 + 0.16 * inversion, 0.05 + 0.1 * midfoot
    if ankle.group == "equinus":
        return JointRange(0.1 + 0.25 * up, 0.5 + 0.3 * down, *coupling)
    return JointRange(0.75 + 0.25 * up, 0.75 + 0.25 * down, *coupling)


class Cycle:
    """One acquisition of a moving ankle, which lies otherwise than in the static scan.

    The leg as a whole is shifted by about 10 mm and turned by 4° to 8°, and drifts by up to 1 mm and 0.7° during the
    cycle; the tibia swings and turns a little with the foot. An active run moves through the subject's range; in a
    passive one the foot is pushed further up and less far down, and the shin is held.

    Args:
        ankle: as it lies in the static scan.
        joints: the subject's range.
        settings: number of frames and largest rotation.
        task: active or passive.
        rng: draws place and course.
    """

    def __init__(
        self, ankle: Ankle, joints: JointRange, settings: DynamicSettings, task: Task, rng: np.random.Generator
    ) -> None:
        self.ankle = ankle
        self._frames = settings.frames
        passive = task == "passive"
        further, less = rng.uniform(1.05, 1.2), rng.uniform(0.85, 0.95)
        self._up = settings.range * min(joints.dorsiflexion * (further if passive else 1), 1.0)
        down = settings.range * joints.plantar_flexion * (less if passive else 1)
        self._down = min(down, max(MOST_PLANTAR_FLEXION - ankle.pose.plantar_flexion, 6.0))
        self._joints = joints
        self._offset, self._skew = rng.uniform(-0.5, 0.5), rng.uniform(-0.3, 0.3)
        self._hysteresis = rng.uniform(-1.5, 1.5, 2) * (settings.range / 25)
        held = 0.4 if passive else 1.0
        self._swing, self._turn = held * rng.uniform(0.03, 0.08), held * rng.uniform(-0.06, 0.06)
        self._lift = held * rng.uniform(-0.05, 0.05, 3)  # mm for each degree
        self._drift = rng.uniform(-1, 1, 3) / np.sqrt(3), rng.uniform(-0.7, 0.7, 3) / np.sqrt(3)
        centre = ankle.pose.world_from_shin[:3, 3]
        shift = np.clip(rng.normal(0, 5.8, 3), -12, 12)
        self._leg = translation(shift) @ rotation_about(rng.normal(size=3), rng.uniform(4, 8), centre)

    def poses(self, times: Float[np.ndarray, "n"]) -> dict[str, Float[np.ndarray, "n 4 4"]]:
        """Return frame_from_static (world to world, mm) of each rigid part at times counted in frames."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in RIGID_PARTS}
        still = {
            name: np.linalg.inv(self.ankle.pose.world_from_bone(first)) for name, (first, *_) in RIGID_PARTS.items()
        }
        for time in np.asarray(times, float):
            moved = self._pose(float(time))
            for name, (bone, *_) in RIGID_PARTS.items():
                found[name].append(_rigid(moved.world_from_bone(bone) @ still[name]))
        return {name: np.array(poses) for name, poses in found.items()}

    def _pose(self, time: float) -> Pose:
        """The ankle's joints and place at a time."""
        phase = 2 * np.pi * (time + self._offset) / self._frames
        # 1 at the most dorsiflexed, −1 at the most plantar-flexed; one way is quicker than the other.
        height = np.cos(phase + self._skew * np.sin(phase))
        flexion = (self._down - self._up) / 2 - (self._down + self._up) / 2 * height
        still = self.ankle.pose
        lag = np.sin(phase)
        shin = still.world_from_shin
        around_ankle = (
            translation(self._lift * flexion)
            @ rotation_about((1, 0, 0), -self._swing * flexion)
            @ rotation_about((0, 0, 1), self._turn * flexion + 0.3 * self._hysteresis[1] * lag)
        )
        share = time / self._frames
        shift, turns = self._drift
        for axis, degrees in zip(np.eye(3), turns, strict=True):
            around_ankle = rotation_about(axis, degrees * share) @ around_ankle
        return replace(
            still,
            plantar_flexion=still.plantar_flexion + flexion,
            inversion=still.inversion + self._joints.inversion * flexion + self._hysteresis[0] * lag,
            midfoot_flexion=still.midfoot_flexion + self._joints.midfoot * flexion,
            world_from_shin=self._leg @ translation(shift * share) @ shin @ around_ankle,
        )


def _rigid(pose: np.ndarray) -> np.ndarray:
    """`pose` without what rounding adds to a rotation."""
    left, _, right = np.linalg.svd(pose[:3, :3])
    exact = pose.copy()
    exact[:3, :3] = left @ right
    exact[3] = 0, 0, 0, 1
    return exact
