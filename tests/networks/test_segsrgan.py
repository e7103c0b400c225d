"""What is particular to generator and discriminator of SegSRGAN."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from laws import for_all
from omegaconf import OmegaConf
from published_segsrgan import plain_layers, small_generator, thickness, trained, values
from torch import Tensor, nn
from torch.nn import functional

from ankleseg.networks import SegSRGANDiscriminator, SegSRGANGenerator, for_inference
from ankleseg.networks.segsrgan_layers import InstanceNorm

CONF = Path(__file__).parents[2] / "conf"
KINDS = [{}, {"unet": True}, {"conditional": True}, {"unet": True, "conditional": True}]
every_kind = for_all("settings", KINDS)


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@for_all(
    ("network", "parameters", "arrays"),
    [
        (SegSRGANGenerator(), 1_483_664, 52),
        (SegSRGANGenerator(conditional=True), 1_489_152, 52),
        (SegSRGANGenerator(unet=True, kernel=28), 1_404_116, 34),
        (SegSRGANGenerator(unet=True, kernel=28, conditional=True), 1_413_720, 34),
        (SegSRGANGenerator(unet=True), 470_576, 34),
        (SegSRGANGenerator(unet=True, conditional=True), 476_064, 34),
        (SegSRGANDiscriminator(), 11_150_304, 11),
        (SegSRGANDiscriminator(conditional=True), 11_152_352, 11),
    ],
)
def test_published_parameter_counts(network, parameters, arrays):
    assert (parameter_count(network), len(list(network.parameters()))) == (parameters, arrays)


@for_all(
    ("file", "kind", "parameters"),
    [
        ("network/segsrgan", SegSRGANGenerator, 1_483_664),
        ("network/segsrgan_unet", SegSRGANGenerator, 1_404_116),
        ("discriminator/segsrgan", SegSRGANDiscriminator, 11_150_304),
    ],
)
def test_the_configured_networks_are_the_published_ones(file, kind, parameters):
    network = instantiate(OmegaConf.load(CONF / f"{file}.yaml"))
    assert isinstance(network, kind)
    assert parameter_count(network) == parameters


def test_weights_start_as_published():
    """LeCun's normal: variance 1 / fan-in; He's: 2 / fan-in; both cut at two deviations before the cut."""
    torch.manual_seed(0)
    network = SegSRGANGenerator(residual=False)
    for convolution in (module for module in network.modules() if isinstance(module, nn.Conv3d)):
        assert convolution.bias is None
        assert_cut_normal(convolution.weight, variance=1 / convolution.weight[0].numel())
    for convolution in SegSRGANDiscriminator(kernel=16).down:
        assert not convolution.bias.any()
        assert_cut_normal(convolution.weight, variance=2 / convolution.weight[0].numel())


@every_kind
def test_a_residual_generator_starts_with_its_input(settings):
    network = SegSRGANGenerator(**{"kernel": 4, **settings})
    image = values(1, 1, 12, 16, 8)
    with torch.inference_mode():
        start = network(image, *thickness(network, 1))
    assert torch.equal(start[:, :1], image) == network.residual
    assert start[:, 1:].std() > 0


def assert_cut_normal(weight: Tensor, variance: float) -> None:
    uncertainty = 4 / math.sqrt(weight.numel())
    assert float(weight.detach().mean()) == pytest.approx(0, abs=uncertainty * math.sqrt(variance))
    assert float(weight.detach().var()) == pytest.approx(variance, rel=uncertainty)
    assert float(weight.detach().abs().max()) <= 2 * math.sqrt(variance) / 0.8796


# The generator


@every_kind
def test_the_generator_computes_the_published_layers(settings):
    network = small_generator(**settings).double()
    image = values(2, 1, 12, 16, 8, dtype=torch.float64)
    told = thickness(network, 2)
    short = network(image, *told)
    short.square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    written = plain_layers(network)(image, *told)
    written.square().mean().backward()
    torch.testing.assert_close(short, written, rtol=1e-9, atol=1e-9)
    for gradient, parameter in zip(gradients, network.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-6)


@every_kind
def test_the_generator_made_ready_to_predict_gives_the_same_values(settings):
    network = small_generator(**settings)
    ready = for_inference(network)
    for shape in [(2, 1, 32, 16, 24), (1, 1, 8, 8, 8), (3, 1, 20, 12, 16)]:
        image = values(*shape)
        told = thickness(network, len(image))
        before = image.clone()
        with torch.inference_mode():
            expected = plain_layers(small_generator(**settings))(image, *told)
            scale = float(expected.abs().max())
            torch.testing.assert_close(ready(image, *told), expected, rtol=0, atol=3e-5 * scale)
            torch.testing.assert_close(network(image, *told), expected, rtol=0, atol=3e-5 * scale)
        assert torch.equal(image, before)
    assert not any(module.in_place for module in network.modules() if isinstance(module, InstanceNorm))


@for_all("unet", [False, True])
def test_the_sharp_image_is_the_input_minus_the_first_output(unet):
    with_residual, without = small_generator(unet=unet), small_generator(unet=unet, residual=False)
    without.load_state_dict(with_residual.state_dict())
    image = values(2, 1, 16, 8, 12)
    with torch.inference_mode():
        sharp, raw = with_residual(image), without(image)
    torch.testing.assert_close(sharp[:, :1], image - raw[:, :1])
    assert torch.equal(sharp[:, 1:], raw[:, 1:])


def test_no_relu_after_the_sum_of_a_residual_block():
    network = small_generator()
    negative = -1 - values(1, 16, 6, 6, 6).abs()
    with torch.no_grad():
        for parameter in network.middle[0].residual[-1].parameters():
            parameter.zero_()
        assert torch.equal(network.middle[0](negative.clone()), negative)


def test_the_thickness_is_an_input_of_its_own():
    network = small_generator(conditional=True)
    image = values(2, 1, 16, 16, 16)
    with torch.inference_mode():
        thin, thick = network(image, torch.tensor([1.0, 1.0])), network(image, torch.tensor([1.0, 4.0]))
        assert torch.equal(thin[0], thick[0])
        assert not torch.allclose(thin[1], thick[1])
    # The residual is subtracted from the image, not from the thickness.
    with torch.no_grad():
        network.last.weight.zero_()
        torch.testing.assert_close(network(image, torch.tensor([1.0, 4.0]))[:, :1], image)


def test_the_unet_joins_what_is_enlarged_and_what_was_before():
    network = small_generator(unet=True)
    image = values(1, 1, 16, 16, 16)
    assert network.up[1][0].in_channels == 4 * 4
    assert network.last.in_channels == 2 * 4
    with torch.no_grad():
        reference = network(image)
        weights = network.up[1][0].weight.clone()
        for joined, weight in [("half", network.up[1][0].weight), ("full", network.last.weight)]:
            kept = weight.clone()
            half = weight.shape[1] // 2
            weight[:, half:] = 0  # the enlarged map comes first, the skip second
            assert not torch.allclose(network(image), reference), joined
            weight.copy_(kept)
            weight[:, :half] = 0
            assert not torch.allclose(network(image), reference), joined
            weight.copy_(kept)
        assert torch.equal(weights, network.up[1][0].weight)
    # Without the skip at full resolution's enlarged half, the head sees the image at full resolution alone.
    with torch.no_grad():
        network.last.weight[:, : network.last.in_channels // 2] = 0
    network.zero_grad()
    network(image).square().sum().backward()
    assert not any(parameter.grad.any() for parameter in network.middle.parameters())
    assert all(parameter.grad.any() for parameter in network.before_skip[0].parameters())


@every_kind
def test_gradients_reach_every_parameter_but_shifts_that_a_norm_takes_away(settings):
    """The shift of a residual block's end is the same for all voxels: the norm of the next layer subtracts it."""
    network = small_generator(**settings).double()
    image, told = values(2, 1, 16, 16, 16, dtype=torch.float64), thickness(network, 2)
    (network(image, *told) * values(2, 3, 16, 16, 16, seed=1, dtype=torch.float64)).sum().backward()
    largest = {key: float(parameter.grad.abs().max()) for key, parameter in network.named_parameters()}
    without = {key for key, gradient in largest.items() if gradient < 1e-9}
    blocks = [key for key in largest if key.endswith("residual.4.bias")]
    # Of the U-Net, the last convolution reads the block at full resolution directly.
    assert without == {key for key in blocks if key != "before_skip.0.residual.4.bias"}


