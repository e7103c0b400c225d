"""Joint angles of the model: what the phantom was moved by, in the axes it was built in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ankleseg.volumes.poses import invert_pose

JOINTS = {
    "talocrural": ("talus", "tibia"),
    "subtalar": ("calcaneus", "talus"),
    "tibiocalcaneal": ("calcaneus", "tibia"),
}
ANGLES = ("dorsiflexion_deg", "inversion_deg", "internal_rotation_deg")


def model_angles(
    frame_from_static: Mapping[str, Float[np.ndarray, "n 4 4"]], world_from_shin: Float[np.ndarray, "4 4"]
) -> dict[str, Float[np.ndarray, "n 3"]]:
    """Return dorsiflexion, inversion and internal rotation (degrees) of each joint since the static scan.

    The motion of the distal bone relative to the proximal one is expressed in the axes of the neutral right ankle
    (x lateral, y anterior, z superior), which stay with all bones as they lie in the static scan. `world_from_shin`
    is their place there; that of a left ankle mirrors, so signs are the same on both sides.
    """
    axes, back = world_from_shin[:3, :3], np.linalg.inv(world_from_shin[:3, :3])
    angles = {}
    for joint, (distal, proximal) in JOINTS.items():
        motion = invert_pose(frame_from_static[proximal]) @ frame_from_static[distal]
        angles[joint] = flexion_angles(back @ motion[..., :3, :3] @ axes)
    return angles


def flexion_angles(rotation: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Decompose R = Rx(dorsiflexion) · Ry(inversion) · Rz(internal rotation), degrees, for axes x lateral (of a right
    foot), y anterior, z superior: flexion about the lateral axis of the proximal bone, internal rotation about the
    superior axis of the distal one, inversion about the floating axis, as in a joint coordinate system (Grood and
    Suntay 1983).
    """
    flexion = np.arctan2(-rotation[..., 1, 2], rotation[..., 2, 2])
    inversion = np.arcsin(np.clip(rotation[..., 0, 2], -1, 1))
    turn = np.arctan2(-rotation[..., 0, 1], rotation[..., 0, 0])
    return np.degrees(np.stack([flexion, inversion, turn], -1))
