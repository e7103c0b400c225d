"""Feet of one side mirrored, so that all look like feet of the other, and back."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import affine_of, file_of, own_copy
from ankleseg.volumes.geometry import anatomical_axis
from ankleseg.volumes.selection import split_frame

SIDES = ("left", "right")

log = logging.getLogger(__name__)


class MirrorToSided(MapTransform, InvertibleTransform):
    """Reverse the left–right axis of what shows the other side of the body, so that a left foot looks like a right one.

    MONAI has none: ``Flipd`` flips every sample, along an axis of the array. A mirrored array fills the same place in
    the world as one that is not, so the affine stays. Where the sample does not say the side it is left as it is, and a
    warning is logged once a file.

    Args:
        keys: arrays (C, X, Y, Z) of one scan.
        side: ``right`` or ``left``: what all are to look like; None changes nothing.
        side_key: key of the side in a sample: ``right``, ``left``, or nothing where it is unknown.
        allow_missing_keys: pass over keys that a sample lacks.

    Raises:
        ConfigError: another side, of the transform or of a sample, or the affine of an array to mirror is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        side: str | None = "right",
        side_key: str = names.SIDE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if side not in (None, *SIDES):
            raise ConfigError(f"invalid side {side!r}: expected left, right or null", mend="name one of them")
        self.side = side
        self.side_key = side_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        shown = d.get(self.side_key)
        if self.side is not None and shown and shown not in SIDES:
            raise ConfigError(
                f"invalid {self.side_key} {shown!r} of a sample: expected left or right",
                mend="name one of them, or nothing where it is unknown",
            )
        mirrored = self.side is not None and shown in SIDES and shown != self.side
        for number, key in enumerate(self.key_iterator(d)):
            if self.side is not None and not shown and number == 0:
                file = file_of(d[key])
                _warn_of_side(file and str(split_frame(file)[0]), self.side)
            axis = anatomical_axis(affine_of(d[key], d), "LR") if mirrored else 0
            image = own_copy(d[key], d)
            size = tuple(image.shape[1:])
            if mirrored:
                image = torch.flip(image, [1 + axis])
            d[key] = self.push_transform(image, orig_size=size, extra_info={"mirrored": mirrored, "axis": axis})
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = own_copy(d[key])
            done = self.pop_transform(image)[TraceKeys.EXTRA_INFO]
            d[key] = torch.flip(image, [1 + int(done["axis"])]) if done["mirrored"] else image
        return d


def is_mirrored(image: Any) -> bool:
    """Tell by its trace whether an image was mirrored."""
    traces = [trace[TraceKeys.EXTRA_INFO] for trace in image.applied_operations]
    return any(bool(extra.get("mirrored")) for extra in traces if isinstance(extra, Mapping))


@cache
def _warn_of_side(file: str | None, side: str) -> None:
    """Once a file, however many frames it has."""
    log.warning("%s: its side is unknown and is taken as %s", file or "scan", side)
