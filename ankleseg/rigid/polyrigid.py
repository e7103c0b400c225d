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

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor
from torch.nn import functional

from ankleseg.errors import GeometryError
from ankleseg.rigid.residual import Residual
from ankleseg.rigid.static_bones import StaticBones
from ankleseg.rigid.warping import (
    file_order_tensor,
    grid_points,
    in_file_order,
    move_points,
    normaliser,
    sampled,
    slabs,
)
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
    residual: Residual | None = None,
    device: str | torch.device = "cpu",
) -> Float[np.ndarray, "x y z 3"]:
    """Return for every voxel of a grid in the frame where in the static scan it comes from.

    Near the surface of bones every voxel is computed; elsewhere nodes 3 mm apart, and linearly between them.

    Args:
        bones: of the static scan.
        frame_from_static: pose of each bone, RAS+ mm; a bone without one follows the others.
        reference: pose of the whole foot, ``frame_from_static``.
        shape, affine: the grid, voxel to RAS+ mm of the frame.
        decay: the published weight that the shares come from: logistic, which changes evenly across a joint and
            folds least, or rational.
        residual: what the soft tissue does beyond the blend; bones stay rigid.
        device: where it is computed.

    Returns:
        place in the static scan minus place in the frame, RAS+ mm, float32.

    Raises:
        GeometryError: no pose, one of an unknown bone, or one that is not finite.
    """
    field = _Field(bones, frame_from_static, reference, decay, torch.device(device), residual=residual)
    size, grid = np.array(shape[2::-1]), in_file_order(affine)
    result = np.empty((3, *size), np.float32)
    for rows, places in _on_grid(field, size, grid):
        result[:, rows.start : rows.stop] = (places - grid_points(rows, size, grid, field.device)).cpu().numpy()
    return result.T


def polyrigid_image(
    volume: Real[np.ndarray, "i j k"],
    volume_affine: Affine,
    bones: StaticBones,
    frame_from_static: Mapping[str, Pose],
    reference: Pose,
    shape: Sequence[int],
    affine: Affine,
    *,
    decay: Decay = "logistic",
    residual: Residual | None = None,
    device: str | torch.device = "cpu",
) -> Float[np.ndarray, "u v w"]:
    """Return a static volume moved into a frame: `polyrigid_pullback` and linear interpolation in one.

    Args:
        volume, volume_affine: the static scan, voxel to RAS+ mm.
        bones, frame_from_static, reference, shape, affine, decay, residual, device: as of `polyrigid_pullback`.

    Returns:
        float32, 0 outside the volume.

    Raises:
        GeometryError: as `polyrigid_pullback`.
    """
    # What is linear between the nodes in mm is so in voxels.
    normalise = normaliser(volume.shape) @ np.linalg.inv(volume_affine)
    field = _Field(bones, frame_from_static, reference, decay, torch.device(device), normalise, residual)
    source, size = file_order_tensor(volume, field.device), np.array(shape[2::-1])
    result = np.empty(size, np.float32)
    for rows, places in _on_grid(field, size, in_file_order(affine)):
        result[rows.start : rows.stop] = sampled(source, places).cpu().numpy()
    return result.T


class _Field:
    """The blended motion at any points of the frame: their places in the static scan, or an affine map of these."""

    def __init__(
        self,
        bones: StaticBones,
        frame_from_static: Mapping[str, Pose],
        reference: Pose,
        decay: Decay,
        device: torch.device,
        map_from_static: Affine | None = None,
        residual: Residual | None = None,
    ) -> None:
        _check(bones, frame_from_static, reference)
        self.device = device
        self._decay, self._residual = decay, residual
        self._map_from_reference = (np.eye(4) if map_from_static is None else map_from_static) @ invert_pose(reference)
        static_from_frame = {bone: invert_pose(pose) for bone, pose in frame_from_static.items()}
        self._twists = torch.tensor(
            np.array([log_pose(reference @ pose) for pose in static_from_frame.values()]), dtype=torch.float32
        ).to(device)
        self._maps = []
        for bone, pose in static_from_frame.items():
            distances, (inside, box) = bones.distances[bone], bones.insides[bone]
            distance_from_world = normaliser(distances.shape) @ np.linalg.inv(bones.distance_affine)
            box_from_world = normaliser(inside.shape) @ np.linalg.inv(box)
            self._maps.append(
                (
                    file_order_tensor(distances, device),
                    distance_from_world @ pose,
                    file_order_tensor(inside, device),
                    box_from_world @ pose,
                )
            )

    def __call__(self, points: Float[Tensor, "3 *n"]) -> tuple[Float[Tensor, "3 *n"], Float[Tensor, "bones *n"]]:
        """Places of points, and the distance of each from each bone, mm."""
        flat = points.reshape(3, -1)
        distances = apart = torch.stack([self._distance(flat, *one) for one in self._maps])
        if self._residual is not None:
            flat = self._residual(flat, apart.amin(0))
            apart = torch.stack([self._distance(flat, *one) for one in self._maps])
        odds = self._odds(apart)
        odds /= odds.sum(0)
        moved = _exponential(self._twists.T @ odds, flat)
        places = move_points(moved, self._map_from_reference)
        return places.reshape(points.shape), distances.reshape(len(distances), *points.shape[1:])

    def _odds(self, distance: Tensor) -> Tensor:
        if self._decay == "logistic":
            return 2 / torch.expm1(distance / 10)
        return 2 / distance**2

    @staticmethod
    def _distance(
        points: Tensor, distances: Tensor, map_from_frame: np.ndarray, inside: Tensor, box_from_frame: np.ndarray
    ) -> Tensor:
        found = sampled(distances, move_points(points, map_from_frame), padding="border").clamp_min_(OUTSIDE_MM)
        in_bone = sampled(inside, move_points(points, box_from_frame), mode="nearest") > 0
        return found.masked_fill_(in_bone, INSIDE_MM)


