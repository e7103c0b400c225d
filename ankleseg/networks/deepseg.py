"""The networks of the published cord pipeline: one finds the cord, two segment it along its centreline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import (
    channels_last,
    check_settings,
    check_sides,
    conv_norm_relu,
    convolution,
    max_pool,
    transposed_upsampling,
)
from ankleseg.networks.parts import parts

KERAS_EPS, KERAS_MOMENTUM = 1e-3, 0.01  # of batch norms; Keras calls the latter 0.99


class DeepSegUNet(nn.Module):
    """U-Net with dilated convolutions that finds the cord in slices, or without them segments it in slices.

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor`` (2 for each level) and gives logits
    (B, out_channels, *spatial).

    Layers: a level is a 3×3 convolution and one of dilation ``dilation``, each with bias, norm and ReLU, then 2×2
    maximum pooling. The bottleneck has a convolution for each of ``rates``, of twice the channels of the last level.
    On the way up, each level is a transposed 2×2 convolution to the channels of the level, concatenation of the doubled
    map first and the level's second, and two 3×3 convolutions. Last a 1×1 convolution. Batch norms have ε = 10⁻³ and a
    momentum of 0.01.

    Source: deepseg_sc (Gros 2019), of the Spinal Cord Toolbox. The networks that find the cord have widths (f, 2f) and
    bottlenecks by contrast: T2 f = 16 and rates 1, 2; T2* 8 and 1, 2, 4; T1 24 and 1, 2, 4; diffusion 8 and 1, 2.
    The one that segments slices of T2 has widths 32, 64, 128, rates 1, 1, no dilation and no norm. How many channels
    the transposed convolutions have is not told.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures.
        spatial_dims: 2 or 3.
        widths: channels of the levels.
        dilation: of the second convolution of a level.
        rates: dilations of the bottleneck.
        norm: ``batch``, ``instance`` or ``none``.

    Raises:
        ValueError: a setting is outside its menu or range, or a side does not divide by ``divisor``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        widths: Sequence[int] = (16, 32),
        dilation: int = 2,
        rates: Sequence[int] = (1, 2),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, 0.0, widths)
        if not rates or min(rates) < 1 or dilation < 1:
            raise ValueError(f"rates are {list(rates)} and dilation is {dilation}, but dilations are 1 or more")

        def convolutions(before: int, width: int, dilations: Sequence[int]) -> nn.Sequential:
            layers: list[nn.Module] = []
            for number, rate in enumerate(dilations):
                channels = width if number else before
                layers += conv_norm_relu(spatial_dims, channels, width, norm=norm, dilation=rate)
            return nn.Sequential(*layers)

        self.divisor = 2 ** len(widths)
        self.pool = max_pool(spatial_dims)
        self.contraction = nn.ModuleList(
            convolutions(before, width, (1, dilation))
            for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        bottom = 2 * widths[-1]
        self.bottleneck = convolutions(widths[-1], bottom, rates)
        beside = list(widths)[::-1]
        below = [bottom, *beside]
        self.doubling = nn.ModuleList(
            transposed_upsampling(spatial_dims, before, width) for before, width in zip(below, beside, strict=False)
        )
        self.expansion = nn.ModuleList(convolutions(2 * width, width, (1, 1)) for width in beside)
        self.head = convolution(spatial_dims, widths[0], out_channels, size=1)
        up = [f"{kind}.{n}" for n in range(len(widths)) for kind in ("doubling", "expansion")]
        self.parts = parts([f"contraction.{n}" for n in range(len(widths))], ["bottleneck"], [*up, "head"])
        _as_in_keras(self)

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        check_sides(x, self.divisor)
        x = channels_last(x)
        skipped = []
        for level in self.contraction:
            skipped.append(level(x))
            x = self.pool(skipped[-1])
        x = self.bottleneck(x)
        for doubling, level in zip(self.doubling, self.expansion, strict=True):
            x = level(torch.cat([doubling(x), skipped.pop()], dim=1))
        return self.head(x)


class DeepSegUNet3d(nn.Module):
    """The three-dimensional U-Net that segments the cord along its centreline: 468,193 parameters, 624 statistics.

    Takes a batch (B, in_channels, X, Y, Z) of even sides and gives logits (B, out_channels, X, Y, Z).

    Layers, with f = 24: 3×3×3 convolutions of f and 2f channels, maximum pooling, convolutions of 2f and 4f, nearest
    doubling, concatenation of the doubled map first and that of the way down second, two convolutions of 2f, a 1×1×1
    convolution. Each 3×3×3 convolution has bias, norm and ReLU; batch norms have ε = 10⁻³ and a momentum of 0.01.

    Source: deepseg_sc (Gros 2019), and its fine-tuning on the lumbosacral cord (De Broux 2021).

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures.
        features: f.
        norm: ``batch``, ``instance`` or ``none``.

    Raises:
        ValueError: a setting is outside its menu or range, or a side is odd.
    """

    divisor = 2

    def __init__(self, in_channels: int = 1, out_channels: int = 1, features: int = 24, norm: str = "batch") -> None:
        super().__init__()
        check_settings(3, norm, 0.0, [features])

        def two(before: int, first: int, second: int) -> nn.Sequential:
            return nn.Sequential(
                *conv_norm_relu(3, before, first, norm=norm), *conv_norm_relu(3, first, second, norm=norm)
            )

        self.contraction = two(in_channels, features, 2 * features)
        self.pool = max_pool(3)
        self.bottleneck = two(2 * features, 2 * features, 4 * features)
        self.doubling = nn.Upsample(scale_factor=2, mode="nearest")
        self.expansion = two(6 * features, 2 * features, 2 * features)
        self.head = convolution(3, 2 * features, out_channels, size=1)
        self.parts = parts(["contraction"], ["bottleneck"], ["expansion", "head"])
        _as_in_keras(self)

    def forward(self, x: Float[Tensor, "batch channels x y z"]) -> Float[Tensor, "batch outputs x y z"]:
        check_sides(x, self.divisor)
        beside = self.contraction(channels_last(x))
        below = self.doubling(self.bottleneck(self.pool(beside)))
        return self.head(self.expansion(torch.cat([below, beside], dim=1)))


def _as_in_keras(network: nn.Module) -> None:
    """Give batch norms the constants that they have in Keras."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.eps, module.momentum = KERAS_EPS, KERAS_MOMENTUM
