"""The dynamic frames as registration reads them: which voxels an item is judged by, and their intensities."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor

from ankleseg.rigid import filters
from ankleseg.rigid.fit import Voxels, weights_at
from ankleseg.rigid.profile import SliceProfile
from ankleseg.rigid.template import Template
from ankleseg.volumes.geometry import slice_axis, spacing

LEAST_WEIGHT = 0.05  # of the structure in a voxel that is used


@dataclass(frozen=True, eq=False)
class Frames:
    """A dynamic sequence, slices last.

    Attributes:
        values: (T, X, Y, Z) float32.
        affine: (4, 4) float64, voxel to world.
        profile: of the slices.
        known: (T, Z) slices that hold an image; a missing one holds a single value.
    """

    values: Float[Tensor, "t x y z"]
    affine: Float[np.ndarray, "4 4"]
    profile: SliceProfile
    known: Bool[Tensor, "t z"]

    @property
    def normal(self) -> Float[np.ndarray, "3"]:
        """Unit vector across the slices."""
        return self.affine[:3, 2] / np.linalg.norm(self.affine[:3, 2])

    @property
    def voxel(self) -> float:
        """Side of a voxel in the slice plane, mm."""
        return float(spacing(self.affine)[:2].mean())

    def offsets(self, parts: int) -> tuple[Float[Tensor, "parts 3"], Float[Tensor, "parts"]]:
        """Parts of the slice profile: how far from the middle of the slice they lie (mm, world), and their shares."""
        middle, share = (torch.from_numpy(part).to(self.values) for part in self.profile.quadrature(parts))
        return middle[:, None] * torch.from_numpy(self.normal).to(self.values), share

    @functools.lru_cache(maxsize=4)  # noqa: B019 the few levels of one sequence, which share its life
    def smoothed(self, deviation: float) -> Frames:
        """Blurred in the slice plane by a Gaussian of ``deviation`` mm, on a grid that is as coarse as that allows."""
        if not deviation:
            return self
        factor = max(1, int(0.4 * deviation / self.voxel))
        values = self.values
        for axis, size in enumerate(spacing(self.affine)[:2] * factor, 1):
            coarser = filters.averaging(values.shape[axis], factor)
            values = filters.along(values, filters.gaussian(len(coarser), deviation / float(size)) @ coarser, axis)
        coarse_affine = np.diag([factor, factor, 1.0, 1.0])
        coarse_affine[:2, 3] = (factor - 1) / 2
        return Frames(values.contiguous(), self.affine @ coarse_affine, self.profile, self.known)


def as_frames(
    data: Real[np.ndarray, "x y z t"], affine: Float[np.ndarray, "4 4"], profile: SliceProfile, device: torch.device
) -> Frames:
    """Bring the slice axis last and time first; intensities to about unit size."""
    axis = slice_axis(affine)
    order = [other for other in range(3) if other != axis] + [axis]
    values = np.transpose(data, (3, *order)).astype(np.float32)
    values = values / max(float(np.abs(values).mean()), 1e-6)
    stacked = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    known = stacked.amax((1, 2)) > stacked.amin((1, 2))
    return Frames(stacked, affine[:, [*order, 3]], profile, known)


def choose_voxels(
    frames: Frames,
    template: Template,
    frame: Int[Tensor, "b"],
    static_from_frame: Float[Tensor, "b 4 4"],
    *,
    parts: int,
    count: int,
    around: float = 0.0,
) -> Voxels:
    """Find the voxels of each item's frame in which its structure has weight at the given pose.

    Args:
        frames, template: what is compared.
        frame: of each item.
        static_from_frame: poses, float64.
        parts: into which the slice profile is cut.
        count: most voxels an item uses; of more, evenly spread ones are taken.
        around: mm; where it is not 0, all voxels of the structure's box and so much around it are used, so that a pose
            can move that far.
    """
    low, high = _index_boxes(frames, torch.from_numpy(template.corners), static_from_frame.cpu(), around)
    size = (high - low).max(0).values.clamp(min=1)
    stride = max(1, round((float(size.prod()) / (count if around else 3.0 * count)) ** 0.5))
    device = frames.values.device
    steps = [torch.arange(0, int(side), stride if axis < 2 else 1) for axis, side in enumerate(size)]
    offsets = torch.stack(torch.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    indices = (low[:, None] + offsets).to(device)
    shape = torch.tensor(frames.values.shape[1:], device=device)
    inside = ((indices >= 0) & (indices < shape)).all(-1) & (offsets < (high - low)[:, None]).all(-1).to(device)
    inside &= frames.known[frame].gather(1, indices[..., 2].clamp(0, frames.known.shape[1] - 1))
    affine = torch.from_numpy(frames.affine).to(device)
    points = (indices.double() @ affine[:3, :3].T + affine[:3, 3]).float()
    wanted = inside
    if not around:
        weight = _weights(frames, template, points, inside, static_from_frame)
        wanted = weight > LEAST_WEIGHT
    chosen = _spread(wanted, count)
    valid = chosen >= 0
    rows = chosen.clamp(min=0)
    picked = indices.gather(1, rows[..., None].expand(-1, -1, 3)).clamp(min=0)
    picked = torch.minimum(picked, shape - 1)
    values = frames.values[frame[:, None], picked[..., 0], picked[..., 1], picked[..., 2]]
    offsets, shares = frames.offsets(parts)
    places = points.gather(1, rows[..., None].expand(-1, -1, 3))
    thinning = wanted.sum(1) / valid.sum(1).clamp(min=1) * stride**2
    return Voxels(places, values, valid, offsets, shares, thinning)


def _weights(frames: Frames, template: Template, points: Tensor, inside: Tensor, static_from_frame: Tensor) -> Tensor:
    candidates = Voxels(points, points[..., 0], inside, *frames.offsets(2), points[:, 0, 0])
    centre = torch.zeros(len(points), 3, dtype=torch.float64, device=points.device)
    chunks = (slice(first, first + 8) for first in range(0, len(points), 8))
    return torch.cat([weights_at(template, candidates, chunk, static_from_frame, centre) for chunk in chunks])


def _index_boxes(frames: Frames, corners: Tensor, static_from_frame: Tensor, around: float) -> tuple[Tensor, Tensor]:
    """First and one past the last frame index (B, 3) that a structure's box reaches, cut to the frame."""
    moved = corners[None] - static_from_frame[:, None, :3, 3]
    moved = moved @ static_from_frame[:, :3, :3]  # the transposed rotation, from the right
    voxel_from_world = torch.from_numpy(np.linalg.inv(frames.affine))
    places = moved @ voxel_from_world[:3, :3].T + voxel_from_world[:3, 3]
    reach = 1.0 + around / torch.from_numpy(spacing(frames.affine))
    shape = torch.tensor(frames.values.shape[1:])
    low = torch.minimum((places.min(1).values - reach).floor().long().clamp(min=0), shape - 1)
    high = torch.minimum((places.max(1).values + reach).ceil().long().clamp(min=0) + 1, shape)
    return low, torch.maximum(high, low + 1)


def _spread(wanted: Tensor, count: int) -> Tensor:
    """Indices (B, n) of wanted entries of each row, at most ``count``, evenly spread; -1 fills up short rows."""
    rows = []
    for row in wanted:
        found = row.nonzero()[:, 0]
        if len(found) > count:
            found = found[torch.linspace(0, len(found) - 1, count, device=found.device).round().long()]
        rows.append(found)
    rows.append(rows[0].new_full((1,), -1))  # so that there is a voxel, if an invalid one, where no item has any
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)[:-1]
