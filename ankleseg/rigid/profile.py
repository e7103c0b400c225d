"""The slice profile: how a thick slice weighs what lies across it."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, log, sqrt
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
            raise ConfigError(f"slice profile {self.shape!r} is unknown", mend=f"use {' or '.join(SHAPES)}")
        if not self.thickness > 0:
            raise ConfigError(f"a slice of {self.thickness} mm has no thickness", mend="give the thickness in mm")

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
        if self.shape == "box":
            share = np.full(parts, 1 / parts)
        else:
            below = np.array([0.5 * (1 + erf(edge / (sqrt(2) * self._deviation))) for edge in edges])
            share = np.diff(below) / (below[-1] - below[0])
        return (edges[1:] + edges[:-1]) / 2, share

    @property
    def _deviation(self) -> float:
        return self.thickness / (2 * sqrt(2 * log(2)))