def _check(bones: StaticBones, frame_from_static: Mapping[str, Pose], reference: Pose) -> None:
    unknown = set(frame_from_static) - set(bones.distances)
    if unknown or not frame_from_static:
        what = f"a pose of {', '.join(sorted(unknown))}, whose mask is not there" if unknown else "no pose of a bone"
        raise GeometryError(f"got {what}", mend=f"give poses of {', '.join(bones.distances)}")
    if not all(np.isfinite(pose).all() for pose in (reference, *frame_from_static.values())):
        raise GeometryError("got a pose that is not finite", mend="leave out bones whose registration failed")


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


def _on_grid(field: _Field, size: np.ndarray, affine: Affine) -> Iterator[tuple[range, Float[Tensor, "3 x y z"]]]:
    """The places of all voxels of a grid, slab by slab."""
    steps = np.maximum(np.round(LATTICE_MM / spacing(affine)), 1).astype(int)
    if (steps == 1).all():
        for rows in slabs(size, 1):
            yield rows, field(grid_points(rows, size, affine, field.device))[0]
        return
    counts = -(-(size - 1) // steps) + 1
    nodes, computed = _lattice(field, counts, affine @ np.diag([*steps, 1.0]))
    cells = [torch.arange(int(side), device=field.device) // int(step) for side, step in zip(size, steps, strict=True)]
    whole = ((counts - 1) * steps + 1)[1:].tolist()
    for rows in slabs(size, 1):
        cell = cells[0][rows.start : rows.stop]
        share = (torch.arange(rows.start, rows.stop, device=field.device) / int(steps[0]) - cell)[:, None, None]
        planes = torch.lerp(nodes[:, cell], nodes[:, (cell + 1).clamp(max=int(counts[0]) - 1)], share)
        places = functional.interpolate(planes, whole, mode="bilinear", align_corners=True)
        places = places[..., : size[1], : size[2]].contiguous()
        _compute(places, rows, computed, [cell, *cells[1:]], affine, field)
        yield rows, places


def _lattice(
    field: _Field, counts: np.ndarray, affine: Affine
) -> tuple[Float[Tensor, "3 x y z"], Bool[Tensor, "u v w"]]:
    """The field at the nodes, and in which cells between them it is to be computed at every voxel: those near a bone
    but for those deep within one, which move with it."""
    parts = [field(grid_points(rows, counts, affine, field.device)) for rows in slabs(counts, 1)]
    nodes, distances = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    near = _of_corners(distances.amin(0), torch.minimum) < NEAR_MM
    outside = functional.max_pool3d((distances > INSIDE_MM).float(), 3, stride=1, padding=1)  # or a node beside is
    deep = (_of_corners(outside, torch.maximum) == 0).any(0)
    return nodes, near & ~deep


def _of_corners(values: Float[Tensor, "*rest x y z"], combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """For each cell between nodes, the values of its corners combined."""
    for axis in (-3, -2, -1):
        length = values.shape[axis] - 1
        if length:
            values = combine(values.narrow(axis, 0, length), values.narrow(axis, 1, length))
    return values


def _compute(
    places: Float[Tensor, "3 x y z"],
    rows: range,
    computed: Bool[Tensor, "u v w"],
    cells: Sequence[Tensor],
    affine: Affine,
    field: _Field,
) -> None:
    """Replace the places of the voxels in cells that are to be computed."""
    chosen = computed
    for axis, cell in enumerate(cells):
        chosen = chosen.index_select(axis, cell.clamp(max=chosen.shape[axis] - 1))
    voxels = chosen.flatten().nonzero()[:, 0]
    index = torch.stack(torch.unravel_index(voxels, chosen.shape)).float()
    index[0] += rows.start
    places.flatten(1).index_copy_(1, voxels, field(move_points(index, affine))[0])
