"""`RandSliceSpacingd`: images as if scanned in slices of another thickness, across any axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from torch import Tensor

from ankleseg.errors import ConfigError
from ankleseg.transforms.low_resolution import LowResolution
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing


class RandSliceSpacingd(RandomizableTransform, MapTransform):
    """Take an image in slices across a random axis, of random distance and thickness, and bring it back to its grid.

    MONAI's ``RandSimulateLowResolutiond`` picks single voxels of a grid that is as coarse along all axes, without a
    slice profile or a distance in mm. Unlike `RandThickSlicesd`, which makes pairs for super-resolution with the slices
    where those of the whole scan lie, this is augmentation: the axis is drawn, labels stay as they are.

    Args:
        keys: images (C, X, Y, Z), each with the same slices; or (C, X, Y), as if cut out of such images.
        prob: probability that an image is taken so.
        distance: range in mm between slices, drawn evenly on a logarithmic scale; below 1.1 voxels nothing is done.
        in_plane: range in mm of the voxels along the two other axes, drawn as ``distance``.
        thickness: range of the full width at half maximum of the slice profile, as a multiple of the distance.
        order: of the spline by which slices are brought back, 0 to 5; as in the preparation.

    Raises:
        ConfigError: a range is invalid, or the affine of the image is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        distance: Sequence[float] = (1.0, 8.0),
        in_plane: Sequence[float] = (1.0, 2.0),
        thickness: Sequence[float] = (0.7, 1.1),
        order: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        for name, given in (("distance", distance), ("in_plane", in_plane), ("thickness", thickness)):
            if len(given) != 2 or not 0 < given[0] <= given[1]:
                raise ConfigError(
                    f"invalid {name} {list(given)}: expected a range above 0", mend="give the smallest and the largest"
                )
        self.distance, self.in_plane, self.thickness, self.order = distance, in_plane, thickness, order
        self._numbers = np.zeros(6)

    def randomize(self, data: Any = None) -> None:
        """Draw six numbers."""
        super().randomize(data)
        self._numbers = self.R.random_sample(6)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        for key in self.key_iterator(sample):
            if not self._do_transform:
                continue
            source = sample[key]
            array = without_meta(source)
            sample[key] = with_meta_of(source, self._taken(array, spacing(affine_of(source, sample))))
        return sample

    def _taken(self, array: Tensor, mm: np.ndarray) -> Tensor:
        where, distance, thickness, first, second, phase = self._numbers.tolist()
        across = min(int(3 * where), 2)
        wanted = [_log_between(self.in_plane, first), _log_between(self.in_plane, second)]
        wanted.insert(across, _log_between(self.distance, distance))
        for axis in range(array.ndim - 1):
            side, voxel = array.shape[axis + 1], float(mm[axis])
            step = min(wanted[axis], side * voxel / (2 + phase))  # two slices at least
            if step < 1.1 * voxel:
                continue
            profile = self.thickness[0] + (self.thickness[1] - self.thickness[0]) * thickness
            low = LowResolution(
                spacing=[step if other == axis else None for other in range(3)],
                thickness=profile if axis == across else 1.0,
                phase=phase,
                order=self.order,
            )
            thick = low.axis(axis, side, voxel)
            if thick is not None:
                matrix = torch.from_numpy(thick.fine_from_thick @ thick.thick_from_fine).to(array.dtype)
                array = torch.tensordot(array, matrix, ([axis + 1], [1])).movedim(-1, axis + 1)
        return array.contiguous()


def _log_between(limits: Sequence[float], number: float) -> float:
    return float(limits[0] * (limits[1] / limits[0]) ** number)
