"""Single voxels far outside the range of all others, as damage leaves them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg.transforms.sources import file_of

FAR = 100  # times the range of all other intensities: a voxel beyond it is no signal
OTHERS = (0.05, 99.95)  # percentiles between which these lie; the least foreground reaches beyond
HISTOGRAM_VOXELS = 2_000_000  # percentiles of more voxels than these differ in nothing that matters

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
                    d[key] = d[key].clone()
                    d[key][channel] = torch.as_tensor(clipped)
                    log.warning(
                        "%s: clipped %d %s far outside the range of all others (more than 100 times its width)",
                        *(file_of(d[key], channel) or "scan", count, "voxel" if count == 1 else "voxels"),
                    )
        return d


def without_spikes(image: Shaped[np.ndarray, "x y z"]) -> tuple[Shaped[np.ndarray, "x y z"], int]:
    """Clip voxels that lie outside the range of all others by more than 100 times its width.

    Returns:
        The image, the same one where nothing is clipped, and the number of voxels that were.
    """
    lowest, highest = float(image.min()), float(image.max())
    sample = sampled_voxels(image)
    low = float(np.percentile(sample, OTHERS[0], method="higher"))
    high = float(np.percentile(sample, OTHERS[1], method="lower"))
    reach = FAR * (high - low)
    if not reach > 0 or (lowest >= low - reach and highest <= high + reach):
        return image, 0
    beyond = (image < low - reach) | (image > high + reach)
    inside = image[~beyond]
    return np.clip(image, inside.min(), inside.max()), int(beyond.sum())


def sampled_voxels(image: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "i j k"]:
    """Every so-manieth voxel along each axis, two million at most: enough for percentiles."""
    step = max(1, round((image.size / HISTOGRAM_VOXELS) ** (1 / 3)))
    return image[::step, ::step, ::step]
