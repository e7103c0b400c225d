"""Warping: a volume shown where a displacement field says, and whether the field folds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor
from torch.nn import functional

from ankleseg.volumes.geometry import Affine

SLAB_POINTS = 1 << 21


def warp(
    volume: Real[np.ndarray, "x y z"],
    affine: Affine,
    displacement: Float[np.ndarray, "u v w 3"],
    grid_affine: Affine,
    *,
    order: int = 1,
    device: str | torch.device = "cpu",
) -> Float[np.ndarray, "u v w"]:
    """Show a static volume as a displacement field says: voxel ``p`` gets the volume's value at ``p + displacement``.

    Args:
        volume, affine: the static scan, voxel to RAS+ mm.
        displacement, grid_affine: as `polyrigid_pullback` returns it, and the affine of its grid.
        order: 1 linear; 3 cubic spline, about fifteen times slower.
        device: where it is computed (cubic: always on the CPU).

    Returns:
        float32, 0 outside the volume.
    """
    size = np.array(displacement.shape[:3])
    voxel_from_world = np.linalg.inv(affine)
    result = np.empty(size, np.float32)
    read = _cubic_reader(volume) if order > 1 else _linear_reader(volume, torch.device(device))
    for rows in slabs(size, 1):
        moved = torch.tensor(displacement[rows.start : rows.stop], dtype=torch.float32, device=device)
        places = grid_points(rows, size, grid_affine, moved.device) + moved
        result[rows.start : rows.stop] = read(move_points(places, voxel_from_world))
    return result


def jacobian_determinant(displacement: Float[np.ndarray, "x y z 3"], affine: Affine) -> Float[np.ndarray, "x y z"]:
    """Return the determinant of the derivative of ``p ↦ p + displacement(p)``: at most 0 where space folds."""
    field = np.asarray(displacement, np.float32)
    slopes = np.stack([np.gradient(field, axis=axis) for axis in range(3)], axis=-1)
    return np.linalg.det(np.eye(3) + slopes @ np.linalg.inv(affine[:3, :3])).astype(np.float32)


def slabs(size: np.ndarray, step: int) -> Iterator[range]:
    """The first axis in parts that begin at multiples of ``step`` and hold a bounded number of voxels."""
    thick = max(int(SLAB_POINTS // max(int(size[1] * size[2]), 1)) // step, 1) * step
    for start in range(0, int(size[0]), thick):
        yield range(start, min(start + thick, int(size[0])))


def grid_points(rows: range, size: np.ndarray, affine: Affine, device: torch.device) -> Float[Tensor, "x y z 3"]:
    """World positions of the voxels of a slab."""
    matrix = torch.tensor(affine[:3], dtype=torch.float32, device=device)
    lengths = (torch.arange(rows.start, rows.stop), torch.arange(int(size[1])), torch.arange(int(size[2])))
    x, y, z = (length.to(device, torch.float32)[:, None] * matrix[:, axis] for axis, length in enumerate(lengths))
    return (x[:, None, None] + y[None, :, None]) + (z + matrix[:, 3])


def move_points(points: Float[Tensor, "*n 3"], matrix: np.ndarray) -> Float[Tensor, "*n 3"]:
    """Points moved by an affine map (4, 4)."""
    turn, shift = (
        torch.tensor(part, dtype=torch.float32, device=points.device) for part in (matrix[:3, :3], matrix[:3, 3])
    )
    return torch.addmm(shift, points.reshape(-1, 3), turn.T).reshape(points.shape)


def trilinear(volume: Float[Tensor, "x y z"], voxels: Float[Tensor, "*n 3"], padding: str) -> Float[Tensor, "*n"]:
    """Values of a volume at voxel positions."""
    flat = voxels.reshape(-1, 3)
    last = torch.tensor(volume.shape, dtype=torch.float32, device=flat.device).sub_(1).clamp_min_(1)
    places = (flat * (2 / last) - 1).flip(-1)
    # torch shares the work among its threads by the first axis only.
    parts = min(torch.get_num_threads(), max(len(flat), 1)) if flat.device.type == "cpu" else 1
    missing = -len(flat) % parts
    if missing:
        places = torch.cat([places, places.new_zeros(missing, 3)])
    found = functional.grid_sample(
        volume.expand(parts, 1, *volume.shape),
        places.reshape(parts, 1, 1, -1, 3),
        mode="bilinear",
        padding_mode=padding,
        align_corners=True,
    )
    return found.reshape(-1)[: len(flat)].reshape(voxels.shape[:-1])


def _linear_reader(volume: np.ndarray, device: torch.device) -> Callable[[Tensor], np.ndarray]:
    source = torch.as_tensor(np.ascontiguousarray(volume, dtype=np.float32)).to(device)
    return lambda voxels: trilinear(source, voxels, padding="zeros").cpu().numpy()


def _cubic_reader(volume: np.ndarray) -> Callable[[Tensor], np.ndarray]:
    from scipy.ndimage import map_coordinates, spline_filter

    coefficients = spline_filter(volume, order=3, output=np.float32, mode="mirror")

    def read(voxels: Tensor) -> np.ndarray:
        places = np.moveaxis(voxels.cpu().numpy(), -1, 0)
        found = map_coordinates(coefficients, places, order=3, prefilter=False, mode="mirror", output=np.float32)
        last = np.array(volume.shape).reshape(3, 1, 1, 1) - 0.5
        return np.where(((places >= -0.5) & (places <= last)).all(0), found, np.float32(0))

    return read
