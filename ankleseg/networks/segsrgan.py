"""SegSRGAN: a generator that makes a scan sharp and segments it at once, and its discriminator."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.networks.blocks import check_sides
from ankleseg.networks.parts import parts
from ankleseg.networks.segsrgan_layers import (
    Convolution,
    DoublingConvolution,
    FirstConvolution,
    InstanceNorm,
    LastConvolution,
    joined,
    normal_,
)

RESIDUAL_BLOCKS = 6
SHORTEST_SIDE = 8  # a quarter of it, 2, is the shortest side that reflects by one voxel
HALVINGS = 5  # of the discriminator
LEAK = 0.01  # slope of its activation below 0


def norm_relu(convolution: Convolution) -> nn.Sequential:
    """A convolution, then its norm and ReLU."""
    return nn.Sequential(convolution, InstanceNorm(convolution.out_channels), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """(B, channels, X, Y, Z) plus its twice convolved and normalised copy; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *norm_relu(Convolution(channels, channels)), Convolution(channels, channels), InstanceNorm(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x).add_(x)


def with_thickness(volume: Tensor, slice_thickness: Tensor | None, conditional: bool) -> Tensor:
    """The volume (B, C, X, Y, Z), where conditional with a last channel that is the slice thickness (B,) throughout.

    Raises ValueError where the thickness is missing, or is not one for each sample.
    """
    if not conditional:
        return volume
    if slice_thickness is None:
        raise ValueError("the network is conditional: it needs slice_thickness, in mm, of each sample")
    if slice_thickness.shape != volume.shape[:1]:
        raise ValueError(
            f"slice_thickness has shape {tuple(slice_thickness.shape)}, but is one number for each of {len(volume)}"
        )
    constant = slice_thickness.to(volume).view(-1, 1, 1, 1, 1).expand(-1, -1, *volume.shape[2:])
    return torch.cat([volume, constant], dim=1)


class SegSRGANGenerator(nn.Module):
    """From an interpolated scan to a sharp one and its segmentation, in three dimensions: 1,483,664 parameters.

    Takes a batch (B, in_channels, X, Y, Z) with sides of at least 8 that divide by 4, and gives
    (B, out_channels, X, Y, Z): first the sharp image, in the units of the input, then logits; the sigmoid or softmax is
    part of the loss and of prediction.

    Layers, for k = ``kernel``: 7³ convolution to k; two 3³ convolutions of stride 2 to 2k and 4k; six residual blocks
    of 4k (convolution, norm, ReLU, convolution, norm, plus the input); twice nearest neighbour enlargement by 2 and 3³
    convolution, to 2k and k; 7³ convolution to the outputs. Instance norm and ReLU follow each convolution but the last
    and those named. Convolutions have no bias, are padded by reflection, and start from LeCun's normal weights. What a
    residual generator subtracts starts at 0, unlike the published one: it begins with the input as it is.

    With ``unet`` (1,404,116 parameters for kernel 28) there is one residual block at each of the three resolutions on
    the way down; on the way up each enlarged map, convolved to 2k and k, is joined by the map of the way down.

    Source: Delannoy 2020 and its code, koopa31/SegSRGAN. Its drawings show 7³ convolutions on the ways down and up,
    and norm and ReLU after the last one; the code has 3³ and neither, and so is it here. Its help speaks of a sum of
    image and residual; the code subtracts. In its released U-Net the last convolution takes the wrong map; here it is
    wired as in the code of the comparison for the article.

    Args:
        in_channels: image channels; the first is the one that is sharpened.
        out_channels: 1 sharp image, and 1 logit for a single structure, else of background and structures.
        kernel: channels at full resolution.
        residual: the sharp image is the input minus the first output; otherwise the first output itself.
        conditional: a constant channel tells the slice thickness, given as (B,) in mm.
        unet: with skip connections.

    Raises (when called):
        ValueError: a side is too short or does not divide by 4; a slice thickness is missing.
    """

    divisor = 4
    shortest = SHORTEST_SIDE

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
        k, maps = kernel, 2 if unet else 1
        self.first = norm_relu(FirstConvolution(in_channels + conditional, k, size=7))
        self.down = nn.ModuleList([norm_relu(Convolution(n * k, 2 * n * k, stride=2)) for n in (1, 2)])
        if unet:
            self.before_skip = nn.ModuleList([ResidualBlock(k), ResidualBlock(2 * k)])
        self.middle = nn.Sequential(*[ResidualBlock(4 * k) for _ in range(1 if unet else RESIDUAL_BLOCKS)])
        self.up = nn.ModuleList(
            [norm_relu(DoublingConvolution(4 * k, 2 * k)), norm_relu(DoublingConvolution(maps * 2 * k, k))]
        )
        self.last = LastConvolution(maps * k, out_channels, size=7)
        skips = ["before_skip.0", "before_skip.1"] if unet else []
        self.parts = parts(["first", "down.0", "down.1", *skips], ["middle"], ["up.0", "up.1", "last"])
        if residual:
            nn.init.zeros_(self.last.weight[:1])

    def forward(
        self, image: Float[Tensor, "batch channels x y z"], slice_thickness: Tensor | None = None
    ) -> Float[Tensor, "batch outputs x y z"]:
        check_sides(image, self.divisor)
        if min(image.shape[2:]) < self.shortest:
            raise ValueError(f"a side of {min(image.shape[2:])} is too short: pad it to {self.shortest}")
        features = self.first(with_thickness(image, slice_thickness, self.conditional))
        outputs = self.last(self._joined(features) if self.unet else self._straight(features))
        if self.residual:
            outputs = torch.cat([image[:, :1] - outputs[:, :1], outputs[:, 1:]], dim=1)
        return outputs

    def _straight(self, features: Tensor) -> Tensor:
        for layer in (*self.down, self.middle, *self.up):
            features = layer(features)
        return features

    def _joined(self, features: Tensor) -> Tensor:
        full = self.before_skip[0](features)
        half = self.before_skip[1](self.down[0](full))
        features = joined(self.up[0](self.middle(self.down[1](half))), half)
        return joined(self.up[1](features), full)


