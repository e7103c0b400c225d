"""Intensities on the standard scale of a training cohort, by landmarks of their histograms."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.intensity_scale import require_contrast
from ankleseg.transforms.metadata import naming_file, with_meta_of, without_meta

PERCENTILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


class NyulStandardized(MapTransform):
    """Map percentiles of the intensities inside a mask onto those of a training cohort, piecewise linearly (Nyúl 2000).

    MONAI has none: ``HistogramNormalized`` makes the histogram flat. The first and the last piece go on beyond their
    ends. The standard landmarks are the mean over the cohort of those of each image once its first and last are brought
    to 0 and 1; where none are given, training learns them, and they travel in the checkpoint.

    Args:
        keys: images (C, X, Y, Z); of each channel alike.
        landmarks: intensities of the 1st, 10th, 20th, … 90th and 99th percentile; None: not learnt yet.
        mask_key: (1, X, Y, Z).
        allow_missing_keys: pass over keys that a sample lacks.

    Raises:
        ConfigError: the landmarks are not 11 rising numbers; or, when called, nothing was learnt, or there is no mask.
        FileError: the image is constant inside the mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        landmarks: Sequence[float] | None = None,
        mask_key: str = names.FOREGROUND,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.landmarks = None if landmarks is None else np.asarray(landmarks, dtype=float)
        wrong = self.landmarks is not None and self.landmarks.shape != (len(PERCENTILES),)
        if wrong or (self.landmarks is not None and (np.diff(self.landmarks) < 0).any()):
            raise ConfigError(
                f"invalid landmarks {landmarks}: expected {len(PERCENTILES)} rising intensities",
                mend="correct them, or set them to null",
            )
        self.mask_key = mask_key

    @property
    def learnt(self) -> bool:
        """Whether it has its landmarks."""
        return self.landmarks is not None

    def learn(self, images: Iterable[tuple[Float[np.ndarray, "c x y z"], Bool[np.ndarray, "x y z"]]]) -> dict[str, Any]:
        """The arguments that a cohort teaches.

        Args:
            images: of each case, and the mask.
        """
        found = [_percentiles(channel[mask]) for image, mask in images for channel in image]
        scaled = [(own - own[0]) / (own[-1] - own[0]) for own in found]
        return {"landmarks": [round(value, 6) for value in np.mean(scaled, axis=0).tolist()]}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.landmarks is None:
                raise ConfigError("NyulStandardized has no landmarks", mend="train with it, or give them")
            if self.mask_key not in d:
                raise ConfigError(
                    f"missing key {self.mask_key!r}: expected the mask by which {key} is standardised",
                    mend="put ankleseg.transforms.ForegroundMaskd before it, or name another one in mask_key",
                )
            image = without_meta(d[key])
            mask = without_meta(d[self.mask_key])[0].numpy() != 0
            channels = []
            for number, channel in enumerate(image.numpy()):
                with naming_file(d[key], number):
                    channels.append(torch.from_numpy(_mapped(channel, _percentiles(channel[mask]), self.landmarks)))
            d[key] = with_meta_of(d[key], torch.stack(channels))
        return d


def _percentiles(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " landmarks"]:
    found = np.percentile(values, PERCENTILES)
    require_contrast(float(found[-1] - found[0]), float(found[0]))
    return found


def _mapped(channel: np.ndarray, own: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Piecewise linear; percentiles that are the same intensity are one landmark."""
    keep = np.concatenate([[True], np.diff(own) > 0])
    own, standard = own[keep], standard[keep]
    mapped = np.interp(channel, own, standard)
    slopes = np.diff(standard) / np.diff(own)
    mapped += np.minimum(channel - own[0], 0) * slopes[0] + np.maximum(channel - own[-1], 0) * slopes[-1]
    return mapped.astype(np.float32)
