"""Scans brought to one grid in the world, by their headers, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample
from monai.utils import ensure_tuple_rep

from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import own_copy, with_meta_of
from ankleseg.volumes.geometry import Affine

MODES = ("bilinear", "nearest")


class ResampleToGridd(MapTransform, InvertibleTransform):
    """Bring arrays to one grid along the axes of the world: where scans are aligned, pairs of them can be registered.

    MONAI has none: ``Orientationd`` and ``Spacingd`` leave each scan its own axes and field of view, and
    ``ResampleToMatchd`` wants another image in the sample. The interpolation is that of MONAI's ``SpatialResample``; it
    does not average, so put `ResampleToSpacingd` before it where voxels become larger. What lies outside the scan is as
    dark as its darkest voxel. The inverse resamples back.

    Args:
        keys: arrays (C, X, Y, Z).
        pixdim: mm along the three axes.
        size: voxels along them; None leaves every scan as it is.
        center: world coordinates in mm (RAS+) of the middle of the grid.
        mode: ``bilinear`` or ``nearest``, one or one a key.
        allow_missing_keys: pass over keys that a sample lacks.

    Raises:
        ConfigError: the spacing, size or centre is none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float] | None = None,
        size: Sequence[int] | None = None,
        center: Sequence[float] = (0.0, 0.0, 0.0),
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        if wrong := [given for given in self.mode if given not in MODES]:
            raise ConfigError(f"invalid mode {wrong[0]!r}: expected {' or '.join(MODES)}", mend="choose one")
        self.size = None if size is None else tuple(int(side) for side in size)
        self.affine: Affine | None = None
        if self.size is not None:
            if len(self.size) != 3 or min(self.size) < 1:
                raise ConfigError(
                    f"invalid size {list(self.size)}: expected three sides in voxels", mend="or give null"
                )
            self.affine = _grid(pixdim, self.size, center)
        self._resample = SpatialResample(padding_mode="zeros", align_corners=False, dtype=np.float32)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        if self.affine is None:
            list(self.key_iterator(d))  # a missing key is told
            return d
        grid = torch.from_numpy(self.affine)
        for key, mode in self.key_iterator(d, self.mode):
            image = own_copy(d[key], d)
            d[key] = self._on_darkest(image, lambda x, mode=mode: self._resample(x, grid, self.size, mode))
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d) if self.affine is not None else ():
            d[key] = self._on_darkest(own_copy(d[key]), self._resample.inverse)
        return d

    def _on_darkest(self, image: MetaTensor, resample: Any) -> MetaTensor:
        """Resample an array that is 0 outside, and give it its type and its darkness back."""
        voxels = image.as_tensor()
        dark = float(voxels.amin()) if voxels.numel() and voxels.is_floating_point() else 0.0
        moved = resample(with_meta_of(image, voxels.float() - dark))
        return with_meta_of(moved, (moved.as_tensor() + dark).to(voxels.dtype))


def _grid(pixdim: Sequence[float] | None, size: Sequence[int], center: Sequence[float]) -> Affine:
    """The affine of a grid of these voxels around a point of the world."""
    if pixdim is None or len(pixdim) != 3 or not all(value is not None and value > 0 for value in pixdim):
        raise ConfigError(
            f"invalid spacing {pixdim} of a grid: expected three positive numbers in mm", mend="set prepare.spacing"
        )
    if len(center) != 3:
        raise ConfigError(f"invalid center {list(center)}: expected three coordinates in mm", mend="e.g. [0,0,0]")
    affine = np.diag([*map(float, pixdim), 1.0])
    affine[:3, 3] = np.asarray(center, float) - affine[:3, :3] @ ((np.asarray(size) - 1) / 2)
    return affine
