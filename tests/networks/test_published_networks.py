"""What is particular to each of the published networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from laws import for_all
from omegaconf import OmegaConf
from torch import nn

from ankleseg.networks import FCN, ResNet, UNet, required_divisor


def receptive_field(network: nn.Module, side: int) -> int:
    """Number of rows of the input on which the middle output voxel depends."""
    image = torch.randn(1, 1, side, side, requires_grad=True)
    network.eval()(image)[0, 0, side // 2, side // 2].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


def kernel_sizes(network: nn.Module, stages: str) -> list[tuple[int, int, int]]:
    """(channels in, channels out, size) of each convolution of the named part, in order."""
    convolutions = (module for module in getattr(network, stages).modules() if isinstance(module, nn.Conv2d))
    return [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convolutions]


def test_fcn_has_eleven_convolutions_and_sees_23_voxels():
    network = FCN()
    assert kernel_sizes(network, "ascending") == [
        (1, 16, 3), (16, 16, 3), (16, 32, 3), (32, 32, 3), (32, 64, 3), (64, 64, 3), (64, 128, 3), (128, 128, 3),
    ]  # fmt: skip
    assert kernel_sizes(network, "descending") == [(128, 64, 3), (64, 32, 3), (32, 16, 3)]
    assert receptive_field(network, 41) == 23


def test_fcn_moves_with_its_image():
    network = FCN().eval()
    image = torch.zeros(1, 1, 48, 48)
    image[..., 20:26, 20:24] = 3.0
    with torch.inference_mode():
        logits = network(image)
        moved = network(image.roll((5, -3), (2, 3)))
    inner = (..., slice(12, 36), slice(12, 36))
    torch.testing.assert_close(moved[inner], logits.roll((5, -3), (2, 3))[inner], rtol=1e-4, atol=1e-6)


def test_unet_concatenates_doubled_and_descending_maps():
    network = UNet()
    assert [kernel_sizes(network, "ascending")[first] for first in (0, 3, 6)] == [
        (192, 64, 3),
        (96, 32, 3),
        (48, 16, 3),
    ]
    assert kernel_sizes(network, "bottom") == [(128, 128, 3)] * 3
    # The doubled maps come first: without their weights the bottom level has no way to the output.
    with torch.no_grad():
        for level, doubled in zip(network.ascending, (128, 64, 32), strict=True):
            level[0].weight[:, :doubled] = 0
    network.eval()(torch.randn(1, 1, 32, 32)).sum().backward()
    assert all(not parameter.grad.any() for parameter in network.bottom.parameters())
    assert all(parameter.grad.any() for parameter in network.descending[0].parameters())


def test_unet_by_the_document_doubles_with_transposed_convolutions():
    by_code, by_document = UNet(), UNet(upsampling="transposed")
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in by_code.modules())
    learnt = [module for module in by_document.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert [module.in_channels for module in learnt] == [128, 64, 32]
    with torch.inference_mode():
        assert by_document.eval()(torch.randn(1, 1, 24, 40)).shape == (1, 1, 24, 40)
    with pytest.raises(ValueError, match="upsampling is 'nearest', but may be one of linear, transposed"):
        UNet(upsampling="nearest")


@for_all(("levels", "divisor"), [(1, 1), (2, 2), (5, 16)])
def test_the_divisor_follows_the_levels(levels, divisor):
    widths = [4 * 2**level for level in range(levels)]
    for network in (UNet(widths=widths), ResNet(widths=widths, depths=[1] * levels)):
        assert required_divisor(network) == divisor
        with torch.inference_mode():
            assert network.eval()(torch.randn(1, 1, 3 * divisor, 2 * divisor)).shape[2:] == (3 * divisor, 2 * divisor)


def test_a_foreign_network_is_taken_to_need_16():
    assert required_divisor(nn.Conv2d(1, 1, 3)) == 16


@for_all(("block", "channels", "convolutions"), [("basic", 256, 2 * 13 + 2), ("bottleneck", 1024, 42)])
def test_resnet_blocks_and_strides(block, channels, convolutions):
    network = ResNet(block=block)
    assert len(kernel_sizes(network, "levels")) == convolutions
    assert network.head.in_channels == channels
    assert [len(level) for level in network.levels] == [3, 4, 6]
    feature_sides = []
    for level in network.levels:
        level.register_forward_hook(lambda _module, _input, output: feature_sides.append(output.shape[-1]))
    with torch.inference_mode():
        network.eval()(torch.randn(1, 1, 32, 32))
    assert feature_sides == [32, 16, 8]


@for_all("block", ["basic", "bottleneck"])
def test_resnet_gives_the_logits_of_the_published_order(block):
    """Published: enlarge all feature maps, then convolve 1×1; here the other way round."""
    torch.manual_seed(0)
    network = ResNet(block=block, out_channels=3).eval()
    image = torch.randn(2, 1, 32, 48)
    with torch.inference_mode():
        features = network.stem(image)
        for level in network.levels:
            features = level(features)
        enlarged = nn.functional.interpolate(features, scale_factor=4, mode="bilinear", align_corners=False)
        torch.testing.assert_close(network(image), network.head(enlarged), rtol=1e-4, atol=1e-5)


@for_all(
    ("settings", "message"),
    [
        ({"block": "dense"}, "block is 'dense', but may be one of basic, bottleneck"),
        ({"stem_size": 4}, "stem_size is 4, but the side of a kernel is odd"),
        ({"stem_convolutions": 0}, "stem_convolutions is 0, but a stem has at least one"),
        ({"depths": [3, 4]}, r"depths are \[3, 4\], but each of the 3 levels needs at least one block"),
    ],
)
def test_resnet_names_a_wrong_setting(settings, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**settings)


def test_the_network_for_reconstruction_has_one_norm_after_two_convolutions():
    network = ResNet(stem_convolutions=2)
    assert kernel_sizes(network, "stem") == [(1, 64, 3), (64, 64, 3)]
    assert all(module.bias is None for module in network.stem if isinstance(module, nn.Conv2d))
    norms = [module for module in network.stem if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 2
    assert norms[0] is norms[1]
    # Each use takes its share in the running statistics.
    network.train()(torch.randn(2, 1, 16, 16))
    assert norms[0].num_batches_tracked == 2


def test_the_shared_norm_stays_shared_through_a_file_of_weights():
    torch.manual_seed(0)
    written, read = ResNet(stem_convolutions=2, depths=[1, 1, 1]), ResNet(stem_convolutions=2, depths=[1, 1, 1])
    image = torch.randn(2, 1, 16, 16)
    written.train()(image)
    read.load_state_dict(written.state_dict())
    assert read.stem[1] is read.stem[4]
    with torch.inference_mode():
        assert torch.equal(read.eval()(image), written.eval()(image))


def test_the_network_for_reconstruction_ends_linearly():
    """Twice the weights of its last layer are twice its intensities: no sigmoid follows."""
    torch.manual_seed(0)
    network = ResNet(stem_convolutions=2, depths=[1, 1, 1]).eval()
    image = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        once = network(image)
        for parameter in network.head.parameters():
            parameter.mul_(2)
        torch.testing.assert_close(network(image), 2 * once)


@for_all("size", [3, 9])
def test_the_first_kernel_widens_what_a_pixel_sees(size):
    torch.manual_seed(0)
    network = ResNet(stem_size=size, widths=[4, 8], depths=[1, 1])
    assert kernel_sizes(network, "stem") == [(1, 4, size)]
    assert receptive_field(network, 64) == receptive_field(ResNet(widths=[4, 8], depths=[1, 1]), 64) + size - 3


def test_the_small_network_for_reconstruction_has_at_most_three_million_parameters():
    node = OmegaConf.load(Path(__file__).parents[2] / "conf" / "network" / "reconstruction_resnet_small.yaml")
    assert sum(parameter.numel() for parameter in instantiate(node).parameters()) == 2_815_681
