"""Edges closed to regions: Canny's, Sobel's, and zero crossings of the Laplacian of a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.classical.brightness import Image, Mask, Spacing, bright_level
from ankleseg.errors import ConfigError

FILTERS = ("canny", "sobel", "log")
CANNY_MM = 1.5
CANNY_LEVELS = (0.03, 0.08)  # of the gradient, in shares of the range of intensities a voxel
LOG_MM = 5.0  # finds blobs of some 17 mm across, and the rims of larger ones
LOG_LEAST = 0.03  # what is less curved, in shares of the range of intensities, is noise that has zero crossings too


@dataclass(frozen=True, kw_only=True)
class Edges:
    """What edges enclose in the slices (last axis), where it is bright on average.

    Edges are made thicker until their gaps close; what is left between them falls into pieces, of which the bright ones
    are kept and given back what the edges took. A gap that stays open joins lesion and brain: the piece is then not
    bright, and missed.

    Args:
        filter: ``canny``: Canny's edges of each slice. ``sobel``: where the magnitude of Sobel's gradient exceeds
            Otsu's threshold. ``log``: where the Laplacian of a Gaussian changes sign, which encloses blobs by itself.

        closing_mm: by how much edges are made thicker on either side; those of ``log`` have no gaps.

    Raises:
        ConfigError: another filter.

    Source: Canny, PAMI 1986; Marr and Hildreth 1980; scikit-image and SciPy.
    """

    filter: str = "canny"
    closing_mm: float = 2.0

    def __post_init__(self) -> None:
        if self.filter not in FILTERS:
            raise ConfigError(f"invalid method.filter {self.filter!r}: expected {', '.join(FILTERS)}")

    def __call__(self, image: Image, inside: Mask, spacing: Spacing) -> Mask:
        from scipy import ndimage

        size = np.asarray(spacing, dtype=float)
        edges = {"canny": _canny, "sobel": _sobel, "log": _laplacian}[self.filter](image, inside, size)
        within_slice = ndimage.generate_binary_structure(3, 1)
        within_slice[..., [0, 2]] = False
        steps = 0 if self.filter == "log" else round(self.closing_mm / float(size[:2].mean()))
        closed = ndimage.binary_dilation(edges, within_slice, iterations=steps) if steps else edges
        pieces, count = ndimage.label(inside & ~closed, within_slice)
        means = ndimage.mean(image, pieces, np.arange(1, count + 1))
        bright = np.concatenate([[False], np.asarray(means) > bright_level(image, inside)])[pieces]
        return ndimage.binary_dilation(bright, within_slice, iterations=steps + 1) & inside


def _canny(image: Image, inside: Mask, spacing: np.ndarray) -> Mask:
    from skimage.feature import canny

    sigma, (low, high) = CANNY_MM / float(spacing[:2].mean()), CANNY_LEVELS
    edges = np.zeros_like(inside)
    for z in np.flatnonzero(inside.any(axis=(0, 1))):
        edges[..., z] = canny(image[..., z], sigma, low, high, mask=inside[..., z])
    return edges


def _sobel(image: Image, inside: Mask, spacing: np.ndarray) -> Mask:
    from skimage.filters import sobel, threshold_otsu

    magnitude = sobel(image, mask=inside)
    return magnitude > threshold_otsu(magnitude[inside])


def _laplacian(image: Image, inside: Mask, spacing: np.ndarray) -> Mask:
    """Everything but the inner side of the borders of bright blobs, up to the zero crossings but for noise."""
    from scipy.ndimage import gaussian_filter

    filled = np.where(inside, image, image[inside].mean())  # else the border of the brain is an edge
    sigma = LOG_MM / spacing
    orders = 2 * np.eye(3, dtype=int)  # a second derivative along each axis, in mm
    curvature = sum(
        gaussian_filter(filled, sigma, order=tuple(order)) * s**2 for order, s in zip(orders, sigma, strict=True)
    )
    return curvature >= -LOG_LEAST
