"""Where the body is: rules that turn raw intensities into a foreground mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ankleseg.errors import FileError

LEAST_FRACTION = 0.001  # of the image: a mask below it is taken for a wrong threshold
FAR = 100  # times the range of all other intensities: a voxel beyond it is no signal
OTHERS = (0.05, 99.95)  # percentiles between which these lie; the least foreground reaches beyond
HISTOGRAM_VOXELS = 2_000_000  # Otsu's histogram of more voxels than these differs in nothing that matters


def without_spikes(image: Shaped[np.ndarray, "x y z"]) -> tuple[Shaped[np.ndarray, "x y z"], int]:
    """Clip voxels that lie outside the range of all others by more than 100 times its width, as damage does.

    Returns:
        The image, the same one where nothing is clipped, and the number of voxels that were.
    """
    lowest, highest = float(image.min()), float(image.max())
    sample = _sample(image)
    low = float(np.percentile(sample, OTHERS[0], method="higher"))
    high = float(np.percentile(sample, OTHERS[1], method="lower"))
    reach = FAR * (high - low)
    if not reach > 0 or (lowest >= low - reach and highest <= high + reach):
        return image, 0
    beyond = (image < low - reach) | (image > high + reach)
    inside = image[~beyond]
    return np.clip(image, inside.min(), inside.max()), int(beyond.sum())


def _sample(image: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "i j k"]:
    step = max(1, round((image.size / HISTOGRAM_VOXELS) ** (1 / 3)))
    return image[::step, ::step, ::step]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Voxels brighter than a raw intensity.

    The published ankle pipeline takes 250 for the foot (Coupeau 2020; its script, rousseau/dynMRI, takes 220 for
    static scans), without the two clean-up steps.

    Args:
        value: raw intensity; brighter voxels are foreground.
        largest: keep only the largest connected component.
        fill_holes: fill the holes of every slice (last axis).
    """

    value: float
    largest: bool = True
    fill_holes: bool = True

    def __call__(self, image: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Mask of the foreground.

        Raises:
            FileError: the mask is empty or covers less than 0.1 % of the image.
        """
        return _cleaned(image > self.value, self.largest, self.fill_holes)


@dataclass(frozen=True, kw_only=True)
class Otsu:
    """Voxels brighter than Otsu's threshold of the cube roots of the intensities (Otsu 1979).

    The root draws fat and muscle together, so that the threshold falls between body and air, not between the two. The
    brightest 0.5 % are clipped first; intensities are counted from the darkest voxel that is no spike.

    Args:
        largest: keep only the largest connected component.
        fill_holes: fill the holes of every slice (last axis).
    """

    largest: bool = True
    fill_holes: bool = True

    def __call__(self, image: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Mask of the foreground.

        Raises:
            FileError: the image is constant, or the mask is empty or covers less than 0.1 % of the image.
        """
        from skimage.filters import threshold_otsu

        sample = _sample(without_spikes(image)[0]).astype(np.float64)
        darkest, bright = sample.min(), np.percentile(sample, 99.5)
        if bright <= darkest:
            raise FileError("is (almost) constant: it has no foreground", mend="check that this is the right scan")
        root = threshold_otsu(np.cbrt(np.minimum(sample, bright) - darkest))
        return _cleaned(image > darkest + root**3, self.largest, self.fill_holes)


@dataclass(frozen=True, kw_only=True)
class NonZero:
    """Voxels that are not zero, for images whose background was removed (skull-stripped brains).

    Args:
        largest: keep only the largest connected component.
        fill_holes: fill the holes of every slice (last axis).
    """

    largest: bool = True
    fill_holes: bool = True

    def __call__(self, image: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Mask of the foreground.

        Raises:
            FileError: the mask is empty or covers less than 0.1 % of the image.
        """
        return _cleaned(image != 0, self.largest, self.fill_holes)


@dataclass(frozen=True, kw_only=True)
class WholeImage:
    """Every voxel, for images without air around the body."""

    def __call__(self, image: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """Mask that is true everywhere."""
        return np.ones_like(image, dtype=bool)


def _cleaned(mask: Bool[np.ndarray, "x y z"], largest: bool, fill_holes: bool) -> Bool[np.ndarray, "x y z"]:
    by_slice = np.ascontiguousarray(mask.T)  # as files lie in memory: more than twice as fast
    if largest and by_slice.any():
        by_slice = _largest_component(by_slice)
    if fill_holes:
        by_slice = _holes_filled(by_slice)
    fraction = by_slice.mean()
    if fraction < LEAST_FRACTION:
        raise FileError(
            f"its foreground covers {100 * fraction:.2g} % of the image",
            mend="choose a lower prepare.foreground.value, or prepare/foreground=otsu or whole_image",
        )
    return by_slice.T


def _largest_component(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:])


def _holes_filled(mask: Bool[np.ndarray, "z y x"]) -> Bool[np.ndarray, "z y x"]:
    """Fill what the mask encloses in a slice; a hole enclosed in three dimensions is enclosed in every slice too."""
    from scipy import ndimage

    within_slice = ndimage.generate_binary_structure(3, 1)
    within_slice[[0, 2]] = False
    labels, count = ndimage.label(~mask, within_slice)
    open_to_border = np.zeros(count + 1, dtype=bool)
    open_to_border[0] = True  # the mask itself
    for axis in (1, 2):
        open_to_border[labels.take([0, -1], axis)] = True
    return mask | ~open_to_border[labels]
