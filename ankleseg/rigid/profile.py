"""The slice profile: how a thick slice weighs what lies across it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Float

from ankleseg.errors import ConfigError

Shape = Literal["box", "gaussian"]
SHAPES = ("box", "gaussian")
REACH = 2.2  # standard deviations of a Gaussian profile that are kept, on either side


@dataclass(frozen=True)
class SliceProfile:
    """Sensitivity of a slice along its normal.

    Attributes:
        thickness: full width at half maximum, mm.
        shape: ``box`` or ``gaussian``.

    Raises:
        ConfigError: an unknown shape, or a thickness that is not positive.
    """

    thickness: float
    shape: Shape = "box"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigError(f"invalid slice profile {self.shape!r}: expected {' or '.join(SHAPES)}")
        if not self.thickness > 0:
            raise ConfigError(f"invalid slice thickness {self.thickness}: expected more than 0 mm")

    @property
    def extent(self) -> float:
        """Width over which the profile is not zero, mm."""
        return self.thickness if self.shape == "box" else 2 * REACH * self._deviation

    def quadrature(self, parts: int) -> tuple[Float[np.ndarray, "parts"], Float[np.ndarray, "parts"]]:
        """Cut the profile into equally wide parts.

        Returns:
            the middle of each part in mm from the middle of the slice, and the share of the profile in it.
        """
        edges = np.linspace(-0.5, 0.5, parts + 1) * self.extent
        share = np.diff(self.below(edges))
        share = share / share.sum()
        return (edges[1:] + edges[:-1]) / 2, share

    def below(self, places: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Share of the profile below some places, in mm from the middle of the slice; nothing is cut off."""
        from scipy.special import ndtr

        if self.shape == "box":
            return np.clip(places / self.thickness + 0.5, 0, 1)
        return ndtr(places / self._deviation)

    @property
    def _deviation(self) -> float:
        return self.thickness / (2 * sqrt(2 * log(2)))
