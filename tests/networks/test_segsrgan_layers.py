"""The layers of SegSRGAN give the published values and gradients, by a shorter way."""

from __future__ import annotations

import copy
import math

import torch
from laws import for_all
from published_segsrgan import plain_layers, small_generator, trained, values

from ankleseg.networks.segsrgan_layers import (
    Convolution,
    DoublingConvolution,
    FirstConvolution,
    InstanceNorm,
    LastConvolution,
)


def test_instance_norm_by_hand():
    norm = InstanceNorm(1)
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(10.0)
    # Mean 4; squared differences 9, 1, 1, 9 of mean 5.
    x = torch.tensor([1.0, 3.0, 5.0, 7.0], dtype=torch.float32).view(1, 1, 2, 2, 1)
    expected = [10 + 3 * difference / (math.sqrt(5) + 1e-7) for difference in (-3, -1, 1, 3)]
    torch.testing.assert_close(norm(x).flatten(), torch.tensor(expected))
    torch.testing.assert_close(norm(x + 5).flatten(), torch.tensor(expected))


@for_all("in_place", [False, True])
def test_instance_norm_adds_its_epsilon_to_the_deviation(in_place):
    norm = InstanceNorm(2).double()
    norm.in_place = in_place
    signs = torch.tensor([1.0, -1.0] * 32, dtype=torch.float64).view(4, 4, 4)
    x = torch.stack([1e-7 * signs, signs])[None]
    # Deviations 1e-7 and 1: halved by an ε of 1e-7 beside the deviation, not by one beside the variance.
    torch.testing.assert_close(norm(x.clone()), torch.stack([signs / 2, signs / (1 + 1e-7)])[None], rtol=1e-9, atol=0)


@for_all("in_place", [False, True])
def test_a_constant_map_becomes_the_shift_and_has_a_gradient(in_place):
    norm = trained(InstanceNorm(3))
    norm.in_place = in_place
    constant = torch.tensor([0.0, 0.3, -1e3]).view(1, 3, 1, 1, 1).expand(2, 3, 5, 6, 7).clone()
    with torch.no_grad():
        torch.testing.assert_close(norm(constant.clone()), norm.bias.view(1, 3, 1, 1, 1).expand(2, 3, 5, 6, 7))
    if not in_place:
        norm(constant.requires_grad_()).square().sum().backward()
        assert torch.isfinite(constant.grad).all()


def test_gradients_of_the_layers_are_those_of_differences():
    torch.manual_seed(0)
    for layer, channels in [
        (InstanceNorm(2), 2),
        (FirstConvolution(2, 3, size=7), 2),
        (LastConvolution(2, 3, size=7), 2),
        (DoublingConvolution(2, 3), 2),
        (Convolution(2, 2, stride=2), 2),
    ]:
        layer.double()
        sides = (4, 5, 6)
        x = values(2, channels, *sides, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(layer, (x,), atol=1e-5, fast_mode=True)


@for_all("layout", [torch.contiguous_format, torch.channels_last_3d])
@for_all("sides", [(4, 4, 4), (5, 8, 6)])
@for_all(
    ("layer", "channels"),
    [
        (FirstConvolution(2, 3, 7), 2),
        (LastConvolution(3, 2, 7), 3),
        (LastConvolution(3, 5, 5), 3),
        (DoublingConvolution(3, 2), 3),
        (Convolution(3, 2), 3),
        (Convolution(3, 2, stride=2), 3),
    ],
)
def test_a_shorter_way_gives_the_published_values(layer, channels, sides, layout):
    layer = copy.deepcopy(layer).double()
    x = values(2, channels, *sides, dtype=torch.float64).contiguous(memory_format=layout)
    short = layer(x.requires_grad_())
    short.square().sum().backward()
    gradients = x.grad, layer.weight.grad
    x.grad = layer.weight.grad = None
    plain_layers(layer)
    written = layer(x)
    written.square().sum().backward()
    torch.testing.assert_close(short, written)
    torch.testing.assert_close(gradients, (x.grad, layer.weight.grad))


@for_all("unet", [False, True])
def test_maps_and_their_gradients_stay_channels_last_on_a_cpu(unet):
    network = small_generator(unet=unet)
    wrong, watched = [], []

    def look(name, maps):
        watched.append(name)
        if not maps.is_contiguous(memory_format=torch.channels_last_3d):
            wrong.append(name)

    def watch(name, maps):
        look(name, maps)
        maps.register_hook(lambda gradient: look(f"gradient of {name}", gradient))

    for name, layer in network.named_modules():
        if isinstance(layer, (Convolution, InstanceNorm)):
            layer.register_forward_hook(lambda _, __, maps, name=name: watch(name, maps))
    network(values(2, 1, 16, 16, 16)).square().sum().backward()
    assert not [name for name in wrong if name != "gradient of last"]  # which is laid as the loss is
    layers = [name for name in watched if not name.startswith("gradient")]
    assert len(layers) > 10 and set(watched) == {*layers, *(f"gradient of {name}" for name in layers)}, watched
