"""The networks of ``conf/network``, found there, and built as configured or with fewer channels."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

CONF = Path(__file__).parents[2] / "conf" / "network"


def node_of(name: str) -> DictConfig:
    return OmegaConf.load(CONF / f"{name}.yaml")


def registers(name: str) -> bool:
    """Whether a network gives the flow of a pair instead of logits of an image."""
    return hasattr(get_class(node_of(name)._target_), "displacement")


EVERY = sorted(path.stem for path in CONF.glob("*.yaml"))
NAMES = [name for name in EVERY if not registers(name)]
OF_PAIRS = [name for name in EVERY if registers(name)]


def nodes_of(node: DictConfig) -> list[DictConfig]:
    """The node of a network and those of the networks inside it."""
    return [node, *(each for key in node if isinstance(node[key], DictConfig) for each in nodes_of(node[key]))]


def settings_of(name: str) -> set[str]:
    """What the class of a network can be told."""
    return set(inspect.signature(get_class(node_of(name)._target_)).parameters)


def fewer_channels(value: Any) -> Any:
    """Settings with a quarter of the channels, at least 8: every number from 16 on is one of channels."""
    if isinstance(value, dict):
        return {key: fewer_channels(each) for key, each in value.items()}
    if isinstance(value, list):
        return [fewer_channels(each) for each in value]
    return max(8, value // 4) if isinstance(value, int) and not isinstance(value, bool) and value >= 16 else value


def build(name: str, seed: int = 0, *, whole: bool = False, **settings: Any) -> nn.Module:
    """A network of ``conf/network`` for one structure: `whole` as configured, else with fewer channels."""
    node = node_of(name)
    torch.manual_seed(seed)
    if not whole:
        node = OmegaConf.create(fewer_channels(OmegaConf.to_container(node)))
    return instantiate(node, **{"out_channels": 1} | settings)


def is_volumetric(name: str) -> bool:
    """Whether a network takes volumes alone: it has no number of dimensions to be told, or is of three."""
    return all(node.get("spatial_dims", 3) == 3 for node in nodes_of(node_of(name)))


def has_batch_norms(name: str) -> bool:
    return any(node.get("norm") == "batch" for node in nodes_of(node_of(name)))
