"""An anatomy that can be posed: rigid parts with their texture, and soft tissue that follows them.

It is made once for a subject, without noise and coil, on a fine grid of its own in the world of the static scan; the
frames of a dynamic sequence are sampled from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.cycle import RIGID_PARTS
from ankleseg.phantoms.dynamic_protocol import PLANE_MM, DynamicProtocol
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.phantoms.protocol import STRUCTURES
from ankleseg.phantoms.scanner import SHEET, LabelSource
from ankleseg.phantoms.tissues import bone_of
from ankleseg.volumes.geometry import bounding_box, corners
from ankleseg.volumes.poses import exp_pose, invert_pose, log_pose, transform, translation

# mm by which the anatomy goes beyond the static scan at the low and the high end of its axes (P, S, R): the frames show
# more of the forefoot where the foot turns up or down.
BEYOND = ((45.0, 15.0), (35.0, 24.0), (12.0, 12.0))
COARSE_MM = 2.4  # grid of the distances to the bones
OUTSIDE = -1.0  # where a part is not
FAR_MM = 50.0  # no body is further from the bones than this
CLOSE_MM = 1.0  # a part that is nearer than this carries the tissue with it


@dataclass(frozen=True)
class RigidPart:
    """A part that moves as one.

    Attributes:
        signal: its signal, not negative, and `OUTSIDE` around it, float32; the outermost voxels are outside.
        affine: voxel to the world of the static scan.
    """

    signal: Float[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]

    @property
    def corners(self) -> Float[np.ndarray, "8 3"]:
        """World positions of the outermost voxels."""
        return corners(self.signal.shape, self.affine)


@dataclass(frozen=True)
class MovingAnatomy:
    """Rigid parts and the soft tissue between them.

    Attributes:
        parts: by name, those of `RIGID_PARTS` that the field of view holds.
        soft: signal of everything else, the place of the bones filled with what surrounds them.
        affine: of `soft`, voxel to the world of the static scan.
        distances: (parts, …) distance to each part in mm on a coarse grid, float32.
        body: (…) 1 within 6 mm of the body, 0 elsewhere, on the coarse grid, float32.
        coarse_affine: of that grid.
        air: signal of air.
    """

    parts: Mapping[str, RigidPart]
    soft: Float[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    distances: Float[np.ndarray, "parts u v w"]
    body: Float[np.ndarray, "u v w"]
    coarse_affine: Float[np.ndarray, "4 4"]
    air: float

    def pull_back(
        self, points: Float[np.ndarray, "n 3"], poses: Mapping[str, Float[np.ndarray, "4 4"]]
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n"]]:
        """Find where in the static world the soft tissue at points of a frame comes from, and what body is there.

        Log-Euclidean polyrigid blending (Arsigny et al. 2009): each point moves by the exponential of the weighted
        mean of the parts' twists. The weight of a part at distance d mm is 1 / (1 + d²)², which lets tissue at a bone
        go with the bone, and skin go with the bones beneath it.

        Args:
            points: world positions in the frame, mm.
            poses: frame_from_static of every part.
        """
        from scipy.ndimage import map_coordinates

        names = list(self.parts)
        static_from_frame = np.stack([invert_pose(poses[name]) for name in names])
        coarse_from_world = np.linalg.inv(self.coarse_affine)
        distances = np.empty((len(names), len(points)), np.float32)
        for index, pose in enumerate(static_from_frame):
            voxels = transform(coarse_from_world @ pose, points).T
            map_coordinates(self.distances[index], voxels, distances[index], order=1, mode="nearest")
        # Twists are taken from the middle bone, so that what the leg has in common does not matter.
        middle = static_from_frame[names.index("talus")]
        twists = log_pose(invert_pose(middle) @ static_from_frame)
        near = distances.min(0) < FAR_MM
        weights = 1 / (1 + (distances[:, near] / CLOSE_MM) ** 2) ** 2
        blended = exp_pose((weights / weights.sum(0)).T @ twists)
        found = points.copy()
        found[near] = np.einsum("nij,nj->ni", blended[:, :3, :3], points[near]) + blended[:, :3, 3]
        found = transform(middle, found)
        body = map_coordinates(self.body, transform(coarse_from_world, found).T, order=1, mode="constant")
        return found, np.where(near, body, 0)


def build_moving_anatomy(
    labels: Callable[[Grid], LabelSource],
    table: SignalTable,
    textures: Sequence[LatticeNoise],
    static: Grid,
    protocol: DynamicProtocol,
) -> MovingAnatomy:
    """Sample tissues and their texture on a grid of their own, the bones that are measured on finer ones.

    Args:
        labels: gives what lies where in the field of view of a grid along the static one.
        table: signal of each label.
        textures: grain, patches and septa in mm from the corner of `static`.
        static: grid of the static scan.
        protocol: how fine the grids are.
    """
    from scipy.ndimage import gaussian_filter

    grid = anatomy_grid(static, protocol.soft_spacing)
    source = labels(grid)
    found = source(grid)
    signal = _textured(found, table, textures, static, grid)
    bones = bone_of(found)
    parts = {}
    for name, members in RIGID_PARTS.items():
        mask = np.isin(bones, members)
        if not mask.any():
            continue
        spacing = protocol.bone_spacing if name in STRUCTURES else protocol.soft_spacing
        box = _box(mask, grid, spacing)
        inside = source(box)
        textured = _textured(inside, table, textures, static, box)
        parts[name] = _rigid_part(np.isin(bone_of(inside), members), textured, box.affine)
    step = np.maximum(np.round(COARSE_MM / grid.spacing), 1).astype(int)
    cells = tuple(slice(int(n) // 2, None, int(n)) for n in step)
    signal = _without_bones(signal, bones > 0, cells, step)
    # A sample of soft tissue stands for the mean over the pixel and the depth of a plane.
    width = np.array([protocol.pixel, protocol.pixel, PLANE_MM]) / np.sqrt(12) / grid.spacing
    return MovingAnatomy(
        parts,
        gaussian_filter(signal, width),
        grid.affine,
        _distances(bones[cells], list(parts), step * grid.spacing),
        _near_body(found[cells] != 0, step * grid.spacing),
        grid.affine @ translation(step // 2) @ np.diag([*step, 1.0]),
        float(table.mean[0]),
    )


def anatomy_grid(static: Grid, spacing: tuple[float, float, float]) -> Grid:
    """Return the grid of the anatomy: along the axes of the static scan (P, S, R), wider, with other voxels."""
    beyond = np.array(BEYOND)
    shape = np.ceil((static.extent + beyond.sum(1)) / spacing).astype(int)
    directions = static.affine[:3, :3] / static.spacing
    corner = static.affine[:3, :3] @ np.full(3, -0.5) + static.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = corner + directions @ (np.array(spacing) / 2 - beyond[:, 0])
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _box(mask: np.ndarray, grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    """A grid of another spacing over the box of a mask on `grid`, a voxel of it wider on all sides."""
    box = bounding_box(mask)
    low = np.array([part.start for part in box]) - 1.5
    sides = (np.array([part.stop for part in box]) + 0.5 - low) * grid.spacing
    shape = np.ceil(sides / spacing).astype(int)
    step = np.array(spacing) / grid.spacing
    affine = grid.affine @ translation(low) @ np.diag([*step, 1.0]) @ translation([0.5, 0.5, 0.5])
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def _textured(
    labels: np.ndarray, table: SignalTable, textures: Sequence[LatticeNoise], static: Grid, grid: Grid
) -> np.ndarray:
    """Signal of labels on a grid along the static one, with their texture, float32."""
    columns = np.ascontiguousarray(table.columns.T)
    static_from_grid = np.linalg.inv(static.affine) @ grid.affine
    rows, cols, depths = (
        _folded((np.arange(side) * static_from_grid[axis, axis] + static_from_grid[axis, 3] + 0.5) * step, length)
        for axis, (side, step, length) in enumerate(zip(grid.shape, static.spacing, static.extent, strict=True))
    )
    readers = [texture.across(rows, cols) for texture in textures]
    signal = np.full(labels.shape, columns[0, 0], np.float32)
    for index, depth in enumerate(depths):
        plane = labels[:, :, index]
        if not plane.any():
            continue
        mean, grain, patches, septa = (column[plane] for column in columns)
        fine, coarse, sheets = (read(float(depth)) for read in readers)
        mean += grain * fine + patches * coarse + septa * np.maximum(1 - np.abs(sheets) / SHEET, 0)
        signal[:, :, index] = np.maximum(mean, 0)
    return signal


def _folded(places: np.ndarray, length: float) -> np.ndarray:
    """Places mirrored at 0 and at `length`: beyond the static scan its texture is continued as its mirror image."""
    return length - np.abs(length - np.abs(places))


def _rigid_part(mask: np.ndarray, signal: np.ndarray, affine: np.ndarray) -> RigidPart:
    """A part that fills `mask`, with a rim outside of it."""
    inside = np.where(mask, signal, np.float32(OUTSIDE))
    return RigidPart(np.pad(inside, 1, constant_values=OUTSIDE), affine @ translation([-1.0, -1.0, -1.0]))


def _without_bones(signal: np.ndarray, bones: np.ndarray, cells: tuple[slice, ...], step: np.ndarray) -> np.ndarray:
    """`signal` with the bones filled by the soft tissue around them, smoothed; found on the coarse grid."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

    outside = (~bones[cells]).astype(np.float32)
    around = gaussian_filter(signal[cells] * outside, 1.0) / np.maximum(gaussian_filter(outside, 1.0), 1e-3)
    nearest = distance_transform_edt(outside < 0.5, return_distances=False, return_indices=True)
    filled = gaussian_filter(around[tuple(nearest)], 0.7)
    places = np.array(np.nonzero(bones))
    soft = signal.copy()
    coarse = (places - (step // 2)[:, None]) / step[:, None]
    soft[tuple(places)] = map_coordinates(filled, coarse, order=1, mode="nearest")
    return soft


def _distances(bones: np.ndarray, names: Sequence[str], spacing: np.ndarray) -> np.ndarray:
    """Distance in mm to each part, zero inside it."""
    from scipy.ndimage import distance_transform_edt

    maps = [distance_transform_edt(~np.isin(bones, RIGID_PARTS[name]), sampling=spacing) for name in names]
    return np.array(maps, np.float32)


def _near_body(body: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    return (distance_transform_edt(~body, sampling=spacing) <= 6.0).astype(np.float32)
