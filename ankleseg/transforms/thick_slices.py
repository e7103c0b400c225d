"""`ThickSlicesd`: what a scan of thick slices shows of a fine one, interpolated to its grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection

from ankleseg import keys as names
from ankleseg.rigid.profile import Shape
from ankleseg.transforms.boxes import range_of
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.transforms.thick_scans import Spacing, ThickScans, made_thick
from ankleseg.volumes.geometry import spacing


class ThickSlicesd(ThickScans):
    """Replace a fine scan by what the typical thick scan of the ranges shows, interpolated to the same grid.

    MONAI has none: `RandSimulateLowResolutiond` samples single voxels of a coarser grid, without a slice profile, true
    slice centres or a distance in mm. Adds ``slice_thickness`` (mm, 0-d float32).

    Args:
        keys: scans (C, X, Y, Z).
        target_key: where the fine scan is kept: the first channel of the first key.
        finest, coarsest: mm between slices along each axis; None leaves an axis as it is. No ``coarsest``: as the
            finest.
        thickness: full width at half maximum of the slice profile, as a multiple of that distance.
        profile: ``gaussian`` or ``box``.
        noise: standard deviation of the noise added to the thick scan, as a fraction of the intensity range, at most:
            here three quarters of it. No voxel becomes darker than the darkest of the fine scan.
        order: of the interpolating spline; as in the preparation, so that prediction sees what training saw.
        published: repeat the published code, see `LowResolution`; the noise is then all of it.
        seed: of the noise.

    Raises:
        ConfigError: an argument is invalid, or does not suit the scan.
    """

    def __init__(
        self,
        keys: KeysCollection = names.IMAGE,
        target_key: str = names.TARGET,
        finest: Spacing = (None, None, 3.0),
        coarsest: Spacing | None = None,
        thickness: float = 1.0,
        profile: Shape = "gaussian",
        noise: float = 0.03,
        order: int = 3,
        published: bool = False,
        seed: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, target_key, finest, coarsest, thickness, profile, noise, order, published, allow_missing_keys
        )
        self.seed = seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        draw = self.typical(self.seed)
        for number, key in enumerate(self.key_iterator(sample)):
            source = sample[key]
            array, mm = without_meta(source), spacing(affine_of(source, sample))
            self.check(str(sample.get(names.CASE, key)), array.shape[1:], affine_of(source, sample))
            axes = [draw.low.axis(axis, array.shape[axis + 1], float(mm[axis])) for axis in range(3)]
            bounds = range_of(sample, str(key), array)
            if not number:
                sample[self.target_key] = with_meta_of(source, array[:1].clone())
            sample[key] = with_meta_of(source, made_thick(array, axes, draw.noise, bounds, draw.noise_seed + number))
        sample[names.SLICE_THICKNESS] = torch.tensor(draw.slice_thickness, dtype=torch.float32)
        return sample
