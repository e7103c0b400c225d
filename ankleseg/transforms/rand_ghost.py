"""`RandGhostd`: the faint copies that motion leaves along the phase-encoding direction."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform

from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import with_meta_of, without_meta


class RandGhostd(RandomizableTransform, MapTransform):
    """Add faint copies of an image, displaced by a fraction of the field of view along one axis.

    MONAI has none. Motion that repeats every n-th line of k-space leaves n ghosts, displaced by an n-th of the field of
    view (Wood and Henkelman 1985). Here they are added as copies, with the two nearest at the given strength and the
    others weaker.

    Args:
        keys: images (C, *spatial).
        prob: probability that ghosts are added.
        strength: largest intensity of the nearest ghosts, as a fraction of the image.
        ghosts: range of their number.

    Raises:
        ConfigError: the strength is negative, or the range is invalid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.1,
        strength: float = 0.15,
        ghosts: Sequence[int] = (2, 8),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if strength < 0:
            raise ConfigError(f"invalid strength {strength:g}: expected 0 or more", mend="choose another strength")
        if len(ghosts) != 2 or not 2 <= ghosts[0] <= ghosts[1]:
            raise ConfigError(
                f"invalid ghosts {list(ghosts)}: expected a range from 2", mend="give the smallest and the largest"
            )
        self.strength, self.ghosts = float(strength), (int(ghosts[0]), int(ghosts[1]))
        self._numbers = np.zeros(3)

    def randomize(self, data: Any = None) -> None:
        """Draw axis, number and strength."""
        super().randomize(data)
        self._numbers = self.R.random_sample(3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        for key in self.key_iterator(sample):
            if self._do_transform:
                source = sample[key]
                sample[key] = with_meta_of(source, self._with_ghosts(without_meta(source)))
        return sample

    def _with_ghosts(self, array: torch.Tensor) -> torch.Tensor:
        where, number, strength = self._numbers.tolist()
        axis = 1 + min(int((array.ndim - 1) * where), array.ndim - 2)
        low, high = self.ghosts
        count = low + min(int((high - low + 1) * number), high - low)
        result = array.clone()
        for ghost in range(1, count):
            apart = min(ghost, count - ghost)
            shift = round(ghost * array.shape[axis] / count)
            result += self.strength * strength / apart * array.roll(shift, axis)
        return result
