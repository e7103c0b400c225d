"""Images that a network gives, in the intensities of the scan that it was given."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.transforms.intensity_scale import scales_of
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing

LOWEST = "lowest_"  # before a key: its darkest intensity. MONAI's Spacingd takes what begins with a key for metadata


class RememberScand(MapTransform):
    """Add what a scan is like before it is prepared: its darkest intensity and the distance of its slices.

    MONAI has none. ``lowest_<key>`` is the lowest intensity of the first channel, ``slice_thickness`` the largest
    spacing in mm, for a network that is conditional on it.

    Args:
        keys: scans (C, X, Y, Z) as they were read.
        allow_missing_keys: pass over keys that a sample lacks.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[f"{LOWEST}{key}"] = float(d[key][0].min())
            d[names.SLICE_THICKNESS] = float(spacing(affine_of(d[key])).max())
        return d


class RestoreIntensitiesd(MapTransform):
    """Bring the leading channels, images that a network gave, to the intensities of the first channel of its input.

    MONAI has none: ``Invertd`` undoes what was done to an image for all channels of a prediction, or for none. No voxel
    becomes darker than the scan, where `RememberScand` has seen that.

    Args:
        keys: (images and structures, X, Y, Z).
        orig_keys: key of the prepared input, beside which its scale is.
        images: number of leading channels that are images.
        allow_missing_keys: pass over keys that a sample lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        orig_keys: str = names.IMAGE,
        images: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.orig_keys = orig_keys
        self.images = images

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            values = d[key]
            restored = without_meta(values).clone()
            scale = scales_of(d, self.orig_keys)[0]
            lowest = float(d.get(f"{LOWEST}{self.orig_keys}", -torch.inf))
            restored[: self.images] = scale.undone(restored[: self.images]).clamp_min(lowest)
            d[key] = with_meta_of(values, restored)
        return d
