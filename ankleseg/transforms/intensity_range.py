"""`IntensityRanged`: from the darkest of a scan to the bright end of its foreground."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import without_meta

VOXELS = 1_000_000  # are enough to find the bright end of a scan


class IntensityRanged(MapTransform):
    """Add ``<key>_range`` (C, 2) float32: the darkest intensity of a scan, and a percentile of its foreground.

    MONAI has none: its transforms of intensities take the extremes of the patch they get, which differ from patch to
    patch of one scan. Of many voxels, evenly spaced ones are taken.

    Args:
        keys: images (C, X, Y, Z).
        mask_key: (1, X, Y, Z), the foreground.
        percentile: that is the bright end.

    Raises:
        ConfigError: the percentile is none, or the foreground is missing or empty.
    """

    def __init__(
        self,
        keys: KeysCollection = names.IMAGE,
        mask_key: str = names.FOREGROUND,
        percentile: float = 99.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if not 0 < percentile <= 100:
            raise ConfigError(f"invalid percentile {percentile:g}: expected one above 0", mend="choose 100 at most")
        self.mask_key = mask_key
        self.percentile = float(percentile)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            image = without_meta(sample[key])
            if self.mask_key not in sample:
                raise ConfigError(
                    f"missing key {self.mask_key!r}: expected the foreground of {key}",
                    mend="put ankleseg.transforms.ForegroundMaskd before it, or name another one in mask_key",
                )
            mask = without_meta(sample[self.mask_key])[0]
            step = max(1, mask.numel() // VOXELS)
            inside = _some(mask, step) != 0
            if not inside.any():
                raise ConfigError(f"empty {self.mask_key}: expected the foreground of {key}", mend="check the scan")
            rows = []
            for channel in image:
                bright = np.percentile(_some(channel, step)[inside], self.percentile)
                rows.append([float(channel.min()), float(bright)])
            sample[f"{key}_range"] = torch.tensor(rows, dtype=torch.float32)
        return sample


def _some(array: torch.Tensor, step: int) -> np.ndarray:
    """Every n-th voxel, counted along the first axis."""
    return array.permute(*reversed(range(array.ndim))).flatten()[::step].numpy()
