"""Intensities on one scale for every classical method, and which of them are bright."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.errors import FileError

ENDS = (1.0, 99.9)  # percentiles that become 0 and 1
BLUR_MM = 1.0
BINS = 256
OTSU_CLASSES = 4  # of a brain: fluid, two tissues, and what is brighter

Image = Float[np.ndarray, "x y z"]
Mask = Bool[np.ndarray, "x y z"]
Spacing = Sequence[float] | np.ndarray


def scaled(image: Shaped[np.ndarray, "x y z"], inside: Mask, spacing: Spacing) -> Image:
    """Bring the intensities inside a mask to 0–1, from their 1st to their 99.9th percentile, blurred by 1 mm.

    The blur takes voxels inside alone. Outside is 0.

    Args:
        image: raw intensities.
        inside: not empty.
        spacing: size of a voxel in mm along each axis.

    Raises:
        FileError: the intensities are constant inside.
    """
    low, top = np.percentile(image[inside], ENDS)
    if not top > low:
        raise FileError("is (almost) constant in the brain", mend="check that this is the right scan")
    flat = np.clip((image.astype(np.float32) - np.float32(low)) / np.float32(top - low), 0, 1) * inside
    return smoothed(flat, inside, spacing, BLUR_MM)


def smoothed(image: Image, inside: Mask, spacing: Spacing, width_mm: float) -> Image:
    """Blur by a Gaussian of this standard deviation in mm, by voxels inside alone; outside is 0."""
    from scipy.ndimage import gaussian_filter

    sigma = width_mm / np.asarray(spacing, dtype=float)
    weights = gaussian_filter(inside.astype(np.float32), sigma)
    return gaussian_filter(image * inside, sigma) / np.maximum(weights, 1e-6) * inside


def histogram(image: Image, inside: Mask) -> tuple[np.ndarray, Float[np.ndarray, " bins"]]:
    """Count the intensities inside in 256 bins from 0 to 1; return the counts and the middles of the bins."""
    counts, edges = np.histogram(image[inside], bins=BINS, range=(0, 1))
    return counts, (edges[1:] + edges[:-1]) / 2


def bright_level(image: Image, inside: Mask, classes: int = OTSU_CLASSES) -> float:
    """The intensity above which a voxel is bright: the uppermost of Otsu's thresholds between several classes.

    Source: Otsu 1979; Liao, Chen and Chung 2001 (several thresholds), by scikit-image.
    """
    from skimage.filters import threshold_multiotsu

    return float(threshold_multiotsu(classes=classes, hist=histogram(image, inside))[-1])


def above_last_centre(image: Image, inside: Mask, centres: np.ndarray) -> Mask:
    """The voxels inside that are nearest to the brightest centre; none where there is only one."""
    ordered = np.sort(np.ravel(centres))
    if len(ordered) < 2:
        return np.zeros_like(inside)
    return inside & (image > (ordered[-1] + ordered[-2]) / 2)
