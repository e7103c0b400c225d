"""`RandSliceFromBlockd`: one slice of random thickness out of a block of thin ones."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing


class RandSliceFromBlockd(Randomizable, MapTransform):
    """Average the middle of a block over a random thickness along its last axis: a slice as a scanner takes it.

    MONAI has none. A network of slices that learns of label maps sees partial volume so: each tissue counts by the part
    of the slice that it fills, and a voxel belongs to the structure, or the background, that fills most of it.

    Args:
        keys: images and labels (C, X, Y, Z), of one shape; (C, X, Y) afterwards.
        thickness: range in mm of the slices, drawn evenly on a logarithmic scale; at most the whole block counts.
        label_key: which of the keys hold labels.

    Raises:
        ConfigError: the range is invalid, an input is no block, or its affine is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        thickness: Sequence[float] = (0.5, 9.0),
        label_key: str | Sequence[str] = names.LABEL,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(thickness) != 2 or not 0 < thickness[0] <= thickness[1]:
            raise ConfigError(
                f"invalid thickness {list(thickness)}: expected a range in mm", mend="give the smallest and the largest"
            )
        self.thickness = (float(thickness[0]), float(thickness[1]))
        self.label_key = (label_key,) if isinstance(label_key, str) else tuple(label_key)
        self._number = 0.5

    def randomize(self, data: Any = None) -> None:
        """Draw the thickness."""
        self._number = float(self.R.random_sample())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        low, high = self.thickness
        thick = low * (high / low) ** self._number
        for key in self.key_iterator(sample):
            source = sample[key]
            array = without_meta(source)
            if array.ndim != 4:
                raise ConfigError(f"invalid {key} of {array.ndim - 1} axes: expected a block", mend="cut blocks before")
            weights = _box(array.shape[-1], thick / float(spacing(affine_of(source, sample))[2]))
            flat = _most(array, weights) if key in self.label_key else (array.float() @ weights).to(array.dtype)
            sample[key] = with_meta_of(source, flat)
        return sample


def _box(side: int, thick: float) -> Tensor:
    """Weights of the planes of a block in a slice in its middle, so many planes thick."""
    edges = torch.arange(side + 1, dtype=torch.float32) - side / 2
    below = edges.clamp(-thick / 2, thick / 2)
    weights = below.diff()
    return weights / weights.sum()


def _most(label: Tensor, weights: Tensor) -> Tensor:
    """The label that fills most of each voxel of the slice; of masks of regions, whether each fills half."""
    if len(label) > 1:
        return (label.float() @ weights >= 0.5).to(label.dtype)
    values = label[0].unique()
    most = torch.full(label.shape[1:3], -1.0)
    found = torch.zeros(label.shape[1:3], dtype=label.dtype)
    for value in values:  # several times as fast as a maximum over one channel a label
        share = (label[0] == value).float() @ weights
        found = torch.where(share > most, value, found)
        most = torch.maximum(share, most)
    return found[None]
