"""`RandScaleInRanged`: more or less contrast."""

from __future__ import annotations

from collections.abc import Sequence

from monai.config import KeysCollection

from ankleseg.transforms.in_range import Image, InRanged, factors_of


class RandScaleInRanged(InRanged):
    """Multiply intensities by a random factor, counted from the darkest of the scan.

    MONAI's `RandScaleIntensityd` is wrong for z-scored images: it multiplies about 0, the mean of the foreground, and
    so makes dark tissue and air darker where bright tissue becomes brighter.

    Args:
        keys: images (C, *patch); all get the same factor.
        prob: probability that anything is changed.
        factors: smallest and largest factor, drawn evenly on a logarithmic scale.

    Raises:
        ConfigError: the factors are no range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        factors: Sequence[float] = (0.8, 1.25),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.factors = factors_of("factors", factors)
        self._factor = 1.0

    def draw(self) -> bool:
        low, high = self.factors
        self._factor = float(low * (high / low) ** self.R.random_sample())
        return self._factor != 1

    def change(self, relative: Image) -> Image:
        return relative.mul_(self._factor)
