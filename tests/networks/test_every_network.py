"""Laws that every network of conf/network obeys."""

from __future__ import annotations

import io
import re
from functools import cache

import pytest
import torch
from configured import CONF, NAMES, build, has_batch_norms, is_volumetric, node_of, settings_of
from laws import for_all
from torch import nn

import ankleseg.networks
from ankleseg.networks import required_divisor

OF_MONAI = [name for name in NAMES if node_of(name)._target_.startswith("monai.")]
OURS = [name for name in NAMES if name not in OF_MONAI and {"widths", "norm", "dropout"} <= settings_of(name)]
BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)

every_network = for_all("name", NAMES)

every_network_of_ours = for_all("name", OURS)


def batch(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sides_for(network: nn.Module, *sides: int) -> tuple[int, ...]:
    """These two sides, and a third one for a network that is three-dimensional."""
    volumetric = any(isinstance(module, nn.Conv3d) for module in network.modules())
    return (*sides, 16) if volumetric else sides


def image_for(network: nn.Module, batch_size: int, channels: int, *sides: int) -> torch.Tensor:
    return batch(batch_size, channels, *sides_for(network, *sides))


@cache
def rested(name: str) -> nn.Module:
    """A network in eval mode; the tests that use it leave it as it is."""
    return build(name).eval()


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def test_networks_were_found_and_ours_have_public_names():
    assert OURS and OF_MONAI
    for name in set(NAMES) - set(OF_MONAI):
        assert node_of(name)._target_.removeprefix("ankleseg.networks.") in ankleseg.networks.__all__


@every_network
def test_a_network_has_the_parameters_that_its_file_says(name):
    said = re.search(r"([\d.,]+)( million)? parameters|of ([\d,]+) parameters", (CONF / f"{name}.yaml").read_text())
    if said is None:
        return
    number, about = float((said[1] or said[3]).replace(",", "")), said[2] is not None
    count = parameter_count(build(name, whole=True, out_channels=node_of(name).out_channels))
    assert round(count / 1e6, 1) == number if about else count == number


@for_all(
    ("name", "parameters", "running_statistics"),
    [
        ("fcn", 390_609, 480),
        ("unet", 1_179_569, 2_912),
        ("resnet", 8_161_729, 9_856),
        ("resnet_bottleneck", 8_535_489, 30_592),
        ("reconstruction_resnet", 8_198_593, 9_856),
    ],
)
def test_published_parameter_counts(name, parameters, running_statistics):
    network = build(name, whole=True)
    running = sum(b.numel() for key, b in network.named_buffers() if key.endswith(("running_mean", "running_var")))
    assert (parameter_count(network), running) == (parameters, running_statistics)


@for_all("name", [name for name in OF_MONAI if node_of(name).spatial_dims == 2])
def test_networks_of_monai_are_about_as_large_as_the_published_unet(name):
    assert 1_000_000 < parameter_count(build(name, whole=True)) < 2_000_000


@every_network
def test_logits_have_the_sides_of_the_image(name):
    network = build(name, whole=True).eval()
    for sides in ((32, 32), (48, 80), (96, 32)):
        with torch.inference_mode():
            logits = network(image_for(network, 2, 1, *sides))
        assert logits.shape == (2, 1, *sides_for(network, *sides))
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@every_network
def test_channels_in_and_out_are_settings(name):
    network = build(name, in_channels=2, out_channels=4).eval()
    with torch.inference_mode():
        assert network(image_for(network, 1, 2, 32, 48)).shape == (1, 4, *sides_for(network, 32, 48))


@every_network
def test_multiples_of_the_divisor_are_enough(name):
    network = rested(name)
    divisor = required_divisor(network)
    for sides in [(2 * divisor, 3 * divisor), (5 * divisor, 2 * divisor)]:
        with torch.inference_mode():
            assert network(image_for(network, 1, 1, *sides)).shape[2:] == sides_for(network, *sides)


@every_network
def test_outputs_are_logits_on_both_sides_of_zero(name):
    """A sigmoid or softmax inside the network would leave no negative value for any input and bias."""
    network = rested(name)
    copies = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.inference_mode():
        image = 10 * image_for(network, 1, 1, 32, 32)
        logits = network(image)
        last = list(network.parameters())[-1]
        if last.ndim == 1:
            last.sub_(logits.mean())
        centred = network(image)
        network.load_state_dict(copies)
    assert centred.min() < 0 < centred.max()


@for_all("name", [name for name in NAMES if not is_volumetric(name)])
def test_gradients_reach_every_parameter(name):
    # In eval mode: in training the norm layers cancel the biases of the convolutions before them.
    network = build(name).eval()
    network(batch(2, 1, 32, 32)).square().sum().backward()
    without = [
        key for key, parameter in network.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@every_network
def test_a_small_step_down_the_gradient_lowers_the_loss(name):
    network = build(name).train()
    sides = sides_for(network, 32, 32)
    image, label = batch(2, 1, *sides), (batch(2, 1, *sides, seed=1) > 0).float()
    loss = nn.functional.binary_cross_entropy_with_logits(network(image), label)
    loss.backward()
    with torch.no_grad():
        slope = torch.stack([parameter.grad.norm() for parameter in network.parameters()]).norm()
        for parameter in network.parameters():
            parameter -= 0.002 * parameter.grad / slope
        after = nn.functional.binary_cross_entropy_with_logits(network(image), label)
    assert after < loss


@every_network
def test_evaluation_repeats_itself(name):
    network = rested(name)
    with torch.inference_mode():
        image = image_for(network, 2, 1, 32, 32)
        assert torch.equal(network(image), network(image))


@every_network
def test_a_sample_does_not_depend_on_its_batch_in_evaluation(name):
    network = rested(name)
    image = image_for(network, 3, 1, 32, 32)
    with torch.inference_mode():
        together = network(image)
        alone = torch.cat([network(sample[None]) for sample in image])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)  # norms of few voxels enlarge what is rounded


@every_network
def test_batch_norm_learns_in_training_and_rests_in_evaluation(name):
    network = build(name)
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    assert bool(norms) == has_batch_norms(name)

    def statistics() -> list[torch.Tensor]:
        return [value.clone() for norm in norms for value in (norm.running_mean, norm.running_var)]

    image = image_for(network, 2, 1, 32, 32)
    before = statistics()
    with torch.inference_mode():
        network.eval()(image)
    assert all(torch.equal(old, new) for old, new in zip(before, statistics(), strict=True))
    with torch.no_grad():
        network.train()(image)
    assert not any(torch.equal(old, new) for old, new in zip(before, statistics(), strict=True))


@every_network
def test_weights_survive_a_file_of_plain_tensors(name):
    trained = build(name).train()
    trained(image_for(trained, 2, 1, 32, 32))
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    reloaded = build(name, seed=1)
    reloaded.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        image = image_for(trained, 1, 1, 32, 32)
        assert torch.equal(trained.eval()(image), reloaded.eval()(image))


@every_network
def test_same_seed_same_weights(name):
    first, again, other = build(name, seed=3), build(name, seed=3), build(name, seed=4)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@every_network
def test_three_dimensions(name):
    dimensions = {} if is_volumetric(name) else {"spatial_dims": 3}
    settings = {"network": dimensions} if "network" in node_of(name) else dimensions
    network = build(name, out_channels=2, **settings).eval()
    with torch.inference_mode():
        logits = network(batch(1, 1, 16, 32, 16))
    assert logits.shape == (1, 2, 16, 32, 16)
    assert torch.isfinite(logits).all()


@for_all("name", [name for name in NAMES if name not in OF_MONAI])
def test_a_wrong_side_is_named_with_its_divisor(name):
    network = build(name)
    if network.divisor == 1:
        assert network(batch(1, 1, 17, 23)).shape[2:] == (17, 23)
        return
    with pytest.raises(ValueError, match=rf"a side of 33 does not divide by {network.divisor}: pad it to \d+"):
        network(image_for(network, 1, 1, 32, 33))


@every_network_of_ours
@for_all("norm", ["instance", "none"])
def test_norm_is_a_setting(name, norm):
    network = build(name, norm=norm).eval()
    kinds = {type(module) for module in network.modules()}
    assert not kinds & set(BATCH_NORMS)
    assert (nn.InstanceNorm2d in kinds) == (norm == "instance")
    # Instance norm has the affine parameters of batch norm, but no running statistics.
    if norm == "instance":
        assert parameter_count(network) == parameter_count(build(name))
        assert not list(network.buffers())
    with torch.inference_mode():
        assert network(batch(1, 1, 32, 32)).shape == (1, 1, 32, 32)


@every_network_of_ours
def test_dropout_is_random_in_training_and_absent_in_evaluation(name):
    network = build(name, dropout=0.3)
    image = batch(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        torch.testing.assert_close(network.eval()(image), without_dropout(name, network)(image))
    assert parameter_count(network) == parameter_count(build(name))


def without_dropout(name: str, network: nn.Module) -> nn.Module:
    """The network of that name with dropout 0 and the weights of ``network``."""
    plain = build(name, dropout=0.0)
    plain.load_state_dict(network.state_dict())
    return plain.eval()


@every_network_of_ours
@for_all(
    ("settings", "message"),
    [
        ({"spatial_dims": 4}, "spatial_dims is 4, but a network has 2 or 3"),
        ({"norm": "layer"}, "norm is 'layer', but may be one of batch, instance, none"),
        ({"dropout": 1.0}, "dropout is 1.0, but is a probability of at least 0 and below 1"),
        ({"widths": []}, "widths are [], but each level needs at least one channel"),
    ],
)
def test_a_wrong_setting_is_named(name, settings, message):
    with pytest.raises(Exception, match="Error in call to target") as caught:
        build(name, **settings)
    assert str(caught.value.__cause__) == message
