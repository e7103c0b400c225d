"""`RandFieldOfViewd`: what a scan shows whose field of view ends inside the anatomy."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import with_meta_of, without_meta


class RandFieldOfViewd(RandomizableTransform, MapTransform):
    """Cut the field of view to a random box, and let its outermost voxels go on to the size of before.

    MONAI has none: ``RandSpatialCropd`` gives another size, which cannot be put into a batch, and padding it with zeros
    shows what no prediction shows, where a scan smaller than the window goes on as its outermost voxels
    (``replicate``). Labels go on as images do.

    Args:
        keys: what is cut, (C, *spatial) each, of one shape.
        prob: probability that anything is cut.
        least: smallest side that is left, as a fraction, of each axis; drawn evenly up to the whole side.
        axes: probability that an axis is cut.

    Raises:
        ConfigError: a fraction is not above 0 and at most 1, or the shapes differ.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        least: float = 0.2,
        axes: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        for name, value in (("least", least), ("axes", axes)):
            if not 0 < value <= 1:
                raise ConfigError(f"invalid {name} {value:g}: expected a fraction above 0", mend="choose 0.2, or 1")
        self.least, self.axes = least, axes
        self._numbers: Sequence[Sequence[float]] = [[1.0] * 3] * 3

    def randomize(self, data: Any = None) -> None:
        """Draw three numbers an axis."""
        super().randomize(data)
        self._numbers = self.R.random_sample((3, 3)).tolist()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        shape: tuple[int, ...] = ()
        for key in self.key_iterator(sample):
            source = sample[key]
            array = without_meta(source)
            if shape and tuple(array.shape[1:]) != shape:
                raise ConfigError(
                    f"invalid shape of {key} {tuple(array.shape[1:])}: expected {shape}",
                    mend="crop and resample all keys alike before",
                )
            shape = tuple(array.shape[1:])
            if self._do_transform:
                sample[key] = with_meta_of(source, self._cut(array))
        return sample

    def _cut(self, array: torch.Tensor) -> torch.Tensor:
        for axis, (cut, length, start) in enumerate(self._numbers[: array.ndim - 1], start=1):
            side = array.shape[axis]
            kept = max(1, round(side * (self.least + (1 - self.least) * length)))
            first = round(start * (side - kept))
            if cut < self.axes:
                places = torch.arange(side).clamp(first, first + kept - 1)
                array = array.index_select(axis, places)
        return array
