"""`CentrelineFromLabeld`: the axis of the cord by its label."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.measures.centreline import SMOOTH, centreline_of_mask
from ankleseg.transforms.metadata import affine_of, naming_file, without_meta


class CentrelineFromLabeld(MapTransform):
    """Add the centreline of what is labelled, where a sample has a label and no centreline.

    MONAI has none. So one list of transforms serves training, where the label tells the centreline, and prediction,
    where there is none and the centreline comes with the sample.

    Args:
        keys: the label (1, X, Y, Z), or masks (K, X, Y, Z); all that is not 0 is cord.
        smooth: of the published spline, see `ankleseg.measures.centreline.smoothed`.
        centreline_key: where the points (N, 3) are put, in world mm.
        allow_missing_keys: add nothing where a sample lacks the label.

    Raises:
        GeometryError: the label is empty.
    """

    def __init__(
        self,
        keys: KeysCollection = names.LABEL,
        smooth: float = SMOOTH,
        centreline_key: str = names.CENTRELINE,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.smooth = float(smooth)
        self.centreline_key = centreline_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.centreline_key not in d:
                mask = (without_meta(d[key]) != 0).any(dim=0).numpy()
                with naming_file(d.get(names.IMAGE, d[key])):
                    found = centreline_of_mask(mask, affine_of(d[key], d), self.smooth)
                d[self.centreline_key] = np.ascontiguousarray(found.points)
        return d
