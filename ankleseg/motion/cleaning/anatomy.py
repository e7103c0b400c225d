"""Which foot it is, and whether its bones lie as in an ankle: told from the bones' shapes alone.

Nothing here uses where the foot lies in the world, so that no header can mislead it. Only the handedness of the world's
axes matters, which every rotation keeps and every mirroring changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.cohorts.case import Side
from ankleseg.volumes.geometry import Affine

Points = Float[np.ndarray, "n 3"]

MOST_POINTS = 20_000  # of a bone; more change no direction by a tenth of a degree
FRONT = 0.12  # share of a bone's points that counts as its front, or as its lower end
LEAST_CUE_MM = 4.0  # a sum of cues below it tells no side; the cues of a foot add up to 20 mm and more


@dataclass(frozen=True)
class Foot:
    """Directions of a foot in the world, as its bones show them.

    Attributes:
        up: towards the shin, unit vector.
        forward: towards the toes, perpendicular to ``up``.
        side: left or right, None where the bones do not tell.
        cue_mm: by how much; positive for a right foot.
    """

    up: Float[np.ndarray, "3"]
    forward: Float[np.ndarray, "3"]
    side: Side | None
    cue_mm: float


def bone_points(masks: Mapping[str, Bool[np.ndarray, "x y z"]], affine: Affine) -> dict[str, Points]:
    """World positions in mm of voxels of each bone, evenly thinned to 20,000; bones without voxels are left out."""
    points = {}
    for bone, mask in masks.items():
        voxels = np.flatnonzero(mask.T)  # in the order of files, which needs no copy of a whole scan
        if len(voxels):
            thinned = voxels[:: -(-len(voxels) // MOST_POINTS)]
            indices = np.stack(np.unravel_index(thinned, mask.shape[::-1])[::-1], 1)
            points[bone] = indices @ affine[:3, :3].T + affine[:3, 3]
    return points


def foot_of(points: Mapping[str, Points]) -> Foot | None:
    """Tell directions and side of a foot from its bones; None without calcaneus or talus.

    In a foot seen from behind, three things lie medially: the front of the talus, compared with that of the calcaneus,
    whose axes diverge; the body of the talus, compared with that of the calcaneus; and the medial malleolus, the lower
    end of the tibia, compared with the body of the talus. The three distances are added.

    Args:
        points: world positions in mm of points of ``calcaneus``, ``talus`` and, if there is one, ``tibia``.
    """
    if "calcaneus" not in points or "talus" not in points:
        return None
    calcaneus, talus, tibia = points["calcaneus"], points["talus"], points.get("tibia")
    heel, ankle = calcaneus.mean(0), talus.mean(0)
    long_axis = np.linalg.svd(calcaneus - heel, full_matrices=False)[2][0]
    long_axis *= np.sign(long_axis @ (ankle - heel)) or 1.0  # the talus rides on the front half
    shin = ankle - heel if tibia is None else tibia.mean(0) - ankle
    if tibia is None:
        shin = shin - (shin @ long_axis) * long_axis
    up = shin / np.linalg.norm(shin)
    forward = long_axis - (long_axis @ up) * up
    forward /= np.linalg.norm(forward)
    rightwards = np.cross(forward, up)  # of the body, in a world that is not mirrored

    rear = talus[(talus @ long_axis) < np.quantile(talus @ long_axis, 0.6)]
    cues = [
        rightwards @ (_end(calcaneus, long_axis) - _end(talus, long_axis)),
        rightwards @ (heel - ankle),
    ]
    if tibia is not None:
        cues.append(rightwards @ (rear.mean(0) - _end(tibia, -up)))
    cue = float(sum(cues))
    side: Side | None = None
    if abs(cue) >= LEAST_CUE_MM:
        side = "right" if cue > 0 else "left"
    return Foot(up, forward, side, cue)


def _end(points: Points, direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    """The middle of the points that reach furthest in a direction."""
    reach = points @ direction
    return points[reach >= np.quantile(reach, 1 - FRONT)].mean(0)
