"""`ForegroundWindowsd`: count once, before the cache, where `RandForegroundCropd` may cut."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.transforms.windows import check_fraction, check_size, counted_windows


class ForegroundWindowsd(MapTransform):
    """Add the windows of a sample that hold enough of its mask, for `RandForegroundCropd` behind a cache.

    MONAI has none: `FgBgToIndicesd` does the same for its crops by the voxel in their middle. Several of these
    transforms, as patches of several sizes need, add their windows to those of the others.

    Args:
        keys: the mask (1, X, Y, Z).
        size: sides in voxels, two for patches in planes of the last axis, three for blocks.
        min_foreground: least fraction of the mask in a patch.
        balance: where it is above 0, the structures of the label are counted too.
        label_key: (1, X, Y, Z) label map or (K, X, Y, Z) masks of regions.
        windows_key: where the tuple of `PatchWindows` is put.

    Raises:
        ConfigError: an argument is invalid.
        CohortError: in a sample no window holds enough of the mask.
    """

    def __init__(
        self,
        keys: KeysCollection = names.FOREGROUND,
        size: Sequence[int] = (128, 128),
        min_foreground: float = 0.75,
        balance: float = 0.0,
        label_key: str = names.LABEL,
        windows_key: str = names.WINDOWS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.size = check_size(size)
        self.min_foreground = check_fraction("min_foreground", min_foreground)
        self.balance = check_fraction("balance", balance)
        self.label_key = label_key
        self.windows_key = windows_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            counted = counted_windows(sample, self.size, self.min_foreground, self.balance, str(key), self.label_key)
            sample[self.windows_key] = (*sample.get(self.windows_key, ()), counted)
        return sample
