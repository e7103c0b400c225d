"""Where the body is in raw intensities, and single voxels that are no signal."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Shaped

from ankleseg.errors import ConfigError, FileError

FAR = 100  # times the range of all other intensities: a voxel beyond it is no signal
OTHERS = (0.05, 99.95)  # percentiles between which these lie; the least foreground reaches beyond
HISTOGRAM_VOXELS = 2_000_000  # percentiles of more voxels than these differ in nothing that matters
LEAST_FRACTION = 0.001  # of the image: a mask below it is taken for a wrong threshold
RULES = ("otsu", "nonzero", "whole_image")


def foreground_mask(
    image: Shaped[np.ndarray, "x y z"],
    threshold: float | None = None,
    rule: str = "otsu",
    *,
    largest: bool = True,
    fill_holes: bool = True,
) -> Bool[np.ndarray, "x y z"]:
    """Mask of the body; arguments are those of `ankleseg.transforms.ForegroundMaskd`.

    Raises:
        ConfigError: another rule.
        FileError: the image is constant or holds NaN, or the mask is empty or covers less than 0.1 % of the image.
    """
    if rule not in RULES:
        raise ConfigError(f"invalid foreground rule {rule!r}: expected {', '.join(RULES)}", mend="choose one")
    if not np.isfinite(image).all():
        raise FileError("holds NaN or infinite voxels", mend="replace them, e.g. by 0")
    if rule == "whole_image" and threshold is None:
        return np.ones(image.shape, dtype=bool)
    if threshold is not None:
        found = image > threshold
    else:
        found = image != 0 if rule == "nonzero" else image > otsu_threshold(image)
    return _cleaned(found, largest, fill_holes)


def otsu_threshold(image: Shaped[np.ndarray, "x y z"]) -> float:
    """Otsu's threshold of the cube roots of the intensities, as a raw intensity.

    Raises:
        FileError: the image is constant.
    """
    from skimage.filters import threshold_otsu

    sample = sampled_voxels(without_spikes(image)[0]).astype(np.float64)
    darkest, bright = sample.min(), np.percentile(sample, 99.5)
    if bright <= darkest:
        raise FileError("is (almost) constant: it has no foreground", mend="check that this is the right scan")
    return float(darkest + threshold_otsu(np.cbrt(np.minimum(sample, bright) - darkest)) ** 3)


def _cleaned(mask: Bool[np.ndarray, "x y z"], largest: bool, fill_holes: bool) -> Bool[np.ndarray, "x y z"]:
    by_slice = np.ascontiguousarray(mask.T)  # slice by slice: more than twice as fast
    if largest and by_slice.any():
        by_slice = _largest_component(by_slice)
    if fill_holes:
        by_slice = _holes_filled(by_slice)
    fraction = by_slice.mean()
    if fraction < LEAST_FRACTION:
        raise FileError(
            f"its foreground covers {100 * fraction:.2g} % of the image",
            mend="choose a lower prepare.foreground.threshold, or prepare/foreground=otsu or whole_image",
        )
    return np.ascontiguousarray(by_slice.T)


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


def without_spikes(image: Shaped[np.ndarray, "x y z"]) -> tuple[Shaped[np.ndarray, "x y z"], int]:
    """Clip voxels that lie outside the range of all others by more than 100 times its width.

    Returns:
        The image, the same one where nothing is clipped, and the number of voxels that were.
    """
    lowest, highest = float(image.min()), float(image.max())
    sample = sampled_voxels(image)
    low = float(np.percentile(sample, OTHERS[0], method="higher"))
    high = float(np.percentile(sample, OTHERS[1], method="lower"))
    reach = FAR * (high - low)
    if not reach > 0 or (lowest >= low - reach and highest <= high + reach):
        return image, 0
    beyond = (image < low - reach) | (image > high + reach)
    inside = image[~beyond]
    return np.clip(image, inside.min(), inside.max()), int(beyond.sum())


def sampled_voxels(image: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "i j k"]:
    """Every n-th voxel along each axis, two million at most: enough for percentiles."""
    step = max(1, round((image.size / HISTOGRAM_VOXELS) ** (1 / 3)))
    return image[::step, ::step, ::step]
