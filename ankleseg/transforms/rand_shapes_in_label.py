"""`RandShapesInLabeld`: random shapes where a label map tells nothing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor
from torch.nn import functional

from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing


class RandShapesInLabeld(RandomizableTransform, MapTransform):
    """Draw random smooth shapes, each with a number of its own, where a label map has a certain value (Hoffmann 2022).

    MONAI has none. An image that `RandImageFromLabelsd` makes of a label map is flat where the map tells nothing,
    around the structures that somebody labelled. A network that is to find these among others must have seen others.

    Args:
        keys: label maps (1, *spatial); each gets shapes of its own.
        prob: probability that shapes are drawn.
        value: where they are drawn.
        shapes: how many different ones; their numbers follow the largest of the map.
        smoothness: range in mm of the distance of the knots of the noise whose largest channel makes the shapes, drawn
            evenly on a logarithmic scale.

    Raises:
        ConfigError: an argument is invalid, or the affine of the input is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        value: int = 0,
        shapes: int = 6,
        smoothness: Sequence[float] = (4.0, 24.0),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if shapes < 1:
            raise ConfigError(f"invalid shapes {shapes}: expected at least 1", mend="choose another number")
        if len(smoothness) != 2 or not 0 < smoothness[0] <= smoothness[1]:
            raise ConfigError(
                f"invalid smoothness {list(smoothness)}: expected a range in mm",
                mend="give the smallest and the largest",
            )
        self.value, self.shapes, self.smoothness = value, shapes, (float(smoothness[0]), float(smoothness[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize(None)
        for key in self.key_iterator(sample):
            source = sample[key]
            label = without_meta(source)
            if self._do_transform:
                mm = spacing(affine_of(source, sample))[: label.ndim - 1]
                numbers = label.max() + 1 + self._drawn(label.shape[1:], mm).to(label.dtype)
                label = torch.where(label == self.value, numbers, label)
            sample[key] = with_meta_of(source, label)
        return sample

    def _drawn(self, shape: Sequence[int], mm: np.ndarray) -> Shaped[Tensor, "1 *spatial"]:
        """Numbers of shapes from 0."""
        low, high = self.smoothness
        apart = low * (high / low) ** self.R.random_sample()
        knots = [max(2, round(side * step / apart) + 1) for side, step in zip(shape, mm, strict=True)]
        noise = self.R.standard_normal((1, self.shapes, *knots)).astype(np.float32)
        mode = "bilinear" if len(knots) == 2 else "trilinear"
        return functional.interpolate(torch.from_numpy(noise), size=tuple(shape), mode=mode, align_corners=True).argmax(
            1
        )
