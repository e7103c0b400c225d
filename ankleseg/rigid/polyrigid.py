"""Log-Euclidean polyrigid blending: bones move rigidly, what lies between them follows smoothly.

With the poses ``T_b`` (``frame_from_static``) of the bones and ``G`` of the whole foot, a point ``x`` of the frame
shows what the static scan has at

    ``G⁻¹ exp(Σ_b s_b(x) log(G T_b⁻¹)) x``,

where the shares ``s_b`` sum to one. Logarithms of what is left after the common motion ``G`` are small, and the field
moves along when all poses are changed by one more rigid motion. The exponential is the closed form of SE(3).

The share of a bone grows with its nearness: with the published weight ``w`` at a distance of ``d`` mm
(``2 / (1 + exp(d/10))`` or ``1 / (1 + d²/2)``) it is proportional to the odds ``w / (1 − w)``. Odds are infinite at a
bone, so that inside a bone its own pose holds exactly, and the field is continuous across its surface.

Source: Arsigny et al. 2009 (polyrigid transforms); Makki et al. 2019 (weights); the odds are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ankleseg.errors import GeometryError
from ankleseg.rigid.static_bones import StaticBones
from ankleseg.rigid.warping import SLAB_POINTS, grid_points, move_points, slabs, trilinear
from ankleseg.volumes.geometry import Affine, spacing
from ankleseg.volumes.poses import Pose, invert_pose, log_pose

Decay = Literal["rational", "logistic"]

LATTICE_MM = 3.0  # nodes at which the field is computed where it is smooth
NEAR_MM = 6.0  # from a bone, where it is not and every voxel is computed
INSIDE_MM = 1e-5  # stands for no distance, where odds would be infinite
OUTSIDE_MM = 0.02  # least distance outside a mask, so that a bone that touches another one stays rigid


def polyrigid_pullback(
    bones: StaticBones,
    frame_from_static: Mapping[str, Pose],
    reference: Pose,
    shape: Sequence[int],
    affine: Affine,
    *,
    decay: Decay = "logistic",
    device: str | torch.device = "cpu",
) -> Float[np.ndarray, "x y z 3"]:
    """Return for every voxel of a grid in the frame where in the static scan it comes from.

    Near bones every voxel is computed; elsewhere nodes 3 mm apart, and linearly between them.

    Args:
        bones: of the static scan.
        frame_from_static: pose of each bone, RAS+ mm; a bone without one follows the others.
        reference: pose of the whole foot, ``frame_from_static``.
        shape, affine: the grid, voxel to RAS+ mm of the frame.
        decay: the published weight that the shares come from: logistic, which changes evenly across a joint and
            folds least, or rational.
        device: where it is computed.

    Returns:
        place in the static scan minus place in the frame, RAS+ mm, float32.

    Raises:
        GeometryError: no pose, one of an unknown bone, or one that is not finite.
    """
    unknown = set(frame_from_static) - set(bones.distances)
    if unknown or not frame_from_static:
        what = f"a pose of {', '.join(sorted(unknown))}, whose mask is not there" if unknown else "no pose of a bone"
        raise GeometryError(f"got {what}", mend=f"give poses of {', '.join(bones.distances)}")
    if not all(np.isfinite(pose).all() for pose in (reference, *frame_from_static.values())):
        raise GeometryError("got a pose that is not finite", mend="leave out bones whose registration failed")
    field = _Field(bones, frame_from_static, reference, decay, torch.device(device))
    size = np.array(shape[:3], int)
    steps = np.maximum(np.round(LATTICE_MM / spacing(affine)), 1).astype(int)
    result = np.empty((*size, 3), np.float32)
    if (steps == 1).all():
        for rows in slabs(size, 1):
            result[rows.start : rows.stop] = field(grid_points(rows, size, affine, field.device))[0].cpu().numpy()
        return result
    nodes, near = _lattice(field, size, steps, affine)
    for rows in slabs(size, int(steps[0])):
        _fill(result, rows, nodes, near, steps, affine, field)
    return result


class _Field:
    """The blended motion at any points of the frame."""

    def __init__(
        self,
        bones: StaticBones,
        frame_from_static: Mapping[str, Pose],
        reference: Pose,
        decay: Decay,
        device: torch.device,
    ) -> None:
        self.device = device
        self._decay = decay
        self._static_from_reference = invert_pose(reference)
        static_from_frame = {bone: invert_pose(pose) for bone, pose in frame_from_static.items()}
        self._twists = torch.tensor(
            np.array([log_pose(reference @ pose) for pose in static_from_frame.values()]), dtype=torch.float32
        ).to(device)
        map_from_world = np.linalg.inv(bones.distance_affine)
        self._maps = []
        for bone, pose in static_from_frame.items():
            inside, box = bones.insides[bone]
            self._maps.append(
                (
                    torch.as_tensor(bones.distances[bone]).to(device),
                    map_from_world @ pose,
                    torch.as_tensor(inside).to(device),
                    np.linalg.inv(box) @ pose,
                )
            )

    def __call__(self, points: Float[Tensor, "*n 3"]) -> tuple[Float[Tensor, "*n 3"], Float[Tensor, "*n"]]:
        """Displacement of points and their distance from the nearest bone, mm."""
        flat = points.reshape(-1, 3)
        distances = torch.stack([self._distance(flat, *map_) for map_ in self._maps])
        nearest = distances.amin(0)
        odds = self._odds(distances)
        odds /= odds.sum(0)
        twist = self._twists.T @ odds
        moved = _exponential(twist, flat.T).T
        static = move_points(moved, self._static_from_reference)
        return (static - flat).reshape(points.shape), nearest.reshape(points.shape[:-1])

    def _odds(self, distance: Tensor) -> Tensor:
        if self._decay == "logistic":
            return 2 / torch.expm1(distance / 10)
        return 2 / distance**2

    @staticmethod
    def _distance(
        points: Tensor, distances: Tensor, map_from_frame: np.ndarray, inside: Tensor, box_from_frame: np.ndarray
    ) -> Tensor:
        found = trilinear(distances, move_points(points, map_from_frame), padding="border").clamp_min_(OUTSIDE_MM)
        voxel = move_points(points, box_from_frame).round_().long()
        size = torch.tensor(inside.shape, device=points.device)
        there = ((voxel >= 0) & (voxel < size)).all(-1).nonzero()[:, 0]
        in_bone = inside[tuple(voxel[there].T)]
        found[there[in_bone]] = INSIDE_MM
        return found


def _exponential(twist: Float[Tensor, "6 n"], points: Float[Tensor, "3 n"]) -> Float[Tensor, "3 n"]:
    """Move each point by the exponential of its own twist."""
    omega, velocity = twist[:3], twist[3:]
    square = (omega * omega).sum(0)
    angle = square.sqrt()
    small = angle < 1e-2
    safe = torch.where(small, 1.0, angle)
    first = torch.where(small, 1 - square / 6, safe.sin() / safe)
    second = torch.where(small, 0.5 - square / 24, 2 * (safe / 2).sin() ** 2 / safe**2)
    third = torch.where(small, 1 / 6 - square / 120, (safe - safe.sin()) / safe**3)
    turned = torch.linalg.cross(omega, points, dim=0)
    pushed = torch.linalg.cross(omega, velocity, dim=0)
    return (
        points
        + first * turned
        + second * torch.linalg.cross(omega, turned, dim=0)
        + velocity
        + second * pushed
        + third * torch.linalg.cross(omega, pushed, dim=0)
    )


def _lattice(
    field: _Field, size: np.ndarray, steps: np.ndarray, affine: Affine
) -> tuple[Float[Tensor, "x y z 3"], Bool[Tensor, "u v w"]]:
    """The field at nodes ``steps`` voxels apart, and which cells between them come near a bone."""
    count = -(-(size - 1) // steps) + 1
    coarse = affine.astype(float)
    coarse[:3, :3] = affine[:3, :3] * steps
    parts = [field(grid_points(rows, count, coarse, field.device)) for rows in slabs(count, 1)]
    nodes, distance = (torch.cat(part) for part in zip(*parts, strict=True))
    least = distance
    for axis in range(3):
        if count[axis] > 1:
            length = int(count[axis]) - 1
            least = torch.minimum(least.narrow(axis, 0, length), least.narrow(axis, 1, length))
    return nodes, least < NEAR_MM


def _fill(
    result: np.ndarray,
    rows: range,
    nodes: Tensor,
    near: Tensor,
    steps: np.ndarray,
    affine: Affine,
    field: _Field,
) -> None:
    """One slab of the field: linear between the nodes, exact near bones."""
    size = [len(rows), *result.shape[1:3]]
    low, high = int(rows.start // steps[0]), int(-(-(rows.stop - 1) // steps[0]) + 1)
    values = nodes[low:high].movedim(-1, 0)[None]
    whole = [(count - 1) * int(step) + 1 for count, step in zip(values.shape[2:], steps, strict=True)]
    between = functional.interpolate(values, whole, mode="trilinear", align_corners=True)
    slab = between[0, :, : size[0], : size[1], : size[2]].movedim(0, -1).contiguous()
    cells = [torch.arange(count, device=field.device) // int(step) for count, step in zip(size, steps, strict=True)]
    cells[0] += low
    chosen = near
    for axis, cell in enumerate(cells):
        chosen = chosen.index_select(axis, cell.clamp_max(near.shape[axis] - 1))
    places = chosen.nonzero()
    shift = torch.tensor([rows.start, 0, 0], device=field.device)
    for part in places.split(SLAB_POINTS):
        points = move_points((part + shift).to(torch.float32), affine)
        slab[tuple(part.T)] = field(points)[0]
    result[rows.start : rows.stop] = slab.cpu().numpy()
