"""Intensities on a common scale, from the statistics of the foreground, applied to the whole volume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import ConfigError, FileError


@dataclass(frozen=True)
class Scale:
    """What was done to the intensities of a volume: scaled = (raw − offset) / factor, perhaps clipped to [0, 1]."""

    offset: float
    factor: float
    clipped: bool = False

    def __call__(self, image: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Scale an image."""
        scaled = (image - np.float32(self.offset)) / np.float32(self.factor)
        return np.clip(scaled, 0, 1) if self.clipped else scaled

    def then(self, other: Scale) -> Scale:
        """The scale that turns what this one gives into what the other gives of the same raw intensities."""
        return Scale((other.offset - self.offset) / self.factor, other.factor / self.factor, other.clipped)

    def undone(self, scaled: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Bring a scaled image back to raw intensities; what was clipped away does not come back."""
        return scaled * np.float32(self.factor) + np.float32(self.offset)


class Scaling(ABC):
    """A rule that finds the scale of a volume."""

    @abstractmethod
    def scale(self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]) -> Scale:
        """Find the scale.

        Raises:
            FileError: the foreground is constant.
        """

    def __call__(
        self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]
    ) -> Float[np.ndarray, "x y z"]:
        """Return the scaled image.

        Raises:
            FileError: the foreground is constant.
        """
        return self.scale(image, foreground)(image)


@dataclass(frozen=True, kw_only=True)
class ZScore(Scaling):
    """Mean 0 and population standard deviation 1 in the foreground (Coupeau 2020; rousseau/dynMRI)."""

    def scale(self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]) -> Scale:
        values = image[foreground]
        mean, deviation = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        _require_contrast(deviation, mean)
        return Scale(float(mean), float(deviation))


@dataclass(frozen=True, kw_only=True)
class Percentile(Scaling):
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

    def scale(self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]) -> Scale:
        dark, bright = np.percentile(image[foreground], [self.low, self.high], method="nearest").tolist()
        _require_contrast(bright - dark, dark)
        return Scale(dark, bright - dark, clipped=True)


@dataclass(frozen=True, kw_only=True)
class MinMax(Scaling):
    """The darkest voxel of the foreground becomes 0, the brightest 1; darker background is clipped to 0."""

    def scale(self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]) -> Scale:
        return Percentile(low=0, high=100).scale(image, foreground)


@dataclass(frozen=True, kw_only=True)
class BrightEnd(Scaling):
    """The bright end of the foreground becomes 1 and what is dark stays near 0; nothing is clipped.

    SegSRGAN divides by the largest intensity, ``percentile=100``; a single bright voxel then sets the scale.

    Args:
        percentile: of the foreground, above 0.
    """

    percentile: float = 99.5

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ConfigError(f"percentile {self.percentile} is none", mend="choose 0 < percentile <= 100")

    def scale(self, image: Float[np.ndarray, "x y z"], foreground: Bool[np.ndarray, "x y z"]) -> Scale:
        values = image[foreground]
        _require_contrast(float(values.max()) - float(values.min()), float(values.min()))
        bright = float(np.percentile(values, self.percentile, method="nearest"))
        if not bright > 0:
            raise FileError("has no bright voxel in the foreground", mend="choose another prepare/scaling, as z_score")
        return Scale(0.0, bright)


def _require_contrast(spread: float, level: float) -> None:
    if spread <= 1e-6 * abs(level):
        raise FileError("is constant in the foreground: it cannot be scaled", mend="check that this is the right scan")
