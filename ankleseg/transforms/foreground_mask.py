"""Where the body is: a foreground mask from raw intensities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.errors import ConfigError, FileError
from ankleseg.transforms.clip_spikes import sampled_voxels, without_spikes
from ankleseg.transforms.sources import naming_file

LEAST_FRACTION = 0.001  # of the image: a mask below it is taken for a wrong threshold
RULES = ("otsu", "nonzero", "whole_image")


class ForegroundMaskd(MapTransform):
    """Add a mask of the body, found in the raw intensities of the first channel.

    MONAI's ``ForegroundMaskd`` is for slides of histology: it thresholds the colours of a bright background, and
    neither keeps the largest component nor fills holes. ``CropForegroundd`` finds a box only.

    Args:
        keys: one image (C, X, Y, Z).
        threshold: voxels brighter than this raw intensity are foreground; None leaves it to the rule. Published are 250
            for the foot (Coupeau 2020; its script, rousseau/dynMRI, takes 220 for static scans), without the two
            clean-up steps.
        rule: ``otsu``: voxels brighter than Otsu's threshold of the cube roots of the intensities (Otsu 1979). The root
            draws fat and muscle together, so that the threshold falls between body and air, not between the two. The
            brightest 0.5 % are clipped first; intensities are counted from the darkest voxel that is no spike.
            ``nonzero``: voxels that are not zero, for images whose background was removed (skull-stripped brains).
            ``whole_image``: every voxel, for images without air around the body.
        largest: keep only the largest connected component.
        fill_holes: fill the holes of every slice (last axis).
        mask_key: key of the mask, bool (1, X, Y, Z).
        allow_missing_keys: add nothing where a sample lacks the image.

    Raises:
        ConfigError: another rule, or several keys.
        FileError (when called): the image is constant, or the mask is empty or covers less than 0.1 % of the image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        threshold: float | None = None,
        rule: str = "otsu",
        largest: bool = True,
        fill_holes: bool = True,
        mask_key: str = names.FOREGROUND,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ConfigError(f"invalid keys {self.keys}: expected one image", mend="give the key of one image")
        if rule not in RULES:
            raise ConfigError(
                f"invalid foreground rule {rule!r}: expected one of {', '.join(RULES)}", mend="choose one"
            )
        self.threshold = threshold
        self.rule = rule
        self.largest = largest
        self.fill_holes = fill_holes
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            image = d[key]
            with naming_file(image):
                mask = torch.from_numpy(self.mask(np.asarray(image[0])))[None]
            if isinstance(image, MetaTensor):
                mask = MetaTensor(mask, meta=dict(image.meta), applied_operations=list(image.applied_operations))
            d[self.mask_key] = mask
        return d

    def mask(self, image: Float[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
        """The mask of a single channel."""
        if self.rule == "whole_image" and self.threshold is None:
            return np.ones(image.shape, dtype=bool)
        if self.threshold is not None:
            found = image > self.threshold
        else:
            found = image != 0 if self.rule == "nonzero" else image > otsu_threshold(image)
        return _cleaned(found, self.largest, self.fill_holes)


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
