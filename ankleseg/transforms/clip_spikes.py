"""Single voxels far outside the range of all others, as damage leaves them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg.measures.foreground import without_spikes
from ankleseg.transforms.metadata import file_of

log = logging.getLogger(__name__)


class ClipSpikesd(MapTransform):
    """Clip voxels that lie outside the range of all others by more than 100 times its width, and log a warning.

    MONAI has none: ``ScaleIntensityRangePercentilesd(clip=True)`` clips a share of every scan, damaged or not.

    Args:
        keys: images (C, X, Y, Z), each channel on its own.
        allow_missing_keys: pass over keys that a sample lacks.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            for channel, values in enumerate(d[key]):
                clipped, count = without_spikes(np.asarray(values))
                if count:
                    d[key] = copy.deepcopy(d[key])
                    d[key][channel] = torch.as_tensor(clipped) if isinstance(d[key], torch.Tensor) else clipped
                    log.warning(
                        "%s: clipped %d %s far outside the range of all others (more than 100 times its width)",
                        *(file_of(d[key], channel) or "scan", count, "voxel" if count == 1 else "voxels"),
                    )
        return d
