"""The layers of SegSRGAN as they are written in the publication, and small networks to try them on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.networks import SegSRGANGenerator
from ankleseg.networks.segsrgan_layers import (
    Convolution,
    DoublingConvolution,
    FirstConvolution,
    InstanceNorm,
    LastConvolution,
)


def values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def trained(network: nn.Module) -> nn.Module:
    """Scales and shifts unlike those of the start, which are 1 and 0."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            if parameter.ndim == 1:
                parameter.add_(0.3 * values(*parameter.shape, seed=number, dtype=parameter.dtype))
    return network


def small_generator(**settings) -> SegSRGANGenerator:
    torch.manual_seed(0)
    network = SegSRGANGenerator(**{"kernel": 4, "out_channels": 3} | settings)
    trained(network)
    return network


def thickness(network: nn.Module, batch: int, millimetres: float = 3.0) -> tuple[Tensor, ...]:
    """The second argument of the network's forward, where it takes one."""
    return (torch.full((batch,), millimetres),) if network.conditional else ()


def plain_layers(network: nn.Module) -> nn.Module:
    """The layers as they are written in the publication."""

    def padded(layer: nn.Conv3d, x: Tensor) -> Tensor:
        pad = [layer.kernel_size[0] // 2] * 6
        return functional.conv3d(functional.pad(x, pad, mode="reflect"), layer.weight, stride=layer.stride)

    def doubled(layer: nn.Conv3d, x: Tensor) -> Tensor:
        return padded(layer, functional.interpolate(x, scale_factor=2, mode="nearest"))

    def norm(layer: InstanceNorm, x: Tensor) -> Tensor:
        mean, deviation = x.mean((2, 3, 4), keepdim=True), x.std((2, 3, 4), correction=0, keepdim=True)
        return (x - mean) / (deviation + 1e-7) * layer.weight.view(-1, 1, 1, 1) + layer.bias.view(-1, 1, 1, 1)

    by_kind = dict.fromkeys((Convolution, FirstConvolution, LastConvolution), padded)
    by_kind |= {InstanceNorm: norm, DoublingConvolution: doubled}
    for module in network.modules():
        if type(module) in by_kind:
            module.forward = by_kind[type(module)].__get__(module)
    return network
