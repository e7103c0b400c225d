"""The layers of SegSRGAN: what the published ones compute, by a shorter way.

On CPUs the published layers spend most of their time on work that can be left out: 7³ convolutions from one channel
and to two, which cost as much as from and to sixteen, a 3³ convolution that reads each voxel of an enlarged map up to
eight times, padding whose gradient is added voxel by voxel, and changes of layout. The layers here keep the published
weights and give the published values up to rounding, in training as in prediction. On CPUs their maps are laid channels
last; a layer follows the layout of its input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Maps = Float[Tensor, "batch channels x y z"]

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal cut at 2 deviations
NEGLIGIBLE = 1e-30  # added to a variance that may be 0


def normal_(weight: Tensor, gain: float) -> None:
    """Fill with a normal of variance ``gain`` / fan-in, cut at two deviations: LeCun's for gain 1, He's for 2."""
    deviation = math.sqrt(gain / weight[0].numel()) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def _is_exported() -> bool:
    """Whether the network is being written in another format, which knows common operations only."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def _applied(function: Any, *arguments: Any) -> Tensor:
    """Apply a function with a gradient of its own; other formats get what it computes, by common operations."""
    return function.plain(*arguments) if _is_exported() else function.apply(*arguments)


class _Padded(torch.autograd.Function):
    """Maps grown by ``reach`` voxels at each end of the given axes; its gradient is summed plane by plane."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: int, axes: tuple[int, ...], mirrored: bool) -> Tensor:
        ctx.reach, ctx.axes, ctx.mirrored = reach, axes, mirrored
        sides = [side + 2 * reach * (axis in axes) for axis, side in enumerate(x.shape)]
        padded = torch.empty(sides, dtype=x.dtype, device=x.device, memory_format=layout_of(x))
        _inside(padded, reach, axes).copy_(x)
        for position, axis in enumerate(axes):
            # The planes of this axis are complete along the axes before it, so that edges and corners are filled too.
            grown = _inside(padded, reach, axes[position + 1 :])
            for outside, source in _sources(reach, grown.shape[axis], mirrored):
                grown.select(axis, outside).copy_(grown.select(axis, source))
        return padded

    @staticmethod
    def plain(x: Tensor, reach: int, axes: tuple[int, ...], mirrored: bool) -> Tensor:
        sides = [reach * (axis in axes) for axis in (4, 4, 3, 3, 2, 2)]
        return functional.pad(x, sides, mode="reflect" if mirrored else "replicate")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (summed,) = gradients
        summed = summed.clone(memory_format=torch.preserve_format)
        for position, axis in reversed(list(enumerate(ctx.axes))):
            grown = _inside(summed, ctx.reach, ctx.axes[position + 1 :])
            for outside, source in _sources(ctx.reach, grown.shape[axis], ctx.mirrored):
                grown.select(axis, source).add_(grown.select(axis, outside))
        inside = _inside(summed, ctx.reach, ctx.axes)
        return inside.contiguous(memory_format=layout_of(summed)), None, None, None


def _inside(padded: Tensor, reach: int, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        padded = padded.narrow(axis, reach, padded.shape[axis] - 2 * reach)
    return padded


def _sources(reach: int, side: int, mirrored: bool) -> Iterator[tuple[int, int]]:
    """Each plane outside, and the one inside that it repeats."""
    for distance in range(1, reach + 1):
        step = distance if mirrored else 0
        yield reach - distance, reach + step
        yield side - 1 - reach + distance, side - 1 - reach - step


def layout_of(maps: Tensor) -> torch.memory_format:
    """The layout in which maps made from these are laid."""
    last = not maps.is_contiguous() and maps.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format


def mirrored(x: Tensor, reach: int, axes: tuple[int, ...] = (2, 3, 4)) -> Tensor:
    """Pad by reflection as ``torch.nn.functional.pad`` does.

    Raises ValueError where a side is not longer than ``reach``.
    """
    shortest = min(x.shape[axis] for axis in axes)
    if shortest <= reach:
        raise ValueError(f"a side of {shortest} is too short to be padded by reflection of {reach}")
    return _applied(_Padded, x, reach, axes, True)


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
        if _is_exported():
            return self._in_plain_words(x)
        if x.is_contiguous():
            return self._normed(x.view(1, -1, *x.shape[2:]), len(x)).view(x.shape)
        if self.in_place:
            for number in range(len(x)):
                self._normed(x[number : number + 1], 1)
            return x
        normed = [self._normed(sample, 1) for sample in x.split(1)]
        return normed[0] if len(x) == 1 else torch.cat(normed)

    def _in_plain_words(self, x: Maps) -> Maps:
        """The same of operations that other formats know too."""
        column = (-1, 1, 1, 1)
        centred = x - x.mean((2, 3, 4), keepdim=True)
        deviation = centred.square().mean((2, 3, 4), keepdim=True).sqrt()
        return centred / (deviation + self.epsilon) * self.weight.view(column) + self.bias.view(column)

    def _normed(self, maps: Tensor, samples: int) -> Tensor:
        weight, bias = self.weight.repeat(samples), self.bias.repeat(samples)
        with torch.no_grad():
            mean, variance = torch.batch_norm_update_stats(maps, None, None, 0.0)
            deviation = variance.sqrt()
        if self.in_place:
            column = (-1, 1, 1, 1)
            maps.sub_(mean.view(column)).mul_((weight / (deviation + self.epsilon)).view(column))
            return maps.add_(bias.view(column))
        weight = weight * (deviation / (deviation + self.epsilon))
        return functional.batch_norm(maps, None, None, weight, bias, training=True, eps=NEGLIGIBLE)


class Convolution(nn.Conv3d):
    """A convolution of odd ``size``, padded by reflection, without bias, from LeCun's normal weights."""

    def __init__(self, before: int, after: int, size: int = 3, stride: int = 1) -> None:
        super().__init__(before, after, size, stride, padding=size // 2, padding_mode="reflect", bias=False)

    def reset_parameters(self) -> None:
        normal_(self.weight, gain=1)

    def forward(self, x: Maps) -> Float[Tensor, "batch outputs x2 y2 z2"]:
        return functional.conv3d(mirrored(x, self.kernel_size[0] // 2), self.weight, stride=self.stride)


class FirstConvolution(Convolution):
    """A convolution of a large ``size`` from few channels, as a flat one from many.

    The planes x that the kernel covers are channels of one flat convolution in y and z. On CPUs its maps are laid
    channels last.
    """

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__(before, after, size)

    def forward(self, x: Maps) -> Float[Tensor, "batch outputs x y z"]:
        size, batch = self.kernel_size[0], len(x)
        planes = mirrored(x, size // 2).unfold(2, size, 1).permute(0, 2, 1, 5, 3, 4).flatten(0, 1).flatten(1, 2)
        last = x.device.type == "cpu"
        planes = planes.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        maps = functional.conv2d(planes, self.weight.flatten(1, 2)).unflatten(0, (batch, -1)).transpose(1, 2)
        return maps.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


class LastConvolution(Convolution):
    """A convolution of a large ``size`` to few channels, as a flat one to many.

    Each plane x of the kernel is convolved, flat in y and z, to output channels of its own; their maps are summed
    after a shift along x.
    """

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__(before, after, size)

    def forward(self, x: Maps) -> Float[Tensor, "batch outputs x y z"]:
        size, side, reach = self.kernel_size[0], x.shape[2], self.kernel_size[0] // 2
        flat = mirrored(x, reach, axes=(3, 4)).transpose(1, 2).flatten(0, 1)
        maps = functional.conv2d(flat, self.weight.movedim(2, 0).flatten(0, 1))
        maps = mirrored(maps.reshape(-1, side, *maps.shape[1:]).transpose(1, 2), reach, axes=(2,))
        return _applied(_ShiftedSum, maps, size)


class _ShiftedSum(torch.autograd.Function):
    """Sum of ``parts`` groups of channels, each shifted along x by one voxel more than the one before."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, parts: int) -> Tensor:
        ctx.parts, ctx.layout = parts, layout_of(maps)
        side = maps.shape[2] - parts + 1
        shifted = [part[:, :, start : start + side] for start, part in enumerate(maps.chunk(parts, dim=1))]
        return functools.reduce(torch.Tensor.add_, shifted[1:], shifted[0].clone(memory_format=ctx.layout))

    @staticmethod
    def plain(maps: Tensor, parts: int) -> Tensor:
        groups = enumerate(maps.chunk(parts, dim=1))
        return functools.reduce(torch.add, [part[:, :, n : maps.shape[2] - parts + 1 + n] for n, part in groups])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        batch, channels, side, *sides = gradient.shape
        spread = torch.empty(
            (batch, channels * ctx.parts, side + ctx.parts - 1, *sides),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=ctx.layout,
        ).zero_()
        for start, part in enumerate(spread.chunk(ctx.parts, dim=1)):
            part[:, :, start : start + side] = gradient
        return spread, None


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
        weight = torch.einsum("aix,bjy,ckz,ntxyz->abcntijk", self.sums, self.sums, self.sums, self.weight)
        return _applied(
            _Interleaved, functional.conv3d(_applied(_Padded, x, 1, (2, 3, 4), False), weight.flatten(0, 3))
        )


class _Interleaved(torch.autograd.Function):
    """Eight groups of channels (B, 8 C, X+1, Y+1, Z+1) as the voxels of maps (B, C, 2 X, 2 Y, 2 Z)."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        batch, channels, *sides = maps.shape
        enlarged = torch.empty(
            (batch, channels // 8, *(2 * (side - 1) for side in sides)),
            dtype=maps.dtype,
            device=maps.device,
            memory_format=layout_of(maps),
        )
        for eighth, voxels in zip(_eighths(maps), _every_other(enlarged), strict=True):
            voxels.copy_(eighth)
        return enlarged

    @staticmethod
    def plain(maps: Tensor) -> Tensor:
        corners = torch.stack(list(_eighths(maps)), dim=2).unflatten(2, (2, 2, 2))
        return corners.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        batch, channels, *sides = gradient.shape
        spread = torch.empty(
            (batch, channels * 8, *(side // 2 + 1 for side in sides)),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=layout_of(gradient),
        ).zero_()
        for eighth, voxels in zip(_eighths(spread), _every_other(gradient), strict=True):
            eighth.copy_(voxels)
        return spread


def _eighths(maps: Tensor) -> Iterator[Tensor]:
    """Of maps that have a voxel more along each axis, the group of channels of each corner of an enlarged voxel."""
    x, y, z = (side - 1 for side in maps.shape[2:])
    for part, (a, b, c) in zip(maps.chunk(8, dim=1), product((0, 1), repeat=3), strict=True):
        yield part[:, :, a : a + x, b : b + y, c : c + z]


def _every_other(maps: Tensor) -> Iterator[Tensor]:
    for a, b, c in product((0, 1), repeat=3):
        yield maps[:, :, a::2, b::2, c::2]


class _Joined(torch.autograd.Function):
    """``torch.cat`` of two along the channels, with gradients that are laid as the maps are."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.channels, ctx.layout = (first.shape[1], second.shape[1]), layout_of(first)
        return torch.cat([first, second], dim=1)

    @staticmethod
    def plain(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(part.contiguous(memory_format=ctx.layout) for part in gradients[0].split(ctx.channels, dim=1))


def joined(first: Tensor, second: Tensor) -> Tensor:
    """The channels of both."""
    return _applied(_Joined, first, second)
