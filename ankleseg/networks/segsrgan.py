"""Generator and discriminator of SegSRGAN: super-resolution and segmentation of brain MRI at once."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.networks.blocks import check_sides

RESIDUAL_BLOCKS = 6
SHORTEST_SIDE = 8  # a quarter of it, 2, is the shortest side that reflects by one voxel
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut at 2 deviations


class InstanceNorm(nn.Module):
    """Each channel of each sample minus its mean, divided by (population standard deviation + 1e-7), scaled and shifted.

    (B, channels, *spatial) keeps its shape. The published ε is added to the deviation, not to the variance as in
    ``torch.nn.InstanceNorm3d``.
    """

    epsilon = 1e-7

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch channels *spatial"]:
        axes = tuple(range(2, x.ndim))
        variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
        # The root has no slope at 0: a constant map would send NaN back.
        deviation = variance.clamp_min(torch.finfo(x.dtype).tiny).sqrt()
        shape = (-1, *[1] * len(axes))
        return (x - mean) * (self.weight.view(shape) / (deviation + self.epsilon)) + self.bias.view(shape)


def normal_(weight: Tensor, gain: float) -> None:
    """Fill with a normal of variance ``gain`` / fan-in, cut at two deviations: LeCun's for gain 1, He's for 2."""
    deviation = math.sqrt(gain / weight[0].numel()) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def convolution(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Conv3d:
    """A convolution without bias, padded by reflection, with LeCun's weights."""
    conv = nn.Conv3d(before, after, size, stride, padding=size // 2, padding_mode="reflect", bias=False)
    normal_(conv.weight, gain=1)
    return conv


def convolution_norm_relu(before: int, after: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(convolution(before, after, size, stride), InstanceNorm(after), nn.ReLU(inplace=True))


def doubling(before: int, after: int) -> nn.Sequential:
    """Nearest neighbour enlargement by 2, then convolution, norm and ReLU."""
    return nn.Sequential(nn.Upsample(scale_factor=2), *convolution_norm_relu(before, after))


class ResidualBlock(nn.Module):
    """(B, channels, *spatial) plus its twice convolved and normalised copy; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *convolution_norm_relu(channels, channels), convolution(channels, channels), InstanceNorm(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual(x)


def with_thickness(
    volume: Tensor, slice_thickness: Tensor | None, conditional: bool
) -> Float[Tensor, "batch more x y z"]:
    """The volume with a constant channel of the slice thickness (B,) in mm behind the others, where conditional."""
    if not conditional:
        return volume
    if slice_thickness is None:
        raise ValueError("the network is conditional: it needs the slice thickness of each sample in mm")
    constant = slice_thickness.to(volume).view(-1, 1, 1, 1, 1).expand(-1, -1, *volume.shape[2:])
    return torch.cat([volume, constant], dim=1)


class SegSRGANGenerator(nn.Module):
    """Three-dimensional residual network from an interpolated scan to a sharp one and its segmentation.

    Takes a batch (B, in_channels, X, Y, Z) with sides that divide by 4, of at least 8, and gives
    (B, out_channels, X, Y, Z): first the sharp image, then logits; the sigmoid or softmax is part of the loss and of
    prediction.
    """

    divisor = 4

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        kernel: int = 16,
        residual: bool = True,
        conditional: bool = False,
        unet: bool = False,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conditional = conditional
        self.unet = unet
        k = kernel
        self.first = convolution_norm_relu(in_channels + conditional, k, size=7)
        self.down = nn.ModuleList(
            [convolution_norm_relu(k, 2 * k, stride=2), convolution_norm_relu(2 * k, 4 * k, stride=2)]
        )
        if unet:
            self.skips = nn.ModuleList([ResidualBlock(k), ResidualBlock(2 * k)])
        self.middle = nn.Sequential(*[ResidualBlock(4 * k) for _ in range(1 if unet else RESIDUAL_BLOCKS)])
        self.up = nn.ModuleList([doubling(4 * k, 2 * k), doubling(4 * k if unet else 2 * k, k)])
        self.last = convolution(2 * k if unet else k, out_channels, size=7)

    def forward(
        self, image: Float[Tensor, "batch channels x y z"], slice_thickness: Float[Tensor, "batch"] | None = None
    ) -> Float[Tensor, "batch outputs x y z"]:
        check_sides(image, self.divisor)
        if min(image.shape[2:]) < SHORTEST_SIDE:
            raise ValueError(f"a side of {min(image.shape[2:])} is too short: pad it to {SHORTEST_SIDE}")
        features = self.first(with_thickness(image, slice_thickness, self.conditional))
        if self.unet:
            full = self.skips[0](features)
            half = self.skips[1](self.down[0](full))
            features = self.up[0](self.middle(self.down[1](half)))
            features = self.up[1](torch.cat([features, half], dim=1))
            features = torch.cat([features, full], dim=1)
        else:
            for layer in (*self.down, self.middle, *self.up):
                features = layer(features)
        outputs = self.last(features)
        if self.residual:
            sharp = image[:, :1] - outputs[:, :1]
            outputs = torch.cat([sharp, outputs[:, 1:]], dim=1)
        return outputs


class SegSRGANDiscriminator(nn.Module):
    """Score of a sharp image with its segmentation, larger for real ones: 11,150,304 parameters.

    Takes a batch (B, in_channels, X, Y, Z), image first, with sides that divide by 32, and gives one score a sample
    (B,), unbounded (of a Wasserstein critic, no probability).
    """

    divisor = 32

    def __init__(self, in_channels: int = 2, kernel: int = 32, patch: int = 64, conditional: bool = False) -> None:
        super().__init__()
        if patch < self.divisor or patch % self.divisor:
            raise ValueError(f"patch is {patch}, but the discriminator takes multiples of {self.divisor}")
        self.conditional = conditional
        layers: list[nn.Module] = []
        before = in_channels + conditional
        for width in [kernel * 2**level for level in range(5)]:
            layers += [nn.Conv3d(before, width, 4, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
            before = width
        layers.append(nn.Conv3d(before, 1, min(2, patch // self.divisor), bias=False))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv3d):
                normal_(layer.weight, gain=2)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(
        self,
        image_and_segmentation: Float[Tensor, "batch channels x y z"],
        slice_thickness: Float[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch"]:
        check_sides(image_and_segmentation, self.divisor)
        scores = self.layers(with_thickness(image_and_segmentation, slice_thickness, self.conditional))
        return scores.flatten(1).mean(1)