@for_all(
    ("shape", "message"),
    [
        ((1, 1, 16, 16, 18), "a side of 18 does not divide by 4: pad it to 20"),
        ((1, 1, 16, 4, 16), "a side of 4 is too short: pad it to 8"),
    ],
)
def test_a_wrong_side_is_named(shape, message):
    with pytest.raises(ValueError, match=message):
        small_generator()(torch.zeros(shape))


def test_a_missing_or_wrong_thickness_is_named():
    for network, shape in [
        (small_generator(conditional=True), (2, 1, 8, 8, 8)),
        (SegSRGANDiscriminator(kernel=2, patch=32, conditional=True), (2, 2, 32, 32, 32)),
    ]:
        with pytest.raises(ValueError, match="conditional: it needs slice_thickness, in mm, of each sample"):
            network(torch.zeros(shape))
        with pytest.raises(ValueError, match=r"slice_thickness has shape \(3,\), but is one number for each of 2"):
            network(torch.zeros(shape), torch.ones(3))


def test_training_in_bfloat16_follows_that_in_float32():
    network = small_generator(kernel=8)
    image = values(2, 1, 16, 16, 16)
    exact = network(image).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(image)
    rough.float().square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert float((rough.detach() - exact).square().mean().sqrt() / exact.std()) < 0.1


