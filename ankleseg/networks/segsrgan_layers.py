"""The layers of SegSRGAN: what the published ones compute, by a shorter way.

On CPUs the published layers spend most of their time on work that can be left out: a 7³ convolution to two channels,
which costs as much as one to sixteen, and a 3³ convolution that reads each voxel of an enlarged map up to eight times.
The layers here keep the published weights and give the published values up to rounding, in training as in prediction.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Maps = Float[Tensor, "batch channels x y z"]

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut at 2 deviations
NEGLIGIBLE = 1e-30  # added to a variance that may be 0


def normal_(weight: Tensor, gain: float) -> None:
    """Fill with a normal of variance ``gain`` / fan-in, cut at two deviations: LeCun's for gain 1, He's for 2."""
    deviation = math.sqrt(gain / weight[0].numel()) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


class InstanceNorm(nn.Module):
    """Each map minus its mean, divided by (population standard deviation + 1e-7), scaled and shifted for its channel.

    The published ε is added to the deviation, not to the variance as in ``torch.nn.InstanceNorm3d``. A constant map
    becomes the shift and sends no gradient back; ε is taken as 0 in the gradient of all others.

    ``in_place`` writes over the input, for prediction alone.
    """

    epsilon = 1e-7

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.in_place = False

    def forward(self, x: Maps) -> Maps:
        maps = x.reshape(1, -1, *x.shape[2:])
        weight, bias = self.weight.repeat(len(x)), self.bias.repeat(len(x))
        with torch.no_grad():
            mean, variance = torch.batch_norm_update_stats(maps, None, None, 0.0)
            deviation = variance.sqrt()
        if self.in_place:
            column = (-1, 1, 1, 1)
            maps.sub_(mean.view(column)).mul_((weight / (deviation + self.epsilon)).view(column))
            return maps.add_(bias.view(column)).view(x.shape)
        weight = weight * (deviation / (deviation + self.epsilon))
        return functional.batch_norm(maps, None, None, weight, bias, training=True, eps=NEGLIGIBLE).view(x.shape)


class Convolution(nn.Conv3d):
    """A convolution of odd ``size``, padded by reflection, without bias, from LeCun's normal weights."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(before, after, size, stride, padding=size // 2, padding_mode="reflect", bias=False)

    def reset_parameters(self) -> None:
        normal_(self.weight, gain=1)


class ThinConvolution(Convolution):
    """A convolution of a large ``size`` to few channels, as a flat one to many channels.

    Each plane x of the kernel is convolved, flat in y and z, to output channels of its own; their maps are summed
    after a shift along x.
    """

    def forward(self, x: Maps) -> Float[Tensor, "batch outputs x y z"]:
        size, side, reach = self.kernel_size[0], x.shape[2], self.kernel_size[0] // 2
        planes = self.weight.movedim(2, 0).flatten(0, 1).unsqueeze(2)
        maps = functional.conv3d(functional.pad(x, [reach] * 4 + [0, 0], mode="reflect"), planes)
        maps = functional.pad(maps, [0, 0, 0, 0, reach, reach], mode="reflect")
        total, *others = [part[:, :, start : start + side] for start, part in enumerate(maps.chunk(size, dim=1))]
        for other in others:
            total = total + other
        return total


class DoublingConvolution(Convolution):
    """Nearest neighbour enlargement by 2, then a 3³ convolution, at the resolution before the enlargement.

    Of the 3 voxels that the kernel covers along an axis, 2 are copies of one voxel. So each of the 8 voxels that one
    becomes is a 2³ convolution whose weights are sums of those of the 3³ one; a reflection of the enlarged map is a
    repetition of the last voxel before.
    """

    sums: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after)
        # (first or second voxel of the two, voxel before the enlargement, weight of the kernel)
        sums = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, x: Maps) -> Float[Tensor, "batch outputs 2*x 2*y 2*z"]:
        batch, _, *sides = x.shape
        weight = torch.einsum("aix,bjy,ckz,ntxyz->abcntijk", self.sums, self.sums, self.sums, self.weight)
        maps = functional.conv3d(functional.pad(x, [1] * 6, mode="replicate"), weight.flatten(0, 3))
        eighths = [
            part[:, :, a : a + sides[0], b : b + sides[1], c : c + sides[2]]
            for part, (a, b, c) in zip(maps.chunk(8, dim=1), product((0, 1), repeat=3), strict=True)
        ]
        enlarged = torch.stack(eighths, dim=2).unflatten(2, (2, 2, 2)).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return enlarged.reshape(batch, -1, *(2 * side for side in sides))
