"""Where the body is: a foreground mask from raw intensities."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.measures.foreground import RULES, foreground_mask
from ankleseg.transforms.metadata import naming_file, with_meta_of


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
        ConfigError (when called): the image does not have three axes.
        FileError (when called): the image is constant or holds NaN, or the mask is empty or covers less than 0.1 % of
            it.
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
            if image.ndim != 4:
                raise ConfigError(
                    f"invalid {key} of {image.ndim - 1} axes: expected three, after that of the channels",
                    mend="take slices after ankleseg.transforms.ForegroundMaskd, or give them a third axis of length 1",
                )
            with naming_file(image):
                found = foreground_mask(
                    np.asarray(image[0]), self.threshold, self.rule, largest=self.largest, fill_holes=self.fill_holes
                )
            d[self.mask_key] = with_meta_of(image, torch.from_numpy(found)[None])
        return d
