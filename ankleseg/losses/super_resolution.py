"""Losses of a sharp image with its segmentation, and those of the critic that judges them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ankleseg.losses.restoration import Images, Scalar, check_shapes

LEAST = 1e-6  # probability whose logarithm is taken
CHARBONNIER = 1e-3  # where the distance turns from square to absolute


class SharpSegmentation(nn.Module):
    """How far a sharp image and its segmentation are from the true ones (Delannoy 2020, SegSRGAN).

    Called with values and target (B, 1 + K, *spatial): the image, then a probability, or 0 and 1, for each structure.

    The Charbonnier distance √(e² + 10⁻⁶) is averaged over all voxels and channels, so that image and probabilities
    weigh the same.

    Args:
        segmentation: ``charbonnier``, or ``dice``: the distance of the image alone, plus one minus the soft Dice
            (2 Σ p·y + 1) / (Σ p + Σ y + 1), sums over the batch, averaged over the structures. ``dice_cross_entropy``:
            the mean cross entropy of structures and background on top, which also tells of structures that are in none
            of the patches of a batch; for structures that exclude each other.
        image: factor on the distance of the image; published 1. One minus the Dice is some tenths where the distance is
            some hundredths: beside Dice, a larger factor sharpens sooner.

    Raises:
        ValueError: another word, or a factor that is not positive; when called: values and target have different
            shapes, or structures overlap whose cross entropy is asked for.
    """

    def __init__(self, segmentation: str = "charbonnier", image: float = 1.0) -> None:
        super().__init__()
        if segmentation not in (words := ("charbonnier", "dice", "dice_cross_entropy")):
            raise ValueError(f"{segmentation!r} is none of {', '.join(words)}")
        if not image > 0:
            raise ValueError(f"the factor on the distance of the image is positive, but is {image}")
        self.segmentation = segmentation
        self.image = image

    def forward(self, values: Images, target: Images) -> Scalar:
        check_shapes(values, target)
        full = torch.promote_types(values.dtype, torch.float32)
        values, target = values.to(full), target.to(full)
        distance = ((values - target).square() + CHARBONNIER**2).sqrt()
        if self.segmentation == "charbonnier":
            return distance.mean() + (self.image - 1) * distance[:, 0].mean() / values.shape[1]
        if values.shape[1] == 1:  # no structures
            return self.image * distance.mean()
        others = [0, *range(2, values.ndim)]
        probabilities, structures = values[:, 1:], target[:, 1:]
        shared = (probabilities * structures).sum(others)
        dice = (2 * shared + 1) / (probabilities.sum(others) + structures.sum(others) + 1)
        loss = self.image * distance[:, 0].mean() + (1 - dice).mean()
        if self.segmentation == "dice":
            return loss
        if structures.shape[1] > 1 and (structures.sum(1) > 1.5).any():
            raise ValueError("the cross entropy is of structures that exclude each other: use 'dice' for regions")
        found, true = (torch.cat([1 - each.sum(1, keepdim=True), each], dim=1) for each in (probabilities, structures))
        return loss - (true * found.clamp_min(LEAST).log()).sum(1).mean()


def slope_of(critic: Callable[[Tensor], Tensor], points: Images) -> Images:
    """Gradient of each sample's score to the sample, (B, C, *spatial), to be differentiated by the critic's weights.

    Args:
        critic: from samples (B, C, *spatial) to scores (B,).
        points: the samples.
    """
    points = points.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return slope


def gradient_penalty(slope: Images) -> Scalar:
    """Mean over the samples of (‖slope‖ − 1)² (Gulrajani 2017).

    Args:
        slope: gradient of a critic's score to each sample, between real and made-up ones.
    """
    return (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()
