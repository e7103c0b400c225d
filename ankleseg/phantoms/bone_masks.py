"""Real bones in a made-up ankle: binary masks of calcaneus, talus and tibia, dressed with what is around them.

The average ankle is laid over the bones (place, orientation, size, two joint angles); then the three bones take the
shapes of the masks, and all that the masks do not hold, from the other bones to the skin, is drawn around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ankleseg.errors import ConfigError, FileError
from ankleseg.phantoms.ankle import Ankle, Pose, Side, draw_ankle
from ankleseg.phantoms.bones import Bone, Variation, build_skeleton
from ankleseg.phantoms.grid import FAR, Grid, sample
from ankleseg.phantoms.pose import scaling
from ankleseg.phantoms.protocol import STRUCTURES
from ankleseg.phantoms.shapes import Shape, moved
from ankleseg.volumes import read_mask, spacing
from ankleseg.volumes.poses import rotation_about, translation

LATERAL_COLUMN = (Bone.CUBOID, Bone.METATARSAL_4, Bone.METATARSAL_5)  # bones in front of the calcaneus


@dataclass(frozen=True)
class BoneMask:
    """A bone as a mask, seen as a smooth surface.

    Attributes:
        distance: signed distance (mm, negative inside) on the mask's grid, float32.
        affine: voxel to RAS+ mm.
    """

    distance: np.ndarray
    affine: np.ndarray

    @property
    def surface(self) -> np.ndarray:
        """World positions (n, 3) of the voxels nearest to the surface."""
        spacing = float(np.linalg.norm(self.affine[:3, :3], axis=0).max())
        voxels = np.argwhere(np.abs(self.distance) < 0.5 * spacing)
        return voxels @ self.affine[:3, :3].T + self.affine[:3, 3]

    def shape(self, world_from_bone: np.ndarray) -> Shape:
        """The bone as a shape in the frame of the neutral ankle, which `world_from_bone` (a similarity) places."""
        from scipy.ndimage import map_coordinates

        mask_from_bone = np.linalg.inv(self.affine) @ world_from_bone
        scale = float(np.cbrt(abs(np.linalg.det(world_from_bone[:3, :3]))))
        bone_from_world = np.linalg.inv(world_from_bone)
        places = self.surface @ bone_from_world[:3, :3].T + bone_from_world[:3, 3]

        def distance(points: np.ndarray) -> np.ndarray:
            voxels = mask_from_bone[:3, :3] @ points + mask_from_bone[:3, 3:]
            return map_coordinates(self.distance, voxels, order=1, mode="constant", cval=FAR) / np.float32(scale)

        return Shape(distance, places.min(0) - 0.5, places.max(0) + 0.5)


def read_bone_mask(path: str | Path) -> BoneMask:
    """Read a binary mask as a signed distance; the distance is smoothed by 0.4 mm so that voxels do not show.

    Raises:
        FileError: the file is not a binary mask, or it is empty.
    """
    volume = read_mask(path)
    if not volume.data.any():
        raise FileError("holds no voxel of the bone", file=path, mend="choose a mask that is not empty")
    return bone_of_mask(volume.data, volume.affine)


def bone_of_mask(mask: np.ndarray, affine: np.ndarray) -> BoneMask:
    """A binary mask (x, y, z) as a signed distance, smoothed as in `read_bone_mask`."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    mm = spacing(affine)
    margin = np.ceil(8.0 / mm).astype(int)
    found = np.argwhere(mask)
    low, high = found.min(0), found.max(0) + 1
    box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    part = np.pad(mask[box], [(side, side) for side in margin])
    outside, inside = (distance_transform_edt(side, sampling=mm) for side in (~part, part))
    # The surface lies between voxels: half a voxel from the centres on either side.
    half = 0.5 * float(mm.min())
    signed = np.where(part, half - inside, outside - half)
    return BoneMask(gaussian_filter(signed, 0.4 / mm).astype(np.float32), affine @ translation(low - margin))


