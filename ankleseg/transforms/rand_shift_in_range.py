"""`RandShiftInRanged`: brighter or darker."""

from __future__ import annotations

from monai.config import KeysCollection

from ankleseg.transforms.in_range import Image, InRanged, strength_of


class RandShiftInRanged(InRanged):
    """Add a random offset, as a fraction of the intensity range of the scan.

    MONAI's `RandShiftIntensityd` is wrong for us: its offset is in intensities of the image, which mean another
    brightness with every scaling and every scan.

    Args:
        keys: images (C, *patch); all get the same offset.
        prob: probability that anything is changed.
        offset: largest offset, up or down, as a fraction of the range.

    Raises:
        ConfigError: the offset is negative.
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 1.0, offset: float = 0.1, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, prob, allow_missing_keys)
        self.offset = strength_of("offset", offset)
        self._offset = 0.0

    def draw(self) -> bool:
        self._offset = self.offset * float(2 * self.R.random_sample() - 1)
        return self._offset != 0

    def change(self, relative: Image) -> Image:
        return relative.add_(self._offset)
