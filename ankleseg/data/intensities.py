"""Altering the intensities of a patch as drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.data.augmentation import AugmentationDraw

LEAST_BLUR = 0.2  # voxels; a narrower Gaussian leaves the neighbours a millionth
LOG_ZERO = -20.0  # weights below e^-20 count as e^-20: numbers that are almost zero make the processor slow


def altered(
    image: Float[Tensor, "c *patch"],
    draw: AugmentationDraw,
    background: Float[Tensor, " c"],
    intensity_range: Float[Tensor, " c"],
    spacing: Sequence[float],
) -> Float[Tensor, "c *patch"]:
    """Blur, gamma, coil field, contrast, brightness and noise, in this order; what was not drawn is not done.

    Args:
        image: the patch.
        draw: strengths.
        background: darkest intensity of each channel; gamma, field and contrast leave it as it is.
        intensity_range: from there to the bright end of each channel.
        spacing: mm along the axes of the patch.
    """
    changes = any(draw.bias) or draw.gamma != 1 or draw.contrast != 1 or draw.brightness or draw.noise
    if draw.blur:
        image = _blurred(image, draw.blur, spacing)
    if not changes:
        return image
    ones = [1] * (image.ndim - 1)
    dark, extent = background.reshape(-1, *ones), intensity_range.reshape(-1, *ones)
    relative = (image - dark).div_(extent)  # the further steps work in place: this runs for every patch
    if draw.gamma != 1:
        relative.clamp_min_(0).pow_(draw.gamma)
    if any(draw.bias):
        relative.mul_(_field(draw.bias, image.shape[1:]))
    if draw.contrast != 1 or draw.brightness:
        relative.mul_(draw.contrast).add_(draw.brightness)
    if draw.noise:
        generator = torch.Generator().manual_seed(draw.noise_seed)
        relative.add_(torch.randn(image.shape, generator=generator), alpha=draw.noise)
    return relative.mul_(extent).add_(dark)


def _field(coefficients: Sequence[float], size: Sequence[int]) -> Float[Tensor, "*patch"]:
    """Exponential of a polynomial of second order, as a coil's sensitivity falls off."""
    dimensions = len(size)
    lines = [
        torch.linspace(-1, 1, side).reshape([-1 if a == axis else 1 for a in range(dimensions)])
        for axis, side in enumerate(size)
    ]
    total = torch.zeros([1] * dimensions)
    quadratic = iter(coefficients[dimensions:])
    for axis in range(dimensions):
        inner = sum((next(quadratic) * line for line in lines[axis:]), start=torch.tensor(coefficients[axis]))
        total = total + inner * lines[axis]
    return total.exp()


def _blurred(image: Float[Tensor, "c *patch"], sigma: float, spacing: Sequence[float]) -> Float[Tensor, "c *patch"]:
    """Gaussian blur, one axis after the other, by a matrix of weights whose rows add up to one."""
    for axis, mm in enumerate(spacing, start=1):
        width = sigma / mm
        if width >= LEAST_BLUR:
            place = torch.arange(image.shape[axis], dtype=torch.float32) / width
            weights = (place[:, None] - place[None, :]).square_().mul_(-0.5).clamp_min_(LOG_ZERO).exp_()
            weights /= weights.sum(1, keepdim=True)
            image = (image.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return image
