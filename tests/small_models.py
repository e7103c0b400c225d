"""Models whose answers are known, made without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ankleseg.config import compose, to_plain
from ankleseg.inference import Model, VolumeInferer
from ankleseg.labels import Labels
from ankleseg.transforms import Preparation


def prepared_by(*overrides: str) -> Preparation:
    """The preparation that the command line would give, e.g. by ``prepare=brain``."""
    return Preparation(to_plain(compose("train", overrides).prepare.transforms))


def model_of(
    network: nn.Module,
    *overrides: str,
    structures: Sequence[str] = ("bone",),
    images: Sequence[str] = (),
    channels: Sequence[str] = ("image",),
    window: Sequence[int] = (16, 16),
    path: str = "model.ckpt",
    **others: Any,
) -> Model:
    """A model around a network, with the preparation of `prepared_by`."""
    labels = Labels(structures=tuple(structures), images=tuple(images))
    return Model(network, {}, prepared_by(*overrides), labels, tuple(channels), tuple(window), Path(path), **others)


def tiles_of(*sides: int, tiling: str = "tiles") -> VolumeInferer:
    """An inferer by tiles of these sides."""
    return VolumeInferer(sides, tiling=tiling)
