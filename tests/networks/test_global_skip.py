"""Laws of a network that gives a change of its image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ankleseg.config import build, compose, to_plain
from ankleseg.inference import build_network
from ankleseg.networks import GlobalSkip, UNet, for_inference, required_divisor


def test_a_network_that_gives_nothing_leaves_the_image() -> None:
    silent = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(silent.weight)
    nn.init.zeros_(silent.bias)
    image = torch.randn(2, 1, 8, 8)
    assert torch.equal(GlobalSkip(silent)(image), image)


def test_only_the_first_channel_is_added_and_only_to_the_first_output() -> None:
    image = torch.randn(2, 3, 8, 8)
    network = nn.Conv2d(3, 2, 1)
    output, change = GlobalSkip(network, in_channels=3, out_channels=2)(image), network(image)
    assert torch.equal(output[:, :1], image[:, :1] + change[:, :1])
    assert torch.equal(output[:, 1:], change[:, 1:])


def test_its_sides_divide_as_those_of_the_network() -> None:
    network = UNet(widths=[4, 4, 8])
    assert required_divisor(GlobalSkip(network)) == required_divisor(network) == 4
    with pytest.raises(ValueError, match="4"):
        GlobalSkip(network)(torch.zeros(1, 1, 10, 12))


def test_made_ready_it_gives_the_same() -> None:
    torch.manual_seed(0)
    network = GlobalSkip(UNet(widths=[4, 4, 8])).train()
    for _ in range(3):
        network(3 * torch.randn(4, 1, 16, 16) + 1)
    image = torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        expected, found = network.eval()(image), for_inference(network)(image)
    assert torch.allclose(expected, found, atol=1e-5)
    assert not torch.allclose(expected, image, atol=1e-2)


def test_its_node_hands_the_channels_on_and_survives_a_checkpoint() -> None:
    node = to_plain(compose("train", ["network=unet_skip", "images=[restored]", "structures=[]"]).network)
    assert node["network"]["out_channels"] == node["out_channels"] == 1
    network = build_network(node)
    assert isinstance(network, GlobalSkip) and isinstance(build(node), GlobalSkip)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_179_569
