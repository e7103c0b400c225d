"""Parts of a network may have a learning rate of their own."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from ankleseg.errors import ConfigError
from ankleseg.inference import VolumeInferer
from ankleseg.labels import Labels
from ankleseg.losses import DiceLoss
from ankleseg.networks import UNet
from ankleseg.tasks import Segmentation


def task_with(rates: dict[str, float] | float | None) -> Segmentation:
    torch.manual_seed(0)
    return Segmentation(
        network=UNet(widths=[2, 4]),
        optimizer=partial(torch.optim.SGD, lr=0.5),
        rates=rates,
        loss=DiceLoss(),
        labels=Labels(structures=["talus"]),
        validation=VolumeInferer((8, 8)),
    )


def optimizer_of(task: Segmentation) -> Optimizer:
    optimizer: Any = task.configure_optimizers()
    return optimizer


def step(task: Segmentation) -> dict[str, torch.Tensor]:
    """How far each weight moves when all have a gradient of 1."""
    before = {name: parameter.detach().clone() for name, parameter in task.network.named_parameters()}
    for parameter in task.network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer_of(task).step()
    return {name: before[name] - parameter.detach() for name, parameter in task.network.named_parameters()}


def test_a_named_part_moves_by_its_own_rate_and_the_rest_by_the_common_one():
    for name, moved in step(task_with({"head": 0.1, "ascending.0": 2})).items():
        rate = 0.05 if name.startswith("head.") else 1.0 if name.startswith("ascending.0.") else 0.5
        torch.testing.assert_close(moved, torch.full_like(moved, rate))


def test_every_weight_is_in_one_group():
    task = task_with({"ascending": 0.5, "ascending.0": 0.1})
    held = [id(parameter) for group in optimizer_of(task).param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in task.parameters())


def test_the_common_rate_comes_first_where_it_is_logged_and_inner_parts_have_their_own():
    groups = optimizer_of(task_with({"ascending": 0.5, "ascending.0": 0.1})).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.5, 0.05, 0.25])


def test_a_number_is_a_factor_for_each_level_towards_the_input():
    task = task_with(0.5)
    groups = optimizer_of(task).param_groups
    found = {id(p): group["lr"] for group in groups for p in group["params"]}
    levels = ["head", "last", "ascending.0", "bottom", "descending.1", "descending.0"]
    for number, level in enumerate(levels):
        rates = {found[id(p)] for p in task.network.get_submodule(level).parameters()}
        assert rates == {0.5 * 0.5**number}, level
    assert groups[0]["lr"] == 0.5, "the common rate comes first"


def test_without_rates_there_is_one_group():
    assert len(optimizer_of(task_with(None)).param_groups) == 1


def test_frozen_weights_stay_out():
    task = task_with({"head": 0.1})
    head: nn.Module = task.network.get_submodule("head")
    head.requires_grad_(False)
    _, slow = optimizer_of(task).param_groups
    assert slow["params"] == []


def test_a_part_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="invalid task.rates 'heads': .*; its parts are contraction, .*head"):
        optimizer_of(task_with({"heads": 0.1}))