# The discriminator


def small_discriminator(**settings) -> SegSRGANDiscriminator:
    torch.manual_seed(0)
    network = SegSRGANDiscriminator(**{"kernel": 4, "patch": 32} | settings)
    trained(network)
    return network


def test_each_layer_halves_and_the_last_covers_what_is_left():
    network = small_discriminator(patch=64)
    sides = []
    for convolution in [*network.down, network.last]:
        convolution.register_forward_hook(lambda _module, _input, output: sides.append(tuple(output.shape[1:])))
    with torch.inference_mode():
        scores = network(values(3, 2, 64, 64, 64))
    assert [shape[1] for shape in sides] == [32, 16, 8, 4, 2, 1]
    assert [shape[0] for shape in sides] == [4, 8, 16, 32, 64, 1]
    assert scores.shape == (3,)


@for_all(("patch", "sides"), [(64, (64, 64, 64)), (64, (96, 64, 64)), (32, (32, 32, 96))])
def test_the_score_is_the_mean_of_the_last_map(patch, sides):
    """That map is one number for the published patch of 64."""
    network = small_discriminator(patch=patch)
    maps = image = values(2, 2, *sides)
    with torch.inference_mode():
        for convolution in network.down:
            maps = functional.leaky_relu(
                functional.conv3d(maps, convolution.weight, convolution.bias, stride=2, padding=1), 0.01
            )
        maps = functional.conv3d(maps, network.last.weight)
        assert (maps[0].numel() == 1) == (sides == (64, 64, 64))
        torch.testing.assert_close(network(image), maps.mean((1, 2, 3, 4)))


@for_all(("patch", "kernel"), [(32, 1), (64, 2), (96, 2)])
def test_other_patches_have_one_score_too(patch, kernel):
    network = small_discriminator(patch=patch)
    assert network.last.kernel_size == (kernel,) * 3
    with torch.inference_mode():
        assert network(values(2, 2, patch, patch, patch)).shape == (2,)


@for_all("settings", [{}, {"conditional": True}, {"patch": 64}, {"in_channels": 4}])
def test_the_slope_is_the_gradient_of_the_score(settings):
    network = small_discriminator(kernel=2, **settings).double()
    channels, side = settings.get("in_channels", 2), settings.get("patch", 32)
    image = values(2, channels, side, side, 64, dtype=torch.float64).requires_grad_()
    told = thickness(network, 2)
    (expected,) = torch.autograd.grad(network(image, *told).sum(), image, create_graph=True)
    slope = network.slope(image, *told)
    torch.testing.assert_close(slope, expected)

    def penalty_gradients(slope: Tensor) -> list[Tensor]:
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return torch.autograd.grad(penalty, list(network.parameters()), allow_unused=True, materialize_grads=True)

    torch.testing.assert_close(penalty_gradients(slope), penalty_gradients(expected))


def test_the_discriminator_names_a_wrong_patch_or_side():
    for patch in (16, 48, 0):
        with pytest.raises(ValueError, match=f"sides of {patch}, but the critic takes multiples of 32"):
            SegSRGANDiscriminator(patch=patch)
    with pytest.raises(ValueError, match="a side of 48 does not divide by 32: pad it to 64"):
        small_discriminator()(torch.zeros(1, 2, 32, 32, 48))
    with pytest.raises(ValueError, match="a side of 32 is too short: the last kernel needs 64"):
        small_discriminator(patch=64)(torch.zeros(1, 2, 64, 64, 32))
