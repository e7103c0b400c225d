"""Every network names its parts; they hold each of its weights once, and are selected by name, path or pattern."""

from __future__ import annotations

from functools import cache

import pytest
from configured import EVERY, build, node_of, registers
from hydra.utils import instantiate
from torch import nn

from ankleseg.errors import ConfigError
from ankleseg.networks import UNet
from ankleseg.networks.parts import modules_in, parameters_of, part_of_each, parts_of, tensors_of

PARTS = ("contraction", "bottleneck", "expansion")


@cache
def network_of(name: str) -> nn.Module:
    return instantiate(node_of(name)) if registers(name) else build(name)


@pytest.mark.parametrize("name", EVERY)
def test_each_weight_is_in_one_part(name: str):
    network = network_of(name)
    assert tuple(parts_of(network)) == PARTS
    held = [id(p) for part in PARTS for p in parameters_of(modules_in(network, [part], "freeze"))]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    assert set(part_of_each(network).values()) == set(PARTS)


def test_a_path_selects_what_lies_under_it_and_a_pattern_each_that_fits():
    network = UNet(widths=[2, 4, 4])

    def names(*chosen: str) -> set[str]:
        found = {id(p) for p in parameters_of(modules_in(network, chosen, "freeze"))}
        return {name for name, p in network.named_parameters() if id(p) in found}

    assert names("*") == {name for name, _ in network.named_parameters()}
    assert names("ascending.0") == {name for name in names("*") if name.startswith("ascending.0.")}
    assert names("ascending.*", "head") == {name for name in names("*") if name.startswith(("ascending.", "head."))}
    assert names("contraction") == {name for name in names("*") if name.startswith("descending.")}


@pytest.mark.parametrize("name", ["botleneck", "pool", "descending.9", "head.weight"])
def test_what_selects_no_weights_is_refused_with_the_parts(name: str):
    with pytest.raises(ConfigError) as caught:
        modules_in(UNet(widths=[2, 4]), [name], "init.surgery")
    assert str(caught.value) == (
        f"invalid init.surgery {name!r}: expected a part of the network with weights; its parts are contraction, "
        "bottleneck, expansion, pool, descending, bottom, doubling, ascending, last, head; * stands for any letters"
    )


def test_shared_tensors_count_once():
    network = build("dynunet")
    assert len(tensors_of(network)) < len(network.state_dict())
    assert len(tensors_of(network)) == len(list(network.parameters())) + len(list(network.buffers()))
