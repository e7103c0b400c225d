"""Intensities on a common scale by the statistics of a mask: what all transforms that do so share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from monai.config import KeysCollection
from monai.transforms import InvertibleTransform, MapTransform

from ankleseg import keys as names
from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms.metadata import naming_file, with_meta_of, without_meta

SCALE = names.SCALE.removeprefix(names.IMAGE)  # what a key is followed by where its scale is


class Scale(NamedTuple):
    """What was done to the intensities of a channel: scaled = (raw − offset) / factor, perhaps clipped to [0, 1]."""

    offset: float
    factor: float
    clipped: bool = False

    def applied(self, raw: Any) -> Any:
        """Scale raw intensities."""
        scaled = (raw - self.offset) / self.factor
        return scaled.clip(0, 1) if self.clipped else scaled

    def after(self, first: Scale) -> Scale:
        """Both in one, counted from what was raw before the first; only what this one clips is clipped."""
        return Scale(first.offset + self.offset * first.factor, first.factor * self.factor, self.clipped)

    def undone(self, scaled: Any) -> Any:
        """Bring scaled intensities back; what was clipped away does not come back."""
        return scaled * self.factor + self.offset


class ScaleInMaskd(MapTransform, InvertibleTransform):
    """Scale every channel of an image by its statistics inside a mask; a subclass says how.

    The scale is added to the sample, under the key of the image followed by ``_scale``, as a row (offset, factor,
    clipped) for each channel; the inverse takes it from there. ``Invertd`` hands over the prediction alone, without a
    scale, and so leaves probabilities as they are. Of several scalings, one after the other, it is that of all.

    Args:
        keys: images (C, *spatial).
        mask_key: key of the mask (1, *spatial).
        allow_missing_keys: pass over keys that a sample lacks.

    Raises (when called):
        ConfigError: the sample has no mask.
        FileError: the image is constant inside the mask.
    """

    def __init__(
        self, keys: KeysCollection, mask_key: str = names.FOREGROUND, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key

    @abstractmethod
    def scale(self, values: Float[np.ndarray, " n"]) -> Scale:
        """The scale by the intensities inside the mask of one channel."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if self.mask_key not in d:
                raise ConfigError(
                    f"missing key {self.mask_key!r}: expected the mask by which {key} is scaled",
                    mend="put ankleseg.transforms.ForegroundMaskd before it, or name another one in mask_key",
                )
            image, inside = d[key], np.asarray(d[self.mask_key][0], dtype=bool)
            scales = [self._scale_of(image, channel, inside) for channel in range(len(image))]
            d[key] = _each_channel(image, [scale.applied for scale in scales])
            whole = [scale.after(before) for scale, before in zip(scales, scales_of(d, key), strict=True)]
            d[f"{key}{SCALE}"] = torch.tensor(whole, dtype=torch.float64)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            if f"{key}{SCALE}" in d:
                scales = scales_of(d, key)
                del d[f"{key}{SCALE}"]
                d[key] = _each_channel(d[key], [scale.undone for scale in scales])
        return d

    def _scale_of(self, image: Any, channel: int, inside: Bool[np.ndarray, "*spatial"]) -> Scale:
        with naming_file(image, channel):
            return self.scale(np.asarray(image[channel])[inside])


def scales_of(data: Mapping[Hashable, Any], key: Hashable = names.IMAGE) -> list[Scale]:
    """The scale of each channel of an image in a sample; that of an image that was not scaled where there is none."""
    if f"{key}{SCALE}" not in data:
        return [Scale(0.0, 1.0)] * len(data[key])
    return [Scale(offset, factor, bool(clipped)) for offset, factor, clipped in data[f"{key}{SCALE}"].tolist()]


def require_contrast(spread: float, level: float) -> None:
    """Raise FileError where intensities are (almost) the same."""
    if spread <= 1e-6 * abs(level):
        raise FileError("is constant in the foreground: it cannot be scaled", mend="check that this is the right scan")


def _each_channel(image: Any, changes: list[Any]) -> Any:
    channels = zip(changes, without_meta(image), strict=True)
    return with_meta_of(image, torch.stack([change(channel.float()) for change, channel in channels]))
