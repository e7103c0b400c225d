"""DeepLab: atrous convolutions see far without losing more resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import (
    channel_dropout,
    check_settings,
    check_sides,
    conv_norm_relu,
    convolution,
    linear_upsampling,
)
from ankleseg.networks.parts import parts
from ankleseg.networks.resnet import ResidualBlock


class DeepLab(nn.Module):
    """DeepLab v3+: a residual encoder whose last level is atrous, an atrous spatial pyramid, and a light decoder.

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor``, 8, and gives logits
    (B, out_channels, *spatial); the sigmoid or softmax is part of the loss and of prediction.

    Layers, with the default widths 32, 64, 128, 256: a 3×3 convolution with stride 2; levels of two residual blocks
    (He 2016) at a half, a quarter and an eighth of the sides, the fourth at an eighth too, but atrous by 2.
    The pyramid (ASPP) is a 1×1 and, for each rate, a 3×3 convolution atrous by it, side by side, joined by a 1×1
    convolution. Linear enlargement by 4; joined with the maps of the first level, narrowed by a 1×1 convolution; two
    3×3 convolutions; a 1×1 convolution to the outputs; linear enlargement by 2. All but the last are followed by norm
    and ReLU.

    Source: Chen 2017 (DeepLab v3), Chen 2018 (v3+). Published with an encoder of many more layers, made for colour
    photographs, at an eighth or a sixteenth of the sides with rates of 6, 12 and 18; a patch of 128 voxels is 16 at an
    eighth, hence smaller rates. Like MONAI's ``SimpleASPP``, which has norm and activation only behind the joint
    convolution, it has no pooling of the whole image: what it would tell depends on the size of the tile.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures, or one for each region.
        spatial_dims: 2 or 3.
        widths: channels of the four levels.
        rates: of the atrous convolutions of the pyramid.
        norm: ``batch``, ``instance`` or ``none``.
        dropout: probability of dropping a feature map, after the pyramid and before the outputs.

    Raises:
        ValueError: a setting is outside its menu or range, or a side does not divide by 8.
    """

    divisor = 8

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        widths: Sequence[int] = (32, 64, 128, 256),
        rates: Sequence[int] = (2, 4, 6),
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, dropout, widths)
        if len(widths) != 4:
            raise ValueError(f"widths are {list(widths)}, but there are four levels")
        if not rates or min(rates) < 1:
            raise ValueError(f"rates are {list(rates)}, but each atrous convolution has one of at least 1")
        first, second, third, fourth = widths

        def level(before: int, width: int, stride: int = 2, dilation: int = 1) -> nn.Sequential:
            return nn.Sequential(
                ResidualBlock(spatial_dims, before, width, stride, norm, 1, dilation),
                ResidualBlock(spatial_dims, width, width, 1, norm, 1, dilation),
            )

        def layers(before: int, width: int, size: int = 3, dilation: int = 1, stride: int = 1) -> nn.Sequential:
            bias = norm == "none"
            return nn.Sequential(
                *conv_norm_relu(
                    spatial_dims, before, width, norm=norm, size=size, stride=stride, dilation=dilation, bias=bias
                )
            )

        self.stem = layers(in_channels, first, stride=2)
        self.fine = level(first, first, stride=1)
        self.coarse = nn.Sequential(
            level(first, second), level(second, third), level(third, fourth, stride=1, dilation=2)
        )
        self.pyramid = nn.ModuleList(
            [layers(fourth, second, size=1), *(layers(fourth, second, dilation=rate) for rate in rates)]
        )
        self.joint = nn.Sequential(
            layers(second * (1 + len(rates)), third, size=1),
            *channel_dropout(spatial_dims, dropout),
            linear_upsampling(spatial_dims, 4),
        )
        self.narrow = layers(first, first, size=1)
        self.decoder = nn.Sequential(
            layers(third + first, second), layers(second, second), *channel_dropout(spatial_dims, dropout)
        )
        self.head = convolution(spatial_dims, second, out_channels, size=1)
        self.doubling = linear_upsampling(spatial_dims, 2)
        self.parts = parts(["stem", "fine", "coarse"], ["pyramid", "joint"], ["narrow", "decoder", "head"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        check_sides(x, self.divisor)
        fine = self.fine(self.stem(x))
        coarse = self.coarse(fine)
        seen = self.joint(torch.cat([branch(coarse) for branch in self.pyramid], dim=1))
        return self.doubling(self.head(self.decoder(torch.cat([seen, self.narrow(fine)], dim=1))))
