"""A network made ready to predict computes what the network computes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from configured import NAMES, build
from laws import for_all
from monai.networks.nets import BasicUNet
from torch import nn

from ankleseg.networks import UNet, for_inference, required_divisor

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def with_statistics(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give the batch norms means, variances, scales and shifts as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, BATCH_NORMS)):
            for values, low, high in [
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 2.0),
                (norm.weight, 0.5, 1.5),
                (norm.bias, -0.5, 0.5),
            ]:
                if values is not None:
                    values.copy_(low + (high - low) * torch.rand(values.shape, generator=generator))
    return network


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(module, BATCH_NORMS) for module in network.modules())


def assert_same_outputs(network: nn.Module, ready: nn.Module, *shapes: tuple[int, ...]) -> None:
    for shape in shapes:
        image = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = copy.deepcopy(network).eval()(image)
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(ready(image), expected, rtol=0, atol=1e-5 * scale)


@for_all("name", NAMES)
def test_every_network_keeps_its_outputs_and_loses_its_batch_norms(name):
    network = with_statistics(build(name, out_channels=3))
    ready = for_inference(network)
    assert not ready.training
    assert batch_norms(ready) == 0
    assert required_divisor(ready) == required_divisor(network)
    third = (16,) if any(isinstance(module, nn.Conv3d) for module in network.modules()) else ()
    assert_same_outputs(network, ready, (2, 1, 32, 48, *third), (1, 1, 64, 32, *third))


@for_all("settings", [{"spatial_dims": 3}, {"norm": "instance"}, {"norm": "none"}, {"dropout": 0.5}])
def test_settings_of_the_unet_keep_their_outputs(settings):
    torch.manual_seed(0)
    network = with_statistics(UNet(widths=(4, 8, 16), **settings))
    assert_same_outputs(network, for_inference(network), (2, 1, *[16] * settings.get("spatial_dims", 2)))


@for_all("dimensions", [2, 3])
@for_all("affine", [True, False])
def test_instance_norms_become_group_norms_that_give_the_same(dimensions, affine):
    torch.manual_seed(0)
    network = BasicUNet(spatial_dims=dimensions, features=(4, 4, 8, 8, 8, 4), norm=("instance", {"affine": affine}))
    for name, parameter in network.named_parameters():
        if "adn.N" in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    ready = for_inference(network)
    kinds = {type(module) for module in ready.modules()}
    assert nn.GroupNorm in kinds and not kinds & {nn.InstanceNorm2d, nn.InstanceNorm3d}
    assert list(ready.state_dict()) == list(network.state_dict())
    assert_same_outputs(network, ready, (2, 1, *[32] * dimensions))


def test_an_instance_norm_that_keeps_statistics_or_is_watched_stays():
    kept = nn.InstanceNorm2d(2, track_running_stats=True)
    watched = nn.InstanceNorm2d(2)
    watched.register_forward_hook(lambda module, given, output: 2 * output)
    network = nn.Sequential(kept, watched)
    ready = for_inference(network)
    assert [type(module) for module in ready] == [nn.InstanceNorm2d, nn.InstanceNorm2d]
    assert_same_outputs(network, ready, (2, 2, 8, 8))


def test_the_network_itself_stays_as_it_is():
    torch.manual_seed(0)
    network = with_statistics(UNet(widths=(4, 8))).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    ready = for_inference(network)
    ready(torch.randn(1, 1, 16, 16))
    assert network.training
    assert all(module.training for module in network.modules())
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert {id(parameter) for parameter in network.parameters()}.isdisjoint(map(id, ready.parameters()))
    assert network.head.weight.is_contiguous()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN is not there")
def test_one_call_of_onednn_gives_what_the_layers_give_and_gives_way_where_it_must(tmp_path: Path):
    for dimensions in (2, 3):
        ready = for_inference(with_statistics(UNet(widths=(4, 8), spatial_dims=dimensions)))
        images = [torch.randn(batch, 1, *[side] * dimensions) for batch, side in ((1, 16), (2, 8))]
        convolutions = [module for module in ready.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
        plain = [ready(image).detach() for image in images]  # gradients may be taken
        assert all(module._packed is None for module in convolutions)
        with torch.no_grad():
            for image, expected in zip(images, plain, strict=True):
                torch.testing.assert_close(ready(image), expected, atol=1e-5, rtol=0)
            assert all(module._packed is not None for module in convolutions)
            assert not any(isinstance(module, nn.ReLU) for module in ready.modules())
            torch.save(ready, tmp_path / "ready.pt")
            traced = torch.jit.trace(ready, images[0])
            assert "mkldnn" not in str(traced.inlined_graph)
            copies = [copy.deepcopy(ready), torch.load(tmp_path / "ready.pt", weights_only=False), traced]
            for other in copies:
                torch.testing.assert_close(other(images[0]), plain[0], atol=1e-5, rtol=0)
            assert ready.double()(images[0].double()).dtype == torch.float64
            with torch.autocast("cpu", torch.bfloat16):
                assert ready.float()(images[0]).dtype == torch.bfloat16


def test_twice_is_once():
    torch.manual_seed(0)
    ready = for_inference(with_statistics(UNet(widths=(4, 8))))
    assert_same_outputs(ready, for_inference(ready), (1, 1, 16, 16))


class Twice(nn.Module):
    """Two convolutions before one and the same norm, each in a container of its own."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4)
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), norm, nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class SharedTail(nn.Module):
    """Two convolutions that end in one and the same container of norm and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        tail = norm_and_relu()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), tail)
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), tail)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


class Skipping(nn.Sequential):
    """A container that computes something else than its modules in order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        convolved = self[0](x)
        return convolved + self[1](convolved)


class DoublingConvolution(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def one_norm_twice() -> nn.Sequential:
    """As the stem of the published network for reconstruction."""
    norm = nn.BatchNorm2d(4)
    first, second = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)
    return nn.Sequential(first, norm, nn.ReLU(), second, norm, nn.ReLU())


def norm_and_relu() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    network[0].register_forward_hook(lambda _module, _input, output: output.abs())
    return network


@for_all(
    ("network", "left"),
    [
        (Twice(), 0),
        (SharedTail(), 1),
        (one_norm_twice(), 0),
        (nn.Sequential(nn.Conv2d(1, 4, 1), norm := nn.BatchNorm2d(4), nn.ReLU(), norm), 1),
        (nn.Sequential(nn.Conv2d(1, 4, 1), tail := norm_and_relu(), nn.Conv2d(4, 4, 1), tail), 1),
        (Skipping(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(DoublingConvolution(1, 4, 3), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3)), nn.BatchNorm2d(4)), 1),
        (hooked(), 1),
        (nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3)), 1),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 1),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False)), 0),
        (nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())), 0),
        (nn.Sequential(nn.ConvTranspose2d(1, 4, 2, stride=2), nn.BatchNorm2d(4)), 0),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4)), 1),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(4)), 0),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4)), 0),
    ],
)  # fmt: skip
def test_only_what_can_be_folded_is_folded(network, left):
    with_statistics(network)
    ready = for_inference(network)
    assert batch_norms(ready) == left
    assert_same_outputs(network, ready, (2, 1, 8, 12))
