"""The U-Net of the published ankle pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import (
    channel_dropout,
    channels_last,
    check_settings,
    check_sides,
    conv_norm_relu,
    convolution,
    linear_upsampling,
    max_pool,
    transposed_upsampling,
)
from ankleseg.networks.parts import parts

UPSAMPLINGS = ("linear", "transposed")


class UNet(nn.Module):
    """U-Net with three convolutions a level and linear up-sampling: 1,179,569 parameters in 2-D.

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor`` (8 by default) and gives logits
    (B, out_channels, *spatial); the sigmoid or softmax is part of the loss and of prediction.

    Layers, with the default widths 16, 32, 64, 128: a level is three times 3×3 convolution with bias, batch norm,
    ReLU. Four descending levels of these widths with 2×2 maximum pooling between them; a bottom level of 128 at the
    resolution of the last of them; three ascending levels of 64, 32, 16, each after bilinear doubling (corners not
    aligned) and concatenation of the doubled map first and the descending map second; one more convolution, norm and
    ReLU of 16; last a 1×1 convolution.

    Source: published ankle pipeline (Coupeau 2020; rousseau/dynMRI); the idea is Ronneberger 2015. The document
    describes transposed convolutions for up-sampling, the code doubles bilinearly; the published number of parameters
    is that of the code, hence the default.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures.
        spatial_dims: 2 or 3.
        widths: channels of the descending levels.
        upsampling: ``linear`` as in the published code, or ``transposed`` as in the document.
        norm: ``batch``, ``instance`` or ``none``.
        dropout: probability of dropping a feature map, after each level.

    Raises:
        ValueError: a setting is outside its menu or range, or a side does not divide by ``divisor``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        widths: Sequence[int] = (16, 32, 64, 128),
        upsampling: str = "linear",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, dropout, widths)
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling is {upsampling!r}, but may be one of {', '.join(UPSAMPLINGS)}")

        def level(width_before: int, width: int) -> nn.Sequential:
            return nn.Sequential(
                *conv_norm_relu(spatial_dims, width_before, width, norm=norm),
                *conv_norm_relu(spatial_dims, width, width, norm=norm),
                *conv_norm_relu(spatial_dims, width, width, norm=norm),
                *channel_dropout(spatial_dims, dropout),
            )

        def doubling(width: int) -> nn.Module:
            linear = upsampling == "linear"
            return linear_upsampling(spatial_dims, 2) if linear else transposed_upsampling(spatial_dims, width)

        self.divisor = 2 ** (len(widths) - 1)
        self.pool = max_pool(spatial_dims)
        self.descending = nn.ModuleList(
            level(before, width) for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.bottom = level(widths[-1], widths[-1])
        below, beside = list(widths)[:0:-1], list(widths)[-2::-1]
        self.doubling = nn.ModuleList(doubling(width) for width in below)
        self.ascending = nn.ModuleList(
            level(width_below + width, width) for width_below, width in zip(below, beside, strict=True)
        )
        self.last = nn.Sequential(*conv_norm_relu(spatial_dims, widths[0], widths[0], norm=norm))
        self.head = convolution(spatial_dims, widths[0], out_channels, size=1)
        up = [f"{kind}.{n}" for n in range(len(below)) for kind in ("doubling", "ascending")]
        self.parts = parts([f"descending.{n}" for n in range(len(widths))], ["bottom"], [*up, "last", "head"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        check_sides(x, self.divisor)
        x = self.descending[0](channels_last(x))
        skipped = []
        for level in list(self.descending)[1:]:
            skipped.append(x)
            x = level(self.pool(x))
        x = self.bottom(x)
        for doubling, level in zip(self.doubling, self.ascending, strict=True):
            x = level(torch.cat([doubling(x), skipped.pop()], dim=1))
        return self.head(self.last(x))
