"""The static scan as registration reads it: tones, their gradients and the weight side by side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor
from torch.nn import functional

from ankleseg.rigid import filters
from ankleseg.volumes.geometry import bounding_box, spacing

KNOTS = 5
MARGIN_MM = 8.0  # kept around a structure in the slice plane


@dataclass(frozen=True, eq=False)
class Template:
    """A static scan on a grid, one row a voxel.

    Attributes:
        table: (voxels, 4·tones + 1); each tone, the slopes of the tones along the world's axes (1/mm, axis by axis),
            and the weight of the structure.
        weight: (voxels, 1) the weight alone.
        tones: how many functions of intensity and place are kept (see `StaticScan`).
        shape: of the grid.
        affine: (4, 4) float64, voxel to world.
        corners: (8, 3) float64, of the box on the grid in which the structure has weight, in the world (mm).
    """

    table: Float[Tensor, "voxels columns"]
    weight: Float[Tensor, "voxels 1"]
    tones: int
    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]
    corners: Float[np.ndarray, "8 3"]

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
        device: where it is kept.
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
        device: torch.device | None = None,
    ) -> None:
        size = spacing(affine)
        through = int(np.argmax(np.abs((affine[:3, :3] / size).T @ normal)))
        margin = np.ceil(MARGIN_MM / size).astype(int) + 2
        margin[through] = int(np.ceil(width / size[through])) + 2
        box = bounding_box(weight > 0, margin.tolist())
        factors = _factors(size, through, voxel)
        values, self.weight = (_coarser(_tensor(part[box], device), factors) for part in (image, weight))
        values = values / max(float(np.percentile(values[::2, ::2, ::2].cpu().numpy(), 99)), 1e-6)
        # Tones come before the filter: a slice averages tissues, it does not show the tone of their mean.
        tones = _tones(values)
        if inside is not None:
            mask = _coarser(_tensor(inside[box], device), factors)
            tones += [mask, mask * values]
        self.tones = torch.stack(tones, -1)
        if width > 1.5 * size[through]:
            profile = filters.box(values.shape[through], width / size[through])
            self.tones = filters.along(self.tones, profile, through)
        self.affine = affine @ _shift([part.start for part in box]) @ _coarser_affine(factors)
        self.through = through

    def template(self, voxel: float, smoothing: float) -> Template:
        """Lay the scan out for sampling; voxels of about ``voxel`` mm, smoothed by ``smoothing`` mm in the plane."""
        size = spacing(self.affine)
        factors = _factors(size, self.through, voxel)
        tones = _coarser(self.tones, factors)
        for axis in {0, 1, 2} - {self.through}:
            if smoothing:
                blur = filters.gaussian(tones.shape[axis], smoothing / (size[axis] * factors[axis]))
                tones = filters.along(tones, blur, axis)
        affine = self.affine @ _coarser_affine(factors)
        shape, count = tones.shape[:3], tones.shape[3]
        slopes = torch.stack([filters.along(tones, filters.slope(shape[axis]), axis) for axis in range(3)])
        world_from_slope = torch.from_numpy(np.linalg.inv(affine[:3, :3]).T).to(tones)
        gradients = (world_from_slope @ slopes.flatten(1)).reshape(3, -1, count)
        share = self.weight.clone()
        for axis in range(3):  # beyond the grid the border is read: it must not have weight
            share.index_fill_(axis, torch.tensor([0, share.shape[axis] - 1], device=share.device), 0.0)
        share = _coarser(share, factors)
        table = tones.new_empty(share.numel(), 4 * count + 1)
        table[:, :count] = tones.reshape(-1, count)
        for axis, part in enumerate(gradients, 1):
            table[:, axis * count : (axis + 1) * count] = part
        table[:, -1] = share.flatten()
        return Template(
            table, share.reshape(-1, 1), count, (shape[0], shape[1], shape[2]), affine, _box_of(share, affine)
        )


def _factors(size: np.ndarray, through: int, voxel: float) -> list[int]:
    return [1 if axis == through else max(1, int(voxel / size[axis] + 0.3)) for axis in range(3)]


def _coarser(values: Tensor, factors: Sequence[int]) -> Tensor:
    """Means of blocks of voxels along the first three axes."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            values = filters.along(values, filters.averaging(values.shape[axis], factor), axis)
    return values


def _coarser_affine(factors: Sequence[int]) -> np.ndarray:
    """Affine of the means of blocks of voxels, relative to that of the voxels."""
    return _shift([(factor - 1) / 2 for factor in factors]) @ np.diag([*factors, 1.0])


def _tones(values: Tensor) -> list[Tensor]:
    """The intensity (0 to about 1), and its hat functions but the first, which is one less their sum."""
    scaled = values.clamp(0, 1) * (KNOTS - 1)
    return [values, *((1 - (scaled - knot).abs()).clamp(min=0) for knot in range(1, KNOTS - 1))]


def _tensor(values: np.ndarray, device: torch.device | None) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)


def _box_of(weight: Tensor, affine: np.ndarray) -> np.ndarray:
    """Corners (8, 3) in the world of the voxels that have weight."""
    box = bounding_box((weight > 0.05).cpu().numpy())
    corners = np.array(list(itertools.product(*([part.start, part.stop - 1] for part in box))))
    return corners @ affine[:3, :3].T + affine[:3, 3]


def _shift(voxels: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix
