"""Warping: a volume shown where a displacement field says, and reading volumes anywhere.

Points are kept coordinate by coordinate, (3, …): so affine maps of millions of them cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Real, Shaped
from torch import Tensor
from torch.nn import functional

from ankleseg.volumes.geometry import Affine

SLAB_POINTS = 1 << 20


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
        places = grid_points(rows, size, grid_affine, moved.device) + moved.movedim(-1, 0)
        result[rows.start : rows.stop] = read(move_points(places, voxel_from_world))
    return result


def slabs(size: np.ndarray, step: int) -> Iterator[range]:
    """The first axis in parts that begin at multiples of ``step`` and hold a bounded number of voxels."""
    thick = max(int(SLAB_POINTS // max(int(size[1] * size[2]), 1)) // step, 1) * step
    for start in range(0, int(size[0]), thick):
        yield range(start, min(start + thick, int(size[0])))


def grid_points(rows: range, size: np.ndarray, affine: Affine, device: torch.device) -> Float[Tensor, "3 x y z"]:
    """World positions of the voxels of a slab."""
    matrix = torch.tensor(affine[:3], dtype=torch.float32, device=device)
    lengths = (torch.arange(rows.start, rows.stop), torch.arange(int(size[1])), torch.arange(int(size[2])))
    x, y, z = (matrix[:, axis, None] * length.to(matrix) for axis, length in enumerate(lengths))
    return (x[:, :, None, None] + y[:, None, :, None]) + (z + matrix[:, 3:])[:, None, None]


def move_points(points: Float[Tensor, "3 *n"], matrix: np.ndarray) -> Float[Tensor, "3 *n"]:
    """Points moved by an affine map (4, 4)."""
    moving = torch.tensor(matrix[:3], dtype=torch.float32, device=points.device)
    return torch.addmm(moving[:, 3:], moving[:, :3], points.reshape(3, -1)).reshape(points.shape)


def in_file_order(affine: Affine) -> Affine:
    """Return the affine of a grid whose array axes are reversed, as voxels lie in files: the first axis fastest."""
    return affine[:, [2, 1, 0, 3]]


def normaliser(shape: Sequence[int]) -> Affine:
    """Affine from voxels (x, y, z) of a volume to the coordinates `sampled` reads at: −1 and 1 are its outer edges."""
    size = np.array(shape[:3], float)
    matrix = np.diag([*2 / size, 1.0])
    matrix[:3, 3] = 1 / size - 1
    return matrix


def sampled(
    volume: Float[Tensor, "z y x"], places: Float[Tensor, "3 *n"], *, padding: str = "zeros", mode: str = "bilinear"
) -> Float[Tensor, "*n"]:
    """Values of a volume, in file order, at normalised places (x, y, z)."""
    flat = places.reshape(3, -1)
    # torch shares the work among its threads by the first axis only.
    parts = min(torch.get_num_threads(), max(flat.shape[1], 1)) if flat.device.type == "cpu" else 1
    missing = -flat.shape[1] % parts
    if missing:
        flat = functional.pad(flat, (0, missing))
    found = functional.grid_sample(
        volume.expand(parts, 1, *volume.shape),
        flat.reshape(3, parts, 1, 1, -1).movedim(0, -1),
        mode=mode,
        padding_mode=padding,
        align_corners=False,
    )
    return found.reshape(-1)[: found.numel() - missing].reshape(places.shape[1:])


def file_order_tensor(
    volume: Shaped[np.ndarray, "x y z"], device: str | torch.device = "cpu"
) -> Float[Tensor, "z y x"]:
    """A volume as `sampled` reads it; without a copy if it is float32 and lies as in files."""
    return torch.from_numpy(np.ascontiguousarray(volume.T, dtype=np.float32)).to(device)


def _linear_reader(volume: np.ndarray, device: torch.device) -> Callable[[Tensor], np.ndarray]:
    source, normalise = file_order_tensor(volume, device), normaliser(volume.shape)
    return lambda voxels: sampled(source, move_points(voxels, normalise)).cpu().numpy()


def _cubic_reader(volume: np.ndarray) -> Callable[[Tensor], np.ndarray]:
    from scipy.ndimage import map_coordinates, spline_filter

    coefficients = spline_filter(volume, order=3, output=np.float32, mode="mirror")

    def read(voxels: Tensor) -> np.ndarray:
        places = voxels.cpu().numpy()
        found = map_coordinates(coefficients, places, order=3, prefilter=False, mode="mirror", output=np.float32)
        last = np.array(volume.shape).reshape(3, 1, 1, 1) - 0.5
        return np.where(((places >= -0.5) & (places <= last)).all(0), found, np.float32(0))

    return read
