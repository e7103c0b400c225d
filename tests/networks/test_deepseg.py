"""The networks of the published cord pipeline, counted."""

from __future__ import annotations

import pytest
import torch
from laws import for_all
from torch import nn

from ankleseg.networks import DeepSegUNet, DeepSegUNet3d


def values_of(network: nn.Module, part: str) -> int:
    """Weights and running statistics of a part."""
    names = network.parts[part]
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    return sum(value.numel() for name, value in state.items() if name.startswith(tuple(f"{own}." for own in names)))


def test_the_published_three_dimensional_network():
    network = DeepSegUNet3d()
    assert sum(parameter.numel() for parameter in network.parameters()) == 468_193
    running = sum(b.numel() for name, b in network.named_buffers() if name.endswith(("running_mean", "running_var")))
    assert running == 624
    counted = {part: values_of(network, part) for part in network.parts}
    assert counted == {"contraction": 32_112, "bottleneck": 187_344, "expansion": 249_361}


@for_all("network", [DeepSegUNet3d(features=4), DeepSegUNet(widths=[4, 8]), DeepSegUNet(widths=[4], norm="none")])
def test_every_weight_is_in_one_part(network):
    everything = {name for name, _ in network.named_parameters()}
    owned = [
        name for own in network.parts.values() for path in own for name in everything if name.startswith(path + ".")
    ]
    assert sorted(owned) == sorted(everything)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)]
    assert all((norm.eps, norm.momentum) == (1e-3, 0.01) for norm in norms)


@for_all(
    ("widths", "rates", "convolutions"), [((16, 32), (1, 2), 10), ((8, 16), (1, 2, 4), 11), ((24, 48), (1, 2, 4), 11)]
)
def test_networks_that_find_the_cord_are_dilated_by_contrast(widths, rates, convolutions):
    network = DeepSegUNet(widths=widths, rates=rates)
    found = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(found) == convolutions + 1
    assert [conv.dilation[0] for conv in found[: 4 + len(rates)]] == [1, 2, 1, 2, *rates]
    assert network.bottleneck[0].out_channels == 4 * widths[0]


def test_doubled_maps_come_first():
    network = DeepSegUNet3d(features=4)
    with torch.no_grad():
        network.expansion[0].weight[:, :16] = 0
    network.eval()(torch.randn(1, 1, 8, 8, 8)).sum().backward()
    assert all(not parameter.grad.any() for parameter in network.bottleneck.parameters())
    assert all(parameter.grad.any() for parameter in network.contraction.parameters())


def test_wrong_rates_are_named():
    with pytest.raises(ValueError, match=r"rates are \[\] and dilation is 2, but dilations are 1 or more"):
        DeepSegUNet(rates=[])
