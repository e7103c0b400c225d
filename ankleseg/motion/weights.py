"""Weights of the bones: where a frame is compared with the static scan when a bone is registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

PUBLISHED_RADII = {"calcaneus": 1.0, "talus": 2.0, "tibia": 2.0}  # Coupeau 2020


@dataclass(frozen=True, kw_only=True)
class BoneWeights:
    """Masks dilated by a ball, then blurred.

    Args:
        radius: of the ball for each bone; others take 2. Published: 1 for the calcaneus, 2 for talus and tibia.
        sigma: standard deviation of the Gaussian; published: 2 voxels.
        unit: of both, ``mm`` or ``voxel``. Published: voxels, in which a ball of 0.28×0.28×0.8 mm is an ellipsoid.

    Raises:
        ConfigError: an unknown unit, or a radius or sigma that is negative.
    """

    radius: Mapping[str, float] = field(default_factory=lambda: dict(PUBLISHED_RADII))
    sigma: float = 1.0
    unit: Literal["mm", "voxel"] = "mm"

    def __post_init__(self) -> None:
        if self.unit not in ("mm", "voxel"):
            raise ConfigError(f"invalid unit {self.unit!r} of motion.weights: expected mm or voxel")
        if self.sigma < 0 or any(radius < 0 for radius in self.radius.values()):
            raise ConfigError("invalid motion.weights: expected a radius and a sigma of at least 0")

    def __call__(self, bone: str, mask: Bool[np.ndarray, "x y z"], affine: Affine) -> Float[np.ndarray, "x y z"]:
        """Return the weight of a bone, float32 from 0 to 1."""
        from scipy.ndimage import distance_transform_edt, gaussian_filter

        size = spacing(affine) if self.unit == "mm" else np.ones(3)
        radius = self.radius.get(bone, 2.0)
        margin = np.ceil((radius + 4 * self.sigma) / size).astype(int) + 1
        box = bounding_box(mask, margin.tolist())
        grown = distance_transform_edt(~mask[box], sampling=size) <= radius
        weight = np.zeros(mask.shape, np.float32, order="F")  # as it lies in files
        weight[box] = gaussian_filter(grown.astype(np.float32), self.sigma / size)
        return weight
