"""The z-score inside a mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ankleseg.transforms.intensity_scale import Scale, ScaleInMaskd, require_contrast


class NormalizeInForegroundd(ScaleInMaskd):
    """Mean 0 and population standard deviation 1 inside a mask, in every channel (Coupeau 2020; rousseau/dynMRI).

    MONAI has none: ``NormalizeIntensityd(nonzero=True)`` takes what is not zero for the body, and cannot be undone.
    Arguments are those of `ScaleInMaskd`; ``inverse`` restores the scan.
    """

    def scale(self, values: Float[np.ndarray, " n"]) -> Scale:
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        require_contrast(deviation, mean)
        return Scale(mean, deviation)
