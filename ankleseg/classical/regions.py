"""Region growing from the brightest place, by scikit-image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.classical.brightness import Image, Mask, Spacing, smoothed


@dataclass(frozen=True, kw_only=True)
class RegionGrowing:
    """What is connected to the brightest place through voxels that are nearly as bright.

    Args:
        seed_mm: standard deviation of the Gaussian by which the brightest place is looked for, so that it is no single
            voxel.
        tolerance: how much darker or brighter than the seed, as a share of the range of intensities.

    Source: Adams and Bischof, PAMI 1994 (seeded region growing); scikit-image's ``flood``.
    """

    seed_mm: float = 4.0
    tolerance: float = 0.25

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        from skimage.segmentation import flood

        around = smoothed(image, inside, spacing, self.seed_mm)
        seed = np.unravel_index(int(np.argmax(np.where(inside, around, -1))), image.shape)
        start = np.where(inside, image, -2).astype(np.float32)  # beyond any tolerance
        start[seed] = around[seed]
        return flood(start, seed, tolerance=self.tolerance) & inside
