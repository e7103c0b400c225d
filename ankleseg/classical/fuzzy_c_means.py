"""Fuzzy c-means of intensities, which scikit-learn does not have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.classical.brightness import OTSU_CLASSES, Image, Mask, Spacing, above_last_centre, histogram
from ankleseg.errors import ConfigError

STEPS = 500  # at most
MOVED = 1e-6  # centres that move less stand still
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class FuzzyCMeans:
    """The voxels that belong most to the brightest of several fuzzy clusters of the intensities.

    Args:
        clusters: how many.
        fuzziness: the exponent m, above 1, where it is k-means; 2 is usual.

    Raises:
        ConfigError: the exponent is 1 or less.

    Source: Bezdek 1981.
    """

    clusters: int = OTSU_CLASSES
    fuzziness: float = 2.0

    def __post_init__(self) -> None:
        if not self.fuzziness > 1:
            raise ConfigError(f"invalid method.fuzziness {self.fuzziness}: expected more than 1", mend="2 is usual")

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        counts, values = histogram(image, inside)
        return above_last_centre(image, inside, fuzzy_centres(values, counts, self.clusters, self.fuzziness))


def fuzzy_centres(
    values: Float[np.ndarray, " n"], weights: Shaped[np.ndarray, " n"], clusters: int, fuzziness: float
) -> Float[np.ndarray, " clusters"]:
    """Centres of the clusters, from equal quantiles on, until they stand still.

    Args:
        values: intensities.
        weights: how often each occurs.
        clusters: how many.
        fuzziness: the exponent m.
    """
    share = (np.cumsum(weights) - weights / 2) / np.sum(weights)
    centres = np.interp((np.arange(clusters) + 0.5) / clusters, share, values)
    for _ in range(STEPS):
        distance = np.abs(values - centres[:, None]) + TINY
        closeness = (distance.min(axis=0) / distance) ** (2 / (fuzziness - 1))
        belongs = (closeness / closeness.sum(axis=0)) ** fuzziness * weights
        moved = (belongs * values).sum(axis=1) / belongs.sum(axis=1)
        step, centres = np.abs(moved - centres).max(), moved
        if step < MOVED:
            break
    return centres
