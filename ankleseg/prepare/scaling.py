"""Intensities on a common scale, from the statistics of the foreground, applied to the whole volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import ConfigError, FileError


@dataclass(frozen=True, kw_only=True)
class ZScore:
    """Mean 0 and population standard deviation 1 in the foreground (Coupeau 2020; rousseau/dynMRI)."""

    def __call__(
        self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]
    ) -> Float[np.ndarray, "x y z"]:
        """Scaled image.

        Raises:
            FileError: the foreground is constant.
        """
        values = image[foreground]
        mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        _require_contrast(deviation, mean)
        return (image - np.float32(mean)) / np.float32(deviation)


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """The low percentile of the foreground becomes 0, the high one 1; what lies beyond is clipped.

    Args:
        low, high: percentiles, 0 ≤ low < high ≤ 100.
    """

    low: float = 0.5
    high: float = 99.5

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise ConfigError(
                f"percentiles {self.low} and {self.high} are no range", mend="choose 0 <= low < high <= 100"
            )

    def __call__(
        self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]
    ) -> Float[np.ndarray, "x y z"]:
        """Scaled image in [0, 1].

        Raises:
            FileError: the foreground is constant.
        """
        dark, bright = np.percentile(image[foreground], [self.low, self.high], method="nearest").tolist()
        _require_contrast(bright - dark, dark)
        return np.clip((image - np.float32(dark)) / np.float32(bright - dark), 0, 1)


@dataclass(frozen=True, kw_only=True)
class MinMax:
    """The darkest voxel of the foreground becomes 0, the brightest 1; darker background is clipped to 0."""

    def __call__(
        self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]
    ) -> Float[np.ndarray, "x y z"]:
        """Scaled image in [0, 1].

        Raises:
            FileError: the foreground is constant.
        """
        return Percentile(low=0, high=100)(image, foreground)


def _require_contrast(spread: float, level: float) -> None:
    if spread <= 1e-6 * abs(level):
        raise FileError("is constant in the foreground: it cannot be scaled", mend="check that this is the right scan")
