"""Clusters of intensities by scikit-learn, of which the brightest is taken: k-means and mean shift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.classical.brightness import OTSU_CLASSES, Image, Mask, Spacing, above_last_centre, histogram

SAMPLE = 5000  # intensities whose modes are looked for
SEED = 0


@dataclass(frozen=True, kw_only=True)
class KMeans:
    """The brightest of k clusters of the intensities.

    They are counted in 256 bins first, which are weighted: a millisecond instead of seconds for a brain.

    Args:
        clusters: how many.
    """

    clusters: int = OTSU_CLASSES

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        from sklearn.cluster import KMeans as Estimator

        counts, values = histogram(image, inside)
        fitted = Estimator(self.clusters, n_init=10, random_state=SEED).fit(values[:, None], sample_weight=counts)
        return above_last_centre(image, inside, fitted.cluster_centers_)


@dataclass(frozen=True, kw_only=True)
class MeanShift:
    """The brightest mode of the intensities, of 5000 voxels drawn with a fixed seed; nothing where there is only one.

    Args:
        bandwidth: radius within which modes are one, as a share of the range of intensities.
    """

    bandwidth: float = 0.12

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        from sklearn.cluster import MeanShift as Estimator

        values = image[inside]
        drawn = np.random.default_rng(SEED).choice(values, min(SAMPLE, len(values)), replace=False)
        fitted = Estimator(bandwidth=self.bandwidth, bin_seeding=True).fit(drawn[:, None])
        return above_last_centre(image, inside, fitted.cluster_centers_)
