"""VoxelMorph: from a pair of images to the displacement or velocity that registers them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.networks.blocks import channels_last, check_settings, check_sides, convolution, max_pool
from ankleseg.networks.parts import parts
from ankleseg.spatial_transform import integrated, resized

SLOPE = 0.2  # of the leaky ReLU below 0
FLOW_DEVIATION = 1e-5  # of the first weights of the last layer: training starts near the identity
MONAI_DIVISOR = 16  # of a backbone that does not tell its own


class VoxelMorph(nn.Module):
    """A registration network: 327,331 parameters in 3-D, 109,170 in 2-D (Balakrishnan 2019; Dalca 2019).

    Takes a pair as one batch (B, 2C, *spatial), first the channels of the moving image, then those of the fixed one, on
    one grid with sides of any length, and gives a *flow* that `displacement` turns into the displacement of the fixed
    grid, in voxels: moved(x) = moving(x + u(x)).

    Without integration the flow is that displacement (B, D, *spatial). With it the flow is a stationary velocity at
    half the resolution, (B, D, *⌈side / 2⌉), in voxels of its own grid; this is what training regularises. The order is
    that of the published code (voxelmorph, PyTorch): the output at full resolution is resized to half (linear, corners
    on corners) and halved, integrated by scaling and squaring, doubled and resized back. The inverse is the
    displacement of the negative flow.

    (MONAI's `VoxelMorph` doubles where it resizes to half and halves where it resizes back, so that it integrates four
    times the velocity that its displacement has, and the negative velocity does not give the inverse; its images end in
    repeated borders. Its network, `VoxelMorphUNet`, is a choice here.)

    Args:
        in_channels: of each of the two images.
        spatial_dims: 2 or 3.
        widths, ascending, last: see `VoxelMorphUNet`.
        integration_steps: squarings of the velocity, published are 7; 0: the flow is a displacement.
        backbone: a network from a pair (B, 2C, *spatial) to the flow at full resolution (B, D, *spatial); None: a
            `VoxelMorphUNet`. Its sides are padded, by repeated borders, to multiples of its ``divisor`` (16 where it
            tells none), and the flow is cropped back.

    Raises:
        ValueError: a setting is outside its menu or range.
    """

    divisor = 1

    def __init__(
        self,
        in_channels: int = 1,
        spatial_dims: int = 3,
        widths: Sequence[int] = (16, 32, 32, 32),
        ascending: Sequence[int] = (32, 32, 32, 32),
        last: Sequence[int] = (32, 16, 16),
        integration_steps: int = 0,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if integration_steps < 0:
            raise ValueError(f"integration_steps is {integration_steps}, but is 0 or more")
        self.in_channels = in_channels
        self.spatial_dims = spatial_dims
        self.integration_steps = integration_steps
        self.downsizing = 2 if integration_steps else 1  # times that voxels of the flow are as large as the image's
        self.backbone = backbone or VoxelMorphUNet(2 * in_channels, spatial_dims, widths, ascending, last)

    def forward(self, pair: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch dimensions *flow"]:
        if pair.shape[1] != 2 * self.in_channels:
            raise ValueError(
                f"a pair of {pair.shape[1]} channels does not fit: expected {self.in_channels} of the moving image, "
                f"then {self.in_channels} of the fixed one"
            )
        sides = pair.shape[2:]
        flow = self.backbone(_padded(pair, int(getattr(self.backbone, "divisor", MONAI_DIVISOR))))
        flow = flow[(..., *(slice(0, side) for side in sides))].float()
        if not self.integration_steps:
            return flow
        return resized(flow, [-(-side // self.downsizing) for side in sides]) / self.downsizing

    def displacement(
        self, flow: Float[Tensor, "batch dimensions *flow"], size: Sequence[int]
    ) -> Float[Tensor, "batch dimensions *spatial"]:
        """The displacement of a flow, in voxels of the image.

        Args:
            flow: as `forward` gives it.
            size: sides of the image.
        """
        if not self.integration_steps:
            return flow
        return resized(self.downsizing * integrated(flow, self.integration_steps), size)


class VoxelMorphUNet(nn.Module):
    """The published U-Net of VoxelMorph, from a pair of images to a vector a voxel.

    Layers, all 3×3 convolutions with bias and leaky ReLU of slope 0.2, without norm: a descending convolution to each
    of `widths`, each followed by maximum pooling of 2; an ascending convolution to each of `ascending`, each followed
    by nearest doubling and concatenation of what the descending one gave before its pooling, doubled first; one of each
    of `last` at full resolution; and one of the number of dimensions without activation, whose weights begin near 0.

    Args:
        in_channels: of both images together.
        spatial_dims: 2 or 3.
        widths: channels of the descending levels.
        ascending: channels of the ascending levels, as many.
        last: channels at full resolution.

    Raises:
        ValueError: a setting is outside its menu or range, or a side does not divide by ``divisor``.
    """

    def __init__(
        self,
        in_channels: int = 2,
        spatial_dims: int = 3,
        widths: Sequence[int] = (16, 32, 32, 32),
        ascending: Sequence[int] = (32, 32, 32, 32),
        last: Sequence[int] = (32, 16, 16),
    ) -> None:
        super().__init__()
        check_settings(spatial_dims, "none", 0.0, [*widths, *ascending, *last])
        if len(ascending) != len(widths):
            raise ValueError(f"ascending are {list(ascending)}, but each of the {len(widths)} levels needs one")

        def layer(before: int, width: int) -> nn.Sequential:
            return nn.Sequential(convolution(spatial_dims, before, width), nn.LeakyReLU(SLOPE, inplace=True))

        self.divisor = 2 ** len(widths)
        self.pool = max_pool(spatial_dims)
        self.doubling = nn.Upsample(scale_factor=2, mode="nearest")
        self.descending = nn.ModuleList(
            layer(before, width) for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        beside = list(widths)[::-1]
        below = [widths[-1], *(width + skipped for width, skipped in zip(ascending, beside, strict=True))]
        self.ascending = nn.ModuleList(layer(before, width) for before, width in zip(below, ascending, strict=False))
        self.last = nn.ModuleList(layer(before, width) for before, width in zip([below[-1], *last], last, strict=False))
        self.flow = convolution(spatial_dims, [below[-1], *last][-1], spatial_dims)
        nn.init.normal_(self.flow.weight, 0.0, FLOW_DEVIATION)  # type: ignore[arg-type]
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]
        deepest, *up = [f"ascending.{n}" for n in range(len(self.ascending))]
        after = [f"last.{n}" for n in range(len(self.last))]
        self.parts = parts([f"descending.{n}" for n in range(len(widths))], [deepest], [*up, *after, "flow"])

    def forward(self, x: Float[Tensor, "batch channels *spatial"]) -> Float[Tensor, "batch dimensions *spatial"]:
        check_sides(x, self.divisor)
        x = channels_last(x)
        skipped = []
        for level in self.descending:
            x = level(x)
            skipped.append(x)
            x = self.pool(x)
        for level in self.ascending:
            x = torch.cat([self.doubling(level(x)), skipped.pop()], dim=1)
        for level in self.last:
            x = level(x)
        return self.flow(x)


def _padded(images: Tensor, divisor: int) -> Tensor:
    """Images with sides that a divisor divides; borders are repeated at the ends."""
    beyond = [-side % divisor for side in images.shape[2:]]
    if not any(beyond):
        return images
    return functional.pad(images, [n for side in reversed(beyond) for n in (0, side)], mode="replicate")
