"""The residual networks of the published ankle pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from ankleseg.networks.blocks import (
    channel_dropout,
    check_settings,
    check_sides,
    conv_norm,
    conv_norm_relu,
    convolution,
    linear_upsampling,
)
from ankleseg.networks.parts import parts

BLOCKS = ("basic", "bottleneck")
BOTTLENECK_EXPANSION = 4


class ResidualBlock(nn.Module):
    """Sum of a few convolutions and a shortcut, then ReLU (He 2016).

    (B, before, *spatial) becomes (B, width · expansion, *spatial / stride). Expansion 1 is the basic block, a larger
    one the bottleneck. The shortcut is the identity, or a 1×1 convolution and norm where channels or sides change.
    With a dilation, convolutions of 3×3 are atrous.
    """

    def __init__(
        self,
        spatial_dims: int,
        before: int,
        width: int,
        stride: int,
        norm: str,
        expansion: int,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        after = width * expansion
        conv = partial(conv_norm, spatial_dims, norm=norm, bias=norm == "none")
        conv_relu = partial(conv_norm_relu, spatial_dims, norm=norm, bias=norm == "none")
        if expansion == 1:
            residual = [
                *conv_relu(before, width, stride=stride, dilation=dilation),
                *conv(width, after, dilation=dilation),
            ]
        else:
            residual = [
                *conv_relu(before, width, size=1),
                *conv_relu(width, width, stride=stride, dilation=dilation),
                *conv(width, after, size=1),
            ]
        same = before == after and stride == 1
        self.residual = nn.Sequential(*residual)
        self.shortcut = nn.Sequential(*([] if same else conv(before, after, size=1, stride=stride)))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Residual network with one linear enlargement at its end: 8,161,729 (basic) or 8,535,489 (bottleneck) parameters.

    Takes a batch (B, in_channels, *spatial) whose sides divide by ``divisor`` (4 by default) and gives
    (B, out_channels, *spatial): logits, or intensities where it restores an image; the sigmoid or softmax is part of
    the loss and of prediction.

    Layers, with the defaults: 3×3 convolution to 64, batch norm, ReLU; then levels of 3, 4 and 6 residual blocks of
    widths 64, 128 and 256, the first block of the second and third level with stride 2; a 1×1 convolution with bias
    to the outputs; bilinear enlargement by 4 (corners not aligned). A basic block is 3×3 convolution, norm, ReLU, 3×3
    convolution, norm. A bottleneck block is 1×1 convolution to the width, norm, ReLU, 3×3 (with the stride), norm,
    ReLU, 1×1 to four times the width, norm. Convolutions before a norm have no bias.

    Source: published ankle pipeline (Coupeau 2020; rousseau/dynMRI); the blocks are He 2016. The document says that
    widths reach 128; the published numbers of parameters prove 256. The published code enlarges all 256 maps and then
    convolves 1×1; both steps are linear and the weights of the enlargement sum to one, so the order here gives the same
    logits with a fraction of the memory. The published bottleneck class is not complete; its head needs the 1,024
    channels that the last level gives.

    With two convolutions in the stem this is the published network for reconstruction, of 8,198,593 parameters. Its
    code has a single batch norm, used after the one and after the other convolution of the stem: weights and running
    statistics are shared.

    Args:
        in_channels: image channels.
        out_channels: 1 for a single structure, else background and structures.
        spatial_dims: 2 or 3.
        block: ``basic`` or ``bottleneck``.
        widths: channels of the levels (before the fourfold expansion of a bottleneck).
        depths: residual blocks of the levels.
        norm: ``batch``, ``instance`` or ``none`` (the convolutions then have a bias).
        dropout: probability of dropping a feature map, after each level.
        stem_size: side of the first kernel in pixels, odd.
        stem_convolutions: convolutions of the stem; those after the first are 3×3 and share its norm.

    Raises:
        ValueError: a setting is outside its menu or range, or a side does not divide by ``divisor``.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        spatial_dims: int = 2,
        block: str = "basic",
        widths: Sequence[int] = (64, 128, 256),
        depths: Sequence[int] = (3, 4, 6),
        norm: str = "batch",
        dropout: float = 0.0,
        stem_size: int = 3,
        stem_convolutions: int = 1,
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, norm, dropout, widths)
        if stem_size < 1 or stem_size % 2 == 0:
            raise ValueError(f"stem_size is {stem_size}, but the side of a kernel is odd")
        if stem_convolutions < 1:
            raise ValueError(f"stem_convolutions is {stem_convolutions}, but a stem has at least one")
        if block not in BLOCKS:
            raise ValueError(f"block is {block!r}, but may be one of {', '.join(BLOCKS)}")
        if len(depths) != len(widths) or min(depths) < 1:
            raise ValueError(
                f"depths are {list(depths)}, but each of the {len(widths)} levels needs at least one block"
            )
        self.divisor = 2 ** (len(widths) - 1)
        expansion = BOTTLENECK_EXPANSION if block == "bottleneck" else 1
        bias = norm == "none"
        stem = conv_norm_relu(spatial_dims, in_channels, widths[0], norm=norm, size=stem_size, bias=bias)
        norms = stem[1:-1]
        for _ in range(stem_convolutions - 1):
            again = convolution(spatial_dims, widths[0], widths[0], bias=bias)
            stem += [again, *norms, nn.ReLU(inplace=True)]
        self.stem = nn.Sequential(*stem)
        self.levels = nn.ModuleList()
        before = widths[0]
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks = []
            for repeat in range(depth):
                stride = 2 if number > 0 and repeat == 0 else 1
                blocks.append(ResidualBlock(spatial_dims, before, width, stride, norm, expansion))
                before = width * expansion
            self.levels.append(nn.Sequential(*blocks, *channel_dropout(spatial_dims, dropout)))
        self.head = convolution(spatial_dims, before, out_channels, size=1)
        self.enlargement = linear_upsampling(spatial_dims, self.divisor)
        *upper, deepest = [f"levels.{n}" for n in range(len(widths))]
        self.parts = parts(["stem", *upper], [deepest], ["head"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch outputs *spatial"]:
        check_sides(x, self.divisor)
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        return self.enlargement(self.head(x))
