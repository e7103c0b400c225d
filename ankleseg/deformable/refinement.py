"""Registration of one pair by descent, coarse to fine, from zero or from the field that a network predicted.

The map φ = id + u is a chain of small steps: φ ← φ ∘ (id + v), as in greedy (Yushkevich 2016) and in the diffeomorphic
demons (Vercauteren 2009). The slope of the similarity in v is that in the moved image times its edges, so that nothing
has to be traced: an iteration is one sampling of the image, the sums over windows and one composition. Steps are those
of Adam (Kingma and Ba 2015), smoothed as a velocity is in a viscous fluid (Jena 2024), shorter than half a voxel and
smaller to the end. A chain of such steps folds nothing but for the sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ankleseg.deformable.scans import FOREGROUND
from ankleseg.losses import LocalCorrelation
from ankleseg.losses.similarity import window_sum
from ankleseg.spatial_transform import composed, warped

Image = Float[Tensor, "1 1 x y z"]
Field = Float[Tensor, "1 3 x y z"]

MEAN_DECAY, SQUARE_DECAY = 0.9, 0.99  # of Adam's moments
REACH = 2.5  # standard deviations at which a Gaussian is cut off


@dataclass(frozen=True)
class Descent:
    """How a pair is refined.

    Attributes:
        iterations: at each level, coarse to fine; a level has half the voxels of the next along each axis.
        window: of the correlation, in voxels of the level.
        step: longest step along one slope, in voxels of the level; it goes to 0 in the second half of the iterations.
        smooth_step: standard deviation of the Gaussian that steps are smoothed by, in voxels of the level.
        smooth_field: of the one that the field is smoothed by after every step.
        flat: similarity gained per voxel of displacement that is hardly worth a step.
    """

    iterations: Sequence[int] = (60, 60, 40)
    window: int = 5
    step: float = 0.4
    smooth_step: float = 0.7
    smooth_field: float = 0.5
    flat: float = 0.1


@torch.no_grad()
def refine(fixed: Image, moving: Image, descent: Descent, start: Field | None = None) -> Field:
    """Return the displacement that makes the moving image like the fixed one, in voxels.

    Args:
        fixed, moving: from 0 to 1 on one grid, aligned as far as an affine map can.
        descent: settings.
        start: a displacement to begin with, in voxels; None is zero.
    """
    images = [(fixed, moving)]
    starts = [torch.zeros(1, 3, *fixed.shape[2:], device=fixed.device) if start is None else start]
    for _ in descent.iterations[1:]:
        images.append((_halved(images[-1][0]), _halved(images[-1][1])))
        starts.append(_halved(starts[-1]) / 2)
    field, before = starts[-1], starts[-1]
    for count, (target, source), begun in zip(descent.iterations, reversed(images), reversed(starts), strict=True):
        if begun is not before:  # what the coarser level changed goes on top of the finer start
            field, before = begun + _doubled(field - before, target.shape[2:]), begun
        if count:
            field = _descend(target, source, field, count, descent)
    return field


def _descend(fixed: Image, moving: Image, field: Field, iterations: int, descent: Descent) -> Field:
    """The best field of so many steps at one level, the first and the last among them."""
    inside = (window_sum((fixed > FOREGROUND).float(), descent.window) > 0.5).float()
    windows = LocalCorrelation(descent.window).against(fixed, inside)
    count = float(inside.sum())
    step_kernel, field_kernel = _gaussian(descent.smooth_step), _gaussian(descent.smooth_field)
    mean, square = torch.zeros_like(field), torch.zeros_like(field[:, :1])
    best, least = field, torch.inf
    for number in range(iterations):
        moved = warped(moving, field)
        value, slope = windows.value_and_slope(moved)
        if value < least:
            best, least = field, float(value)
        force = smoothed(slope.mul_(-count) * torch.stack(torch.gradient(moved[0, 0])), step_kernel)
        mean.lerp_(force, 1 - MEAN_DECAY)
        square.lerp_(force.square().sum(1, keepdim=True), 1 - SQUARE_DECAY)
        size = (square / (1 - SQUARE_DECAY ** (number + 1))).sqrt_().add_(descent.flat)
        step = smoothed(mean / size.mul_(1 - MEAN_DECAY ** (number + 1)), step_kernel)
        step *= descent.step * min(1.0, 2 - 2 * number / iterations)
        field = smoothed(composed(step, field), field_kernel)
    return field if windows.value(warped(moving, field)) < least else best


def smoothed(field: Field, kernel: Sequence[float]) -> Field:
    """Filter along each axis by a symmetric kernel, given from its middle on; borders are repeated."""
    reach = len(kernel) - 1
    for axis in range(2, field.ndim) if reach else ():
        length = field.shape[axis]
        ends = [field.narrow(axis, at, 1).repeat_interleave(reach, axis) for at in (0, length - 1)]
        padded = torch.cat([ends[0], field, ends[1]], axis)
        field = field * kernel[0]
        for away, weight in enumerate(kernel[1:], start=1):
            sides = padded.narrow(axis, reach - away, length) + padded.narrow(axis, reach + away, length)
            field.add_(sides, alpha=weight)
    return field


def _gaussian(deviation: float) -> list[float]:
    """One half of a kernel, from its middle on."""
    if not deviation:
        return [1.0]
    reach = max(1, round(REACH * deviation))
    weights = torch.exp(-0.5 * (torch.arange(reach + 1) / deviation) ** 2)
    return (weights / (2 * weights.sum() - weights[0])).tolist()


def _halved(image: Tensor) -> Tensor:
    """Means of two voxels along each axis; an odd last one counts twice."""
    padding = [part for side in reversed(image.shape[2:]) for part in (0, side % 2)]
    return functional.avg_pool3d(functional.pad(image, padding, mode="replicate"), 2)


def _doubled(field: Tensor, size: Sequence[int]) -> Tensor:
    """A field of the next level, in its voxels."""
    finer = functional.interpolate(field, scale_factor=2, mode="trilinear", align_corners=False)
    return 2 * finer[:, :, : size[0], : size[1], : size[2]]