class SegSRGANDiscriminator(nn.Module):
    """Score of a sharp image with its segmentation, larger for real ones: 11,150,304 parameters.

    Takes a batch (B, in_channels, X, Y, Z), image first and then probabilities, with sides that divide by 32, and gives
    one score a sample (B,): unbounded, of a Wasserstein critic, no probability.

    Layers: five 4³ convolutions of stride 2 with bias, from He's normal weights, each followed by a leaky ReLU of slope
    0.01, of ``kernel`` times 1, 2, 4, 8, 16 channels; a convolution without bias to one channel, whose kernel covers
    the 2³ map that is left of a patch of 64. Larger patches leave more than one value, of which the score is the mean;
    a patch of 32 leaves one voxel before the last convolution, whose kernel is then 1³.

    Source: Delannoy 2020 and its code, koopa31/SegSRGAN, for patches of 64.

    Args:
        in_channels: the sharp image and the probabilities.
        kernel: channels of the first convolution.
        patch: side of the patches in voxels.
        conditional: a constant channel tells the slice thickness, given as (B,) in mm.

    Raises:
        ValueError: ``patch`` is no multiple of 32; when called: a side does not divide by 32 or is shorter than the
            last kernel needs, or a slice thickness is missing.
    """

    divisor = 2**HALVINGS

    def __init__(self, in_channels: int = 2, kernel: int = 32, patch: int = 64, conditional: bool = False) -> None:
        super().__init__()
        if patch < self.divisor or patch % self.divisor:
            raise ValueError(f"patches have sides of {patch}, but the critic takes multiples of {self.divisor}")
        self.conditional = conditional
        widths = [in_channels + conditional, *(kernel * 2**level for level in range(HALVINGS))]
        self.down = nn.ModuleList(
            nn.Conv3d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.last = nn.Conv3d(widths[-1], 1, min(2, patch // self.divisor), bias=False)
        for convolution in (*self.down, self.last):
            normal_(convolution.weight, gain=2)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    @property
    def shortest(self) -> int:
        """The shortest side that it takes, in voxels."""
        return self.divisor * int(self.last.kernel_size[0])

    def forward(
        self,
        image_and_segmentation: Float[Tensor, "batch channels x y z"],
        slice_thickness: Tensor | None = None,
    ) -> Float[Tensor, "batch"]:
        maps = self._checked(image_and_segmentation, slice_thickness)
        for convolution in self.down:
            maps = functional.leaky_relu(convolution(maps), LEAK)
        return self.last(maps).flatten(1).mean(1)

    def slope(
        self,
        image_and_segmentation: Float[Tensor, "batch channels x y z"],
        slice_thickness: Tensor | None = None,
    ) -> Float[Tensor, "batch channels x y z"]:
        """The gradient of each sample's score to its image and segmentation, to be differentiated by the weights.

        It equals that of ``torch.autograd.grad(…, create_graph=True)``, but its own gradient takes about half the time:
        between the kinks of its activations the score is linear, so that the slope is a product of transposed
        convolutions, and autograd need not differentiate a backward pass.
        """
        maps = self._checked(image_and_segmentation, slice_thickness).detach()
        steepness = []
        with torch.no_grad():
            for convolution in self.down:
                maps = convolution(maps)
                steepness.append(torch.where(maps > 0, 1.0, LEAK).to(maps))
                maps = maps * steepness[-1]
            score = self.last(maps)
        slope = functional.conv_transpose3d(torch.full_like(score, 1 / score[0].numel()), self.last.weight)
        weights = [convolution.get_parameter("weight") for convolution in self.down]
        for weight, steep in zip(reversed(weights), reversed(steepness), strict=True):
            slope = functional.conv_transpose3d(slope * steep, weight, stride=2, padding=1)
        return slope[:, : image_and_segmentation.shape[1]]

    def _checked(self, values: Tensor, slice_thickness: Tensor | None) -> Tensor:
        check_sides(values, self.divisor)
        if min(values.shape[2:]) < self.shortest:
            raise ValueError(f"a side of {min(values.shape[2:])} is too short: the last kernel needs {self.shortest}")
        return with_thickness(values, slice_thickness, self.conditional)
