"""Cutting boxes out of channel-first arrays and putting them back, and what lies around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ankleseg import keys
from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import without_meta

Fill = Sequence[float] | None  # a value for each channel; None repeats the outermost voxels


def translation(start: Sequence[int]) -> Float[np.ndarray, "4 4"]:
    """From the voxels of a box to those of the volume."""
    matrix = np.eye(4)
    matrix[: len(start), 3] = start
    return matrix


def cut(
    array: Shaped[Tensor, "c *volume"], start: Sequence[int], size: Sequence[int], fill: Fill
) -> Shaped[Tensor, "c *box"]:
    """Copy a box out of a volume; outside the volume lies ``fill``.

    Raises:
        ConfigError: outermost voxels are to be repeated, but the box lies outside the volume.
    """
    place = list(zip(start, size, array.shape[1:], strict=True))
    source = tuple(slice(max(first, 0), max(min(first + side, n), 0)) for first, side, n in place)
    inside = array[(slice(None), *source)]
    if all(first >= 0 and first + side <= n for first, side, n in place):
        return inside.clone(memory_format=torch.contiguous_format)
    if fill is None:
        for axis, (first, side, n) in enumerate(place, start=1):
            array = array.index_select(axis, torch.arange(first, first + side).clamp_(0, n - 1))
        return array.contiguous()
    target = tuple(slice(s.start - first, s.stop - first) for s, (first, *_) in zip(source, place, strict=True))
    box = filled(array, size, fill)
    if inside.numel():
        box[(slice(None), *target)] = inside
    return box


def put_back(
    box: Shaped[Tensor, "c *box"], start: Sequence[int], shape: Sequence[int], fill: Sequence[float]
) -> Shaped[Tensor, "c *volume"]:
    """A volume that holds a box at its place and ``fill`` around it; what lies outside the volume is left out."""
    return cut(box, [-first for first in start], shape, fill)


def filled(like: Tensor, size: Sequence[int], fill: Sequence[float]) -> Shaped[Tensor, "c *box"]:
    """An array of one value a channel."""
    values = torch.tensor(list(fill), dtype=torch.float64).to(like.dtype)
    return values.reshape(-1, *[1] * len(size)).repeat(1, *size)


def darkest(sample: Mapping, key: str, array: Tensor, discrete: bool) -> list[float]:
    """What lies outside a volume: the darkest intensity of each channel of an image, nothing of masks and labels.

    Args:
        sample: its ``<key>_range`` or ``image_range`` tells the darkest intensity of the whole scan; else that of the
            array is taken.
        discrete: whether the array is a mask or a label.
    """
    if discrete:
        return [0.0] * len(array)
    known = intensity_range(sample, key, len(array))
    return (array.flatten(1).amin(1) if known is None else known[:, 0]).tolist()


def intensity_range(sample: Mapping, key: str, channels: int) -> Float[Tensor, "c 2"] | None:
    """Darkest intensity and bright end of each channel, as the sample tells them.

    Raises:
        ConfigError: it tells them of another number of channels.
    """
    known = sample.get(f"{key}_range", sample.get(keys.RANGE))
    if known is None:
        return None
    known = without_meta(known)
    if known.shape != (channels, 2) and known.shape != (1, 2):
        if channels <= len(known) and known.ndim == 2:  # a target holds the first channels of the image
            return known[:channels]
        raise ConfigError(
            f"invalid {keys.RANGE} of shape {tuple(known.shape)}: expected ({channels}, 2)",
            mend="compute it by ankleseg.transforms.IntensityRanged after the channels were chosen",
        )
    return known.expand(channels, 2)


def range_of(sample: Mapping, key: str, array: Tensor) -> Float[Tensor, "c 2"]:
    """Darkest intensity and bright end of each channel: as the sample tells them, else the extremes of the array."""
    known = intensity_range(sample, key, len(array))
    if known is not None:
        return known
    flat = array.flatten(1)
    return torch.stack([flat.amin(1), flat.amax(1)], dim=1)


def is_discrete(key: Any, array: Tensor, *others: str) -> bool:
    """Whether an array holds labels or a mask: by its key, or because its numbers are whole."""
    return key in (keys.LABEL, keys.FOREGROUND, *others) or not array.is_floating_point()
