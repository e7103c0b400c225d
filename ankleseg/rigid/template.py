"""The static scan as registration reads it: tones, their gradients and the weight side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from scipy.ndimage import gaussian_filter, uniform_filter1d
from torch import Tensor
from torch.nn import functional

from ankleseg.volumes.geometry import spacing

KNOTS = 5
MARGIN_MM = 8.0  # kept around a structure in the slice plane


@dataclass(frozen=True, eq=False)
class Template:
    """A static scan on a grid, one row a voxel.

    Attributes:
        table: (voxels, 4·tones + 1); each tone, the gradients of the tones in the world (1/mm, tone by tone), and
            the weight of the structure.
        weight: (voxels, 1) the weight alone.
        tones: how many functions of intensity and place are kept (see `StaticScan`).
        shape: of the grid.
        affine: (4, 4) float64, voxel to world.
        box: (2, 3) float64, the corners in the world (mm) between which the structure has weight.
    """

    table: Float[Tensor, "voxels columns"]
    weight: Float[Tensor, "voxels 1"]
    tones: int
    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    box: Float[np.ndarray, "2 3"]

    def sample(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points columns"]:
        """Interpolate all columns linearly at world points in mm; beyond the grid every column is that of its border,
        where the weights are zero."""
        return self._read(self.table, points)

    def weight_at(self, points: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points"]:
        """Interpolate the weight alone."""
        return self._read(self.weight, points)[..., 0]

    def _read(self, table: Tensor, points: Tensor) -> Tensor:
        voxel_from_world = torch.from_numpy(np.linalg.inv(self.affine)).to(points)
        flat = points.reshape(-1, 3)
        voxels = torch.addmm(voxel_from_world[:3, 3], flat, voxel_from_world[:3, :3].T)
        last = torch.tensor(self.shape, device=flat.device) - 2
        first = torch.minimum(voxels.floor().int().clamp_(min=0), last.int())
        fraction = (voxels - first).clamp_(0, 1)
        strides = (self.shape[1] * self.shape[2], self.shape[2], 1)
        base = first[:, 0] * strides[0] + first[:, 1] * strides[1] + first[:, 2]
        corners = [i * strides[0] + j * strides[1] + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        indices = base[:, None] + torch.tensor(corners, dtype=torch.int32, device=flat.device)
        (x0, x1), (y0, y1), (z0, z1) = ((1 - part, part) for part in fraction.unbind(1))
        pairs = [near * far for near in (x0, x1) for far in (y0, y1)]
        shares = torch.stack([pair * end for pair in pairs for end in (z0, z1)], 1)
        found = functional.embedding_bag(indices, table, per_sample_weights=shares, mode="sum")
        return found.reshape(*points.shape[:-1], -1)


class StaticScan:
    """A structure of the static scan, cropped and filtered once, from which templates of any resolution are made.

    The tones are piecewise linear functions of the intensity, each 1 at one of `KNOTS` intensities and 0 at the others,
    so that a frame of another contrast is some sum of them; with the mask of a bone also the mask and the intensity
    within it: marrow may look different without its surroundings following suit.

    Args:
        image: static scan.
        affine: voxel to world.
        weight: of the structure on the same grid; the crop holds it and a margin.
        inside: mask of the bone, None for a structure of many tissues.
        normal: of the frames' slices in the static world; the array axis nearest to it is the through-slice axis.
        width: mm, of the box filter along the through-slice axis; a scan that is coarser already is not filtered.
        voxel: mm in the slice plane, to which a finer scan is averaged in whole steps.
    """

    def __init__(
        self,
        image: Real[np.ndarray, "x y z"],
        affine: Float[np.ndarray, "4 4"],
        weight: Float[np.ndarray, "x y z"],
        inside: Bool[np.ndarray, "x y z"] | None,
        *,
        normal: Float[np.ndarray, "3"],
        width: float,
        voxel: float,
    ) -> None:
        size = spacing(affine)
        through = int(np.argmax(np.abs((affine[:3, :3] / size).T @ normal)))
        margin = np.ceil(MARGIN_MM / size).astype(int) + 2
        margin[through] = int(np.ceil(width / size[through])) + 2
        box = _bounding_box(weight > 0, margin)
        factors = _factors(size, through, voxel)
        values, self.weight = (_block_mean(part[box].astype(np.float32), factors) for part in (image, weight))
        values = values / max(float(np.percentile(values[::2, ::2, ::2], 99)), 1e-6)
        # Tones come before the filter: a slice averages tissues, it does not show the tone of their mean.
        tones = _tones(values)
        if inside is not None:
            mask = _block_mean(inside[box].astype(np.float32), factors)
            tones += [mask, mask * values]
        width = width / size[through]
        self.tones = [_box_filtered(tone, width, through) if width > 1.5 else tone for tone in tones]
        self.affine = affine @ _shift([part.start for part in box]) @ _coarser(factors)
        self.through = through

    def template(self, voxel: float, smoothing: float, device: torch.device) -> Template:
        """Lay the scan out for sampling; voxels of about ``voxel`` mm, smoothed by ``smoothing`` mm in the plane."""
        size = spacing(self.affine)
        factors = _factors(size, self.through, voxel)
        tones, share = self.tones, self.weight.copy()
        tones = [_block_mean(tone, factors) for tone in tones]
        if smoothing:
            blur = [0 if axis == self.through else smoothing / (size * factors)[axis] for axis in range(3)]
            tones = [gaussian_filter(tone, blur, truncate=3) for tone in tones]
        affine = self.affine @ _coarser(factors)
        turned = np.linalg.inv(affine[:3, :3]).astype(np.float32)
        for axis in range(3):  # beyond the grid the border is read: it must not have weight
            share[(slice(None),) * axis + ([0, -1],)] = 0
        share = _block_mean(share, factors)
        count = len(tones)
        table = np.empty((*share.shape, 4 * count + 1), np.float32)
        for number, tone in enumerate(tones):
            table[..., number] = tone
            table[..., count + 3 * number : count + 3 * number + 3] = np.stack(np.gradient(tone), -1) @ turned
        table[..., -1] = share
        first, second, third = share.shape
        flat = torch.from_numpy(table.reshape(-1, table.shape[-1])).to(device)
        weight = torch.from_numpy(share.reshape(-1, 1).copy()).to(device)
        return Template(flat, weight, count, (first, second, third), affine, _world_box(share, affine))


def _factors(size: np.ndarray, through: int, voxel: float) -> list[int]:
    return [1 if axis == through else max(1, int(voxel / size[axis] + 0.3)) for axis in range(3)]


def _coarser(factors: Sequence[int]) -> np.ndarray:
    """Affine of the means of blocks of voxels, relative to that of the voxels."""
    return _shift([(factor - 1) / 2 for factor in factors]) @ np.diag([*factors, 1.0])


def _tones(values: np.ndarray) -> list[np.ndarray]:
    """The intensity (0 to about 1), and its hat functions but the first, which is one less their sum."""
    scaled = np.clip(values, 0, 1) * (KNOTS - 1)
    return [values, *(np.maximum(1 - np.abs(scaled - knot), 0) for knot in range(1, KNOTS - 1))]


def _bounding_box(mask: np.ndarray, margin: np.ndarray) -> tuple[slice, ...]:
    box = []
    for axis in range(3):
        found = np.flatnonzero(mask.any(tuple(other for other in range(3) if other != axis)))
        low, high = max(found[0] - margin[axis], 0), min(found[-1] + 1 + margin[axis], mask.shape[axis])
        box.append(slice(int(low), int(high)))
    return tuple(box)


def _box_filtered(values: np.ndarray, width: float, axis: int) -> np.ndarray:
    """Mean over ``width`` voxels, which need not be a whole number: two odd boxes in proportion."""
    odd = 2 * int((width - 1) // 2) + 1
    share = (width - odd) / 2  # of the next larger odd box
    narrow = uniform_filter1d(values, odd, axis, mode="nearest")
    wide = uniform_filter1d(values, odd + 2, axis, mode="nearest")
    return ((1 - share) * odd * narrow + share * (odd + 2) * wide) / ((1 - share) * odd + share * (odd + 2))


def _block_mean(values: np.ndarray, factors: Sequence[int]) -> np.ndarray:
    for axis, factor in enumerate(factors):
        if factor > 1:
            whole = values.shape[axis] // factor * factor
            cut = values[(slice(None),) * axis + (slice(0, whole),)]
            shape = (*cut.shape[:axis], whole // factor, factor, *cut.shape[axis + 1 :])
            values = cut.reshape(shape).mean(axis + 1)
    return values


def _world_box(weight: np.ndarray, affine: np.ndarray) -> np.ndarray:
    places = np.argwhere(weight > 0.05) @ affine[:3, :3].T + affine[:3, 3]
    return np.stack([places.min(0), places.max(0)])


def _shift(voxels: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix
