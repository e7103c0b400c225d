"""`RandCentrelineJitterd`: slices moved against each other, as by the error of an automatic centreline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys
from scipy.ndimage import gaussian_filter1d

from ankleseg.errors import ConfigError
from ankleseg.transforms.boxes import darkest, is_discrete, translation
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.transforms.slice_windows import cut_windows, put_windows_back
from ankleseg.transforms.windows import check_size
from ankleseg.volumes.geometry import anatomical_axis, spacing

MOST = 2.5  # standard deviations: further no slice is moved


class RandCentrelineJitterd(RandomizableTransform, MapTransform, InvertibleTransform):
    """Move each slice of a patch in its plane by whole voxels, smoothly from slice to slice.

    MONAI has none. A segmentation along the centreline is trained around the true one and used around one that was
    found; so its patches are moved by as much as that errs. Slices are those perpendicular to the axis nearest to
    superior–inferior; a two-dimensional patch is one of them. What comes from outside the patch is the darkest
    intensity of the scan (0 for masks and labels). The inverse moves back what is still there.

    Args:
        keys: what is moved, (C, X, Y) or (C, X, Y, Z) each, of one shape.
        prob: probability that anything is moved.
        sigma: standard deviation of the shift along each axis in mm; no slice is moved by more than 2.5 times that.
        smoothness: standard deviation in mm of the Gaussian along the slices that the shifts are smoothed by.
        size: sides of the central part that is returned; None: those of the input.

    Raises:
        ConfigError: an argument is negative, the input is smaller than ``size``, or its affine is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        sigma: float = 1.0,
        smoothness: float = 8.0,
        size: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if sigma < 0 or smoothness < 0:
            raise ConfigError(
                f"invalid sigma {sigma:g} or smoothness {smoothness:g}: expected mm", mend="give 0 or more"
            )
        self.sigma, self.smoothness = float(sigma), float(smoothness)
        self.size = None if size is None else check_size(size)
        self._shifts: Float[np.ndarray, "slices 2"] = np.zeros((1, 2))

    def randomize(self, data: tuple[int, float]) -> None:
        """Draw the shift of each slice in mm, of a number of slices at a distance in mm."""
        super().randomize(data)
        count, mm = data
        blur = self.smoothness / mm
        around = int(np.ceil(3 * blur))
        noise = self.R.standard_normal((count + 2 * around, 2))
        walk = gaussian_filter1d(noise, blur, axis=0, truncate=3.0)[around : around + count] if blur else noise
        impulse = np.zeros(2 * around + 1)
        impulse[around] = 1.0
        spread = np.sqrt((gaussian_filter1d(impulse, blur, truncate=3.0) ** 2).sum()) if blur else 1.0
        self._shifts = self.sigma * np.clip(walk / spread, -MOST, MOST)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        drawn: tuple[Any, ...] | None = None
        for key in self.key_iterator(sample):
            source = sample[key]
            array, affine = without_meta(source), affine_of(source, sample)
            flat = array.ndim == 3
            volume = array[..., None] if flat else array
            shape = tuple(volume.shape[1:])
            axis = 2 if flat else anatomical_axis(affine, "IS")
            mm = spacing(affine)
            if drawn is None:
                self.randomize((shape[axis], float(mm[axis])))
                drawn = shape, axis
            size = self._size(shape, flat)
            others = [other for other in range(3) if other != axis]
            middle = [(n - side) // 2 for n, side in zip(shape, size, strict=True)]
            moves = np.rint(self._shifts / mm[others]).astype(np.int64) * int(self._do_transform)
            starts = moves[middle[axis] : middle[axis] + size[axis]] + [middle[other] for other in others]
            fill = darkest(sample, str(key), array, is_discrete(key, array))
            window = [size[other] for other in others]
            cut = cut_windows(volume, axis, middle[axis], torch.from_numpy(starts), window, fill)
            sample[key] = moved = with_meta_of(source, cut[..., 0] if flat else cut)
            if isinstance(moved, MetaTensor):
                extra = {"axis": axis, "first": middle[axis], "starts": starts.tolist(), "fill": fill}
                self.push_transform(moved, affine=translation(middle), orig_size=array.shape[1:], extra_info=extra)
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Move the slices back."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            source = sample[key]
            done = self.pop_transform(source)
            extra, shape = done[TraceKeys.EXTRA_INFO], [int(side) for side in done[TraceKeys.ORIG_SIZE]]
            array, flat = without_meta(source), len(shape) == 2
            axis, first, starts = int(extra["axis"]), int(extra["first"]), torch.as_tensor(extra["starts"])
            volume, whole = (array[..., None], [*shape, 1]) if flat else (array, shape)
            fill = [float(value) for value in extra["fill"]]
            back = put_windows_back(volume, axis, first, starts.long(), whole, fill)
            sample[key] = restored = with_meta_of(source, back[..., 0] if flat else back)
            middle = [(n - side) // 2 for n, side in zip(whole, volume.shape[1:], strict=True)]
            with self.trace_transform(False):
                self.push_transform(restored, affine=translation([-first for first in middle]))
        return sample

    def reach(self, size: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """Sides that the input must have so that no draw gives an output of ``size`` anything from outside.

        Args:
            size: sides of the output.
            spacing: mm along its axes.
        """
        most = [int(np.rint(MOST * self.sigma / mm)) for mm in spacing]
        return tuple(side + 2 * beyond for side, beyond in zip(size, most, strict=True))

    def _size(self, shape: tuple[int, ...], flat: bool) -> tuple[int, ...]:
        size = shape if self.size is None else (*self.size, 1) if flat else self.size
        if len(size) != 3 or any(side > n for side, n in zip(size, shape, strict=True)):
            raise ConfigError(
                f"invalid size {list(size)} of RandCentrelineJitterd: expected at most {list(shape)} of its input",
                mend="cut larger patches (margin=) or choose a smaller size",
            )
        return size
