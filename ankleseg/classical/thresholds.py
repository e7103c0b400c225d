"""Thresholds: a fixed one, Otsu's, and one that follows the neighbourhood; by scikit-image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.classical.brightness import OTSU_CLASSES, Image, Mask, Spacing, bright_level, smoothed


@dataclass(frozen=True, kw_only=True)
class GlobalThreshold:
    """What is brighter than a fixed share of the range of intensities.

    Args:
        level: from 0, the 1st percentile of the brain, to 1, the 99.9th.
    """

    level: float = 0.6

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        return inside & (image > self.level)


@dataclass(frozen=True, kw_only=True)
class OtsuThreshold:
    """What is brighter than the uppermost of Otsu's thresholds between several classes.

    Args:
        classes: how many; 2 is Otsu's own rule, which parts fluid from tissue in a brain.
    """

    classes: int = OTSU_CLASSES

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        return inside & (image > bright_level(image, inside, self.classes))


@dataclass(frozen=True, kw_only=True)
class AdaptiveThreshold:
    """What is brighter than its neighbourhood, a mean weighted by a Gaussian.

    scikit-image's ``threshold_local`` would mix in the air outside the brain, which is left out here.

    Args:
        width_mm: standard deviation of the neighbourhood.
        offset: by how much brighter, as a share of the range of intensities.
    """

    width_mm: float = 25.0
    offset: float = 0.15

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        around = smoothed(image, inside, np.asarray(spacing), self.width_mm)
        return inside & (image > around + self.offset)
