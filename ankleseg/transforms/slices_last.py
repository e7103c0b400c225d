"""A scan turned so that its slices lie along the last axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform, Orientation

from ankleseg.transforms.metadata import affine_of, own_copy
from ankleseg.transforms.planes import AXCODES, PLANES, plane_of
from ankleseg.volumes.geometry import axis_codes


class SlicesLastd(MapTransform, InvertibleTransform):
    """Turn a scan so that the axis across its slices, the one with the largest spacing, is the last one.

    MONAI has none: ``Orientationd`` takes the same axes for every scan. The slices keep the way they are looked at:
    sagittal ones become ``PSR``, coronal ones ``RSA``, axial ones ``RAS``.

    Args:
        keys: arrays (C, X, Y, Z) of one scan.
        allow_missing_keys: pass over keys that a sample lacks.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.turns = {axcodes: Orientation(axcodes, labels=None) for axcodes in AXCODES.values()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = own_copy(d[key], d)
            d[key] = self.turns[AXCODES[PLANES[plane_of(affine_of(d[key]))]]](d[key])
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.turns[axis_codes(affine_of(d[key]))].inverse(d[key])
        return d
