"""What the networks of the tumour experiments are beside the laws of every network."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from ankleseg.networks import DeepLab, DynUNet, SegNet, for_inference


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_segnet_is_vgg16_and_its_way_back() -> None:
    """Convolutions of VGG16 by hand, weights and bias, norms of two numbers a channel."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    there = sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths))
    back = [*widths[:0:-1], 64]
    steps = list(itertools.pairwise(back))
    assert count(SegNet(3, 11)) == there + sum(9 * a * b + 3 * b for a, b in steps) + 9 * 64 * 11 + 11


@pytest.mark.parametrize("dimensions", [2, 3])
def test_segnet_puts_a_maximum_back_where_it_was(dimensions: int) -> None:
    network = SegNet(1, 1, dimensions, widths=[4], depths=[1])
    image = torch.rand(2, 4, *[8] * dimensions)
    pooled, places = network.pool(image)
    back = network.unpool(pooled, places)
    kept = back != 0
    assert kept.sum() == pooled.numel() and torch.equal(back[kept], image[kept])
    laid = torch.channels_last if dimensions == 2 else torch.channels_last_3d
    other = network.unpool(*network.pool(image.contiguous(memory_format=laid)))
    assert torch.equal(other, back), "however the voxels lie in memory"


@pytest.mark.parametrize("dimensions", [2, 3])
def test_deeplab_sees_further_with_larger_rates(dimensions: int) -> None:
    reach = {}
    for rates in ([1], [9]):
        network = DeepLab(1, 1, dimensions, widths=[2, 2, 2, 2], rates=rates, norm="none").eval()
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.2)  # so that no unit is dead
        image = torch.ones(1, 1, 512, *[8] * (dimensions - 1), requires_grad=True)
        network(image)[0, 0, 256].sum().backward()
        reach[rates[0]] = int((image.grad[0, 0].flatten(1) != 0).any(1).sum())
    assert reach[9] - reach[1] == 2 * 8 * (9 - 1), "at an eighth of the sides, either way"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SegNet(depths=[1, 2]), r"depths are \[1, 2\], but each of 5 levels has 1 convolution or more"),
        (lambda: DeepLab(widths=[8, 8]), r"widths are \[8, 8\], but there are four levels"),
        (lambda: DeepLab(rates=[0]), r"rates are \[0\], but each atrous convolution has one of at least 1"),
        (lambda: DynUNet(filters=[8, 8]), "2 filters do not fit 5 strides: give one for each level"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_deep_supervision_gives_a_list_in_training_and_one_answer_in_prediction() -> None:
    torch.manual_seed(0)
    network = DynUNet(1, 2, filters=[4, 8, 8, 8], strides=[1, 2, 2, 2], deep_supervision=True, deep_supr_num=2)
    image = torch.randn(2, 1, 16, 16)
    outputs = network.train()(image)
    assert isinstance(outputs, list) and [tuple(each.shape) for each in outputs] == [(2, 2, 16, 16)] * 3
    sum(each.square().mean() for each in outputs).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    copied = copy.deepcopy(network)  # MONAI's own cannot be, after a step
    with torch.inference_mode():
        torch.testing.assert_close(for_inference(network)(image), copied.eval()(image))
