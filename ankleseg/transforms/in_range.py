"""What random changes of intensities share: counted from the darkest of the scan, as fractions of its range."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from ankleseg.errors import ConfigError
from ankleseg.transforms.boxes import range_of
from ankleseg.transforms.metadata import with_meta_of, without_meta

Image = Float[Tensor, "c *patch"]


class InRanged(RandomizableTransform, MapTransform):
    """A random change of intensities relative to ``image_range`` (C, 2): 0 the darkest of the scan, 1 its bright end.

    All keys get the same change. A sample without ``image_range`` (see `IntensityRanged`) is counted from the smallest
    to the greatest value of the patch.
    """

    def __init__(self, keys: KeysCollection, prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    @abstractmethod
    def draw(self) -> bool:
        """Draw the strength; False where nothing is to be done."""

    @abstractmethod
    def change(self, relative: Image) -> Image:
        """Change a patch, counted as fractions of the range; it may work in place."""

    def randomize(self, data: Any = None) -> None:
        """Draw the strength, whether it is then used or not."""
        super().randomize(data)
        self._do_transform = self.draw() and self._do_transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        if not self._do_transform:
            list(self.key_iterator(sample))  # a missing key is told, drawn or not
            return sample
        for key in self.key_iterator(sample):
            source = sample[key]
            image = without_meta(source)
            if not image.is_floating_point():
                image = image.float()
            dark, extent = _bounds(sample, str(key), image)
            changed = self.change((image - dark).div_(extent))
            sample[key] = with_meta_of(source, changed.mul_(extent).add_(dark))
        return sample


def factors_of(name: str, low_high: Sequence[float]) -> tuple[float, float]:
    """Return two factors above 0, the smaller first; raises ConfigError where they are none."""
    if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
        raise ConfigError(
            f"invalid {name} {list(low_high)}: expected two factors above 0", mend="give the smaller one first"
        )
    return float(low_high[0]), float(low_high[1])


def strength_of(name: str, value: float) -> float:
    """Return a number that is not negative; raises ConfigError where it is."""
    if not value >= 0:
        raise ConfigError(f"invalid {name} {value}: expected 0 or more", mend="give the largest one")
    return float(value)


def _bounds(sample: Mapping, key: str, image: Image) -> tuple[Tensor, Tensor]:
    ones = [1] * (image.ndim - 1)
    dark, bright = range_of(sample, key, image).to(image.dtype).unbind(1)
    extent = bright - dark
    return dark.reshape(-1, *ones), torch.where(extent > 0, extent, 1).reshape(-1, *ones)
