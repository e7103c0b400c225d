"""SegNet: an encoder whose places of maxima the decoder goes back to."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import (
    channel_dropout,
    channels_last,
    check_settings,
    check_sides,
    conv_norm_relu,
    convolution,
)
from ankleseg.networks.parts import parts

_MAX_POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_MAX_UNPOOL: dict[int, type[nn.Module]] = {2: nn.MaxUnpool2d, 3: nn.MaxUnpool3d}


class SegNet(nn.Module):
    """SegNet: each doubling puts a value back where the maximum of its pooling was, and the rest is filled by
    convolutions (Badrinarayanan 2017).

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor`` (32 by default) and gives logits
    (B, out_channels, *spatial); the sigmoid or softmax is part of the loss and of prediction.

    Layers, with the defaults, those of VGG16: levels of 2, 2, 3, 3 and 3 times 3×3 convolution with bias, batch norm,
    ReLU, each followed by 2×2 maximum pooling that remembers where the maximum was; the same levels back, each after
    its unpooling, where the last convolution of a level narrows to the width of the next one; last a 3×3 convolution
    to the outputs. In 2-D, from three channels to the 11 or 12 classes published, about 29.5 million parameters.

    Nothing else than places passes from encoder to decoder: no maps are kept, as a U-Net does, so that it takes less
    memory, and outlines are less exact. MONAI has no such network.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures, or one for each region.
        spatial_dims: 2 or 3.
        widths: channels of the levels.
        depths: convolutions of each level.
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
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        depths: Sequence[int] = (2, 2, 3, 3, 3),
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, dropout, widths)
        if len(depths) != len(widths) or min(depths) < 1:
            raise ValueError(f"depths are {list(depths)}, but each of {len(widths)} levels has 1 convolution or more")

        def level(channels: Sequence[int]) -> nn.Sequential:
            steps = itertools.pairwise(channels)
            layers = [
                layer for before, width in steps for layer in conv_norm_relu(spatial_dims, before, width, norm=norm)
            ]
            return nn.Sequential(*layers, *channel_dropout(spatial_dims, dropout))

        self.divisor = 2 ** len(widths)
        before = [in_channels, *widths[:-1]]
        self.descending = nn.ModuleList(
            level([narrow, *[width] * depth]) for narrow, width, depth in zip(before, widths, depths, strict=True)
        )
        after = [widths[0], *widths[:-1]]
        self.ascending = nn.ModuleList(
            level([*[width] * depth, narrow])
            for narrow, width, depth in reversed(list(zip(after, widths, depths, strict=True)))
        )
        self.pool = _MAX_POOL[spatial_dims](2, return_indices=True)
        self.unpool = _MAX_UNPOOL[spatial_dims](2)
        self.head = convolution(spatial_dims, widths[0], out_channels)
        *down, deepest = [f"descending.{n}" for n in range(len(widths))]
        self.parts = parts(down, [deepest], [*(f"ascending.{n}" for n in range(len(widths))), "head"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        check_sides(x, self.divisor)
        x = channels_last(x)
        places = []
        for level in self.descending:
            x, place = self.pool(level(x))
            places.append(place)
        for level in self.ascending:
            x = level(self.unpool(x, places.pop()))
        return self.head(x)
