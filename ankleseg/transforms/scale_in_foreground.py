"""Scaling by percentiles inside a mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from monai.config import KeysCollection

from ankleseg import keys as names
from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms.intensity_scale import Scale, ScaleInMaskd, require_contrast


class ScaleInForegroundd(ScaleInMaskd):
    """The low percentile of the intensities inside a mask becomes 0, the high one 1, in every channel.

    MONAI has none: ``ScaleIntensityRangePercentilesd`` takes the percentiles of the whole image, most of which may be
    air, and cannot be undone. Percentiles are voxels of the image, none between two of them.

    Args:
        keys: images (C, *spatial).
        lower: percentile that becomes 0; None leaves raw 0 where it is, so that what is dark stays near 0.
        upper: percentile that becomes 1; SegSRGAN takes 100, and a single bright voxel then sets the scale.
        clip: to [0, 1]; what was clipped away is not restored by the inverse.
        mask_key, allow_missing_keys: see `ScaleInMaskd`.

    Raises:
        ConfigError: percentiles out of order.
        FileError (when called): the image is constant inside the mask, or has no bright voxel there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float | None = 0.5,
        upper: float = 99.5,
        clip: bool = True,
        mask_key: str = names.FOREGROUND,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, mask_key, allow_missing_keys)
        if not 0 <= (lower or 0) < upper <= 100:
            raise ConfigError(
                f"invalid percentiles {lower} and {upper}: expected 0 <= lower < upper <= 100", mend="correct them"
            )
        self.lower = lower
        self.upper = upper
        self.clip = clip

    def scale(self, values: Float[np.ndarray, " n"]) -> Scale:
        if self.lower is None:
            require_contrast(float(values.max()) - float(values.min()), float(values.min()))
            dark, bright = 0.0, float(np.percentile(values, self.upper, method="nearest"))
            if not bright > 0:
                raise FileError(
                    "has no bright voxel in the foreground", mend="choose another prepare/scaling, as z_score"
                )
        else:
            dark, bright = np.percentile(values, [self.lower, self.upper], method="nearest").tolist()
            require_contrast(bright - dark, dark)
        return Scale(dark, bright - dark, self.clip)
