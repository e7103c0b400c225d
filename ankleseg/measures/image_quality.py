"""How like an image is to its reference: noise, structure, correlation and gradients, all of it or inside a mask.

Both images lie on one grid. Nothing is rescaled: a gain or an offset counts as an error for all but the correlation. A
measure that is not defined, such as that of an empty mask, is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log10

import numpy as np
from jaxtyping import Bool, Float, Num

from ankleseg.errors import ConfigError
from ankleseg.measures.overlap import require_one_shape
from ankleseg.volumes.geometry import bounding_box

Image = Num[np.ndarray, "..."]
Mask = Bool[np.ndarray, "..."]
Peak = str | float

WINDOW_SIGMA = 1.5  # voxels, of the Gaussian window of SSIM
WINDOW_RADIUS = 5  # voxels, where that window ends
GRADIENT_CONSTANT = 170 / 255**2  # of Xue et al., for intensities with a range of 1


def psnr(image: Image, reference: Image, *, peak: Peak = "maximum", mask: Mask | None = None) -> float | None:
    """Peak signal-to-noise ratio in dB: 10 log₁₀(peak² / mean squared difference).

    Args:
        image, reference: of one shape.
        peak: ``maximum`` of the reference (as published for SegSRGAN), its ``range``, or a fixed intensity (3.0 as
            published for the reconstruction of the ankle). It is that of the whole reference, also with a mask, so
            that both tell of the same scale.
        mask: where the difference is taken; None: everywhere.

    Returns:
        Infinite where the two are identical; None where the mask is empty or the peak is not above 0.

    Raises:
        GeometryError: the shapes differ.
        ConfigError: the peak has another name.
    """
    _require_one_grid(image, reference, mask)
    value = _peak(reference, peak)
    compared, true = _inside(image, mask), _inside(reference, mask)
    if not true.size or value <= 0:
        return None
    error = float(np.mean((compared - true) ** 2))
    return 10 * log10(value**2 / error) if error else inf


def ssim(image: Image, reference: Image, *, data_range: float | None = None, mask: Mask | None = None) -> float | None:
    """Mean structural similarity, 1 for an image with itself; see `ssim_map`.

    Args:
        image, reference: of one shape, two or three axes.
        data_range: of the intensities; None: of the whole reference.
        mask: over which the map is averaged; the windows of its voxels look beyond it. None: over all voxels.

    Returns:
        None where the mask is empty or the reference is constant.

    Raises:
        GeometryError: the shapes differ.
    """
    _require_one_grid(image, reference, mask)
    extent = _range(reference) if data_range is None else data_range
    if mask is not None:
        if not mask.any():
            return None
        box = bounding_box(mask, WINDOW_RADIUS)  # every window of the mask lies in it
        image, reference, mask = image[box], reference[box], mask[box]
    return mean_inside(ssim_map(image, reference, data_range=extent), mask)


def ssim_map(image: Image, reference: Image, *, data_range: float | None = None) -> Float[np.ndarray, "..."] | None:
    """Structural similarity of the surroundings of every voxel, at most 1; None where the reference is constant.

    Means, variances and covariance are weighted by a Gaussian of 1.5 voxels along every axis, cut off at 5; the images
    go on mirrored beyond their borders. Constants 0.01 and 0.03 of the range of intensities.

    Raises:
        GeometryError: the shapes differ.

    Source: Wang et al., IEEE Transactions on Image Processing 2004; scikit-image.
    """
    from skimage.metrics import structural_similarity

    require_one_shape(image, reference)
    extent = _range(reference) if data_range is None else data_range
    if not extent > 0:
        return None
    # scikit-image refuses an axis shorter than the window; beyond the window a mirror image changes nothing
    width = [(WINDOW_RADIUS,) * 2 if length <= 2 * WINDOW_RADIUS else (0, 0) for length in image.shape]
    _, similarity = structural_similarity(
        np.pad(image.astype(np.float64), width, mode="symmetric"),
        np.pad(reference.astype(np.float64), width, mode="symmetric"),
        data_range=extent,
        gaussian_weights=True,
        sigma=WINDOW_SIGMA,
        use_sample_covariance=False,
        full=True,
    )
    return similarity[tuple(slice(before, before + n) for (before, _), n in zip(width, image.shape, strict=True))]


def correlation(image: Image, reference: Image, *, mask: Mask | None = None) -> float | None:
    """Pearson's correlation of the intensities (normalised cross-correlation), −1 to 1; gain and offset do not matter.

    Args:
        image, reference: of one shape.
        mask: of the voxels that count; None: all.

    Returns:
        None where the mask is empty or one of the two is constant in it.

    Raises:
        GeometryError: the shapes differ.
    """
    _require_one_grid(image, reference, mask)
    values = _inside(image, mask), _inside(reference, mask)
    if not values[0].size or any(value.min() == value.max() for value in values):
        return None
    one, other = (value - value.mean() for value in values)
    return float(np.clip(one @ other / np.sqrt((one @ one) * (other @ other)), -1, 1))


def gradient_similarity_map(
    image: Image,
    reference: Image,
    *,
    spacing: np.ndarray | Sequence[float] | None = None,
    data_range: float | None = None,
) -> Float[np.ndarray, "..."] | None:
    """Similarity of the gradient magnitudes at every voxel, above 0 and at most 1; None for a constant reference.

    With m and r the gradient magnitudes of image and reference, divided by the range of intensities:
    (2 m r + c) / (m² + r² + c), c = 170/255². Gradients are those of Prewitt, averaged across the other axes and
    mirrored beyond the borders. Other than published, the images have any number of axes and are not halved first, and
    along an axis of longer voxels the gradient counts less, as intensity a mm, by the smallest spacing / that spacing.

    Raises:
        GeometryError: the shapes differ.

    Source: Xue et al., IEEE Transactions on Image Processing 2014.
    """
    require_one_shape(image, reference)
    extent = _range(reference) if data_range is None else data_range
    if not extent > 0:
        return None
    size = np.ones(image.ndim) if spacing is None else np.asarray(spacing, dtype=float)
    weights = size.min() / size
    squares = [_squared_gradient(one.astype(np.float64) / extent, weights) for one in (image, reference)]
    product = np.sqrt(squares[0] * squares[1])
    return (2 * product + GRADIENT_CONSTANT) / (squares[0] + squares[1] + GRADIENT_CONSTANT)


def mean_inside(values: Float[np.ndarray, "..."] | None, mask: Mask | None = None) -> float | None:
    """Mean of a map over a mask, None where there is no map or the mask is empty."""
    chosen = None if values is None else _inside(values, mask)
    return float(chosen.mean()) if chosen is not None and chosen.size else None


def deviation_inside(values: Float[np.ndarray, "..."] | None, mask: Mask | None = None) -> float | None:
    """Standard deviation (of all voxels, divided by n) of a map over a mask, None as for the mean."""
    chosen = None if values is None else _inside(values, mask)
    return float(chosen.std()) if chosen is not None and chosen.size else None


def _squared_gradient(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    from scipy.ndimage import prewitt

    total = np.zeros(image.shape)
    for axis, weight in enumerate(weights):
        total += (weight / 3 ** (image.ndim - 1) * prewitt(image, axis)) ** 2
    return total


def _inside(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return (image.ravel() if mask is None else image[mask]).astype(np.float64)


def _peak(reference: np.ndarray, peak: Peak) -> float:
    if peak == "maximum":
        return float(reference.max(initial=0))
    if peak == "range":
        return _range(reference)
    if isinstance(peak, str):
        raise ConfigError(f"invalid peak {peak!r}: expected maximum, range or a number")
    return float(peak)


def _range(reference: np.ndarray) -> float:
    return float(reference.max()) - float(reference.min()) if reference.size else 0.0


def _require_one_grid(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None) -> None:
    require_one_shape(image, reference)
    if mask is not None:
        require_one_shape(mask, reference)