def lay_ankle(bones: Mapping[Bone, BoneMask], side: Side) -> Pose:
    """Find the place, orientation, size and joint angles with which the average ankle best covers real bones.

    Least squares of the distances between the surfaces of the masks and those of the average bones, with a robust
    loss, since a mask often ends in the middle of the shin.
    """
    from scipy.optimize import least_squares

    average = build_skeleton(Variation(np.random.default_rng(0), amount=0.0), gap=2.8)
    surfaces = {}
    for bone, mask in bones.items():
        points = mask.surface
        surfaces[bone] = points[:: max(len(points) // 400, 1)]
    middle = np.mean([points.mean(0) for points in surfaces.values()], axis=0)
    mirror = scaling((-1, 1, 1)) if side == "left" else np.eye(4)

    def pose_of(values: np.ndarray) -> Pose:
        turn = np.eye(4)
        for axis, angle in zip(np.eye(3), values[3:6], strict=True):
            turn = turn @ rotation_about(axis, angle)
        world_from_shin = translation(middle + values[:3]) @ turn @ mirror @ scaling(np.exp(values[6]))
        return Pose(values[7], values[8], 4.0, world_from_shin)

    def misfit(values: np.ndarray) -> np.ndarray:
        pose = pose_of(values)
        distances = []
        for bone, points in surfaces.items():
            bone_from_world = np.linalg.inv(pose.world_from_bone(bone))
            local = (points @ bone_from_world[:3, :3].T + bone_from_world[:3, 3]).T.astype(np.float32)
            distances.append(average[bone].outer(local) * np.exp(values[6]))
        return np.concatenate(distances)

    scales = np.array([5.0, 5, 5, 10, 10, 10, 0.1, 10, 5])
    start = np.array([0.0, 10, 10, 0, 0, 0, 0, 15, 0])
    found = least_squares(misfit, start, x_scale=scales, diff_step=1e-3, loss="soft_l1", f_scale=1.5)
    return pose_of(found.x)


def dress_bones(bones: Mapping[Bone, BoneMask], pose: Pose, side: Side, rng: np.random.Generator) -> Ankle:
    """Draw an ankle around real bones that lie as `pose` says; the draw decides everything but their shape."""
    drawn = draw_ankle(rng, side=side)
    skeleton = dict(drawn.skeleton)
    for bone, model in skeleton.items():
        if bone in bones:
            skeleton[bone] = replace(model, outer=bones[bone].shape(pose.world_from_bone(bone)))
    # The bones in front move to where the real ones end.
    ahead = {bone: skeleton[bone].outer.high[1] - _front(drawn.skeleton[bone].outer) for bone in bones}
    for bone, model in skeleton.items():
        if bone >= Bone.NAVICULAR:
            behind = Bone.CALCANEUS if bone in LATERAL_COLUMN else Bone.TALUS
            skeleton[bone] = replace(model, outer=moved(model.outer, (0.0, ahead[behind], 0.0)))
    return replace(drawn, pose=pose, skeleton=skeleton, real=frozenset(bones), joint_space=2.5)


def _front(shape: Shape) -> float:
    """Foremost place (y, mm) of a shape in its own frame."""
    low, high = np.floor(shape.low), np.ceil(shape.high)
    grid = Grid(tuple(int(side) for side in high - low), translation(low))  # type: ignore[arg-type]
    field = sample(shape, np.eye(4), grid, 0.0)[0]
    return float(low[1] + field.start[1] + np.flatnonzero((field.values < 0).any((0, 2)))[-1])


def read_bones(masks: Mapping[str, str | Path | None]) -> dict[Bone, BoneMask]:
    """Read the masks of calcaneus, talus and tibia."""
    given = {name: path for name, path in masks.items() if path is not None}
    if set(given) != set(STRUCTURES):
        raise ConfigError(
            f"masks are given for {', '.join(given) or 'nothing'}", mend=f"give one each for {', '.join(STRUCTURES)}"
        )
    return {bone: read_bone_mask(given[name]) for name, bone in STRUCTURES.items()}
