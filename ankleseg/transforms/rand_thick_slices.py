"""`RandThickSlicesd`: thick-slice patches made of fine ones, other ones in every draw."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import InvertibleTransform, Randomizable
from monai.utils import TraceKeys, ensure_tuple
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.rigid.profile import Shape
from ankleseg.transforms.boxes import cut, darkest, is_discrete, put_back, range_of, translation
from ankleseg.transforms.low_resolution import ThickAxis
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.transforms.rand_world_affine import central_window
from ankleseg.transforms.thick_scans import Spacing, ThickScans, made_thick
from ankleseg.transforms.windows import check_size
from ankleseg.volumes.geometry import spacing

LONG = 24  # thick slices beyond a patch, on either side: more than it depends on


class RandThickSlicesd(Randomizable, ThickScans, InvertibleTransform):
    """Make a thick-slice patch of a fine one with its surroundings, and keep the fine one as the target.

    MONAI has none, see `ThickSlicesd`. Slices lie where those of the whole volume lie (``window`` and ``volume_shape``,
    which `RandForegroundCropd` adds; without them the patch is the volume), and only what the patch depends on is
    computed. Beyond the volume, and beyond too narrow surroundings, the outermost voxels go on. Adds
    ``slice_thickness`` (mm, 0-d float32). The inverse puts the patch back among its surroundings, as thick as it is.

    Args:
        keys: scans (C, X, Y, Z), cut with the sides that `reach` gives.
        target_key: where the fine patch is kept: the first channel of the first key.
        label_key: what is cut to the same size, of one key or several; they may be missing.
        finest, coarsest: mm between slices along each axis, drawn evenly; None leaves an axis as it is. No
            ``coarsest``: as the finest.
        thickness: full width at half maximum of the slice profile, as a multiple of that distance.
        profile: ``gaussian`` or ``box``.
        noise: standard deviation of the noise added to the thick scan, as a fraction of the intensity range: drawn
            between half of it and all of it. No voxel becomes darker than the darkest of the fine scan.
        order: of the interpolating spline; as in the preparation, so that prediction sees what training saw.
        published: repeat the published code, see `LowResolution`; the noise is then always all of it.
        size: sides of the patch that is returned, the central part; None: all of the input.

    Raises:
        ConfigError: an argument is invalid, or does not suit the scan.
    """

    def __init__(
        self,
        keys: KeysCollection = names.IMAGE,
        target_key: str = names.TARGET,
        label_key: KeysCollection = names.LABEL,
        finest: Spacing = (None, None, 3.0),
        coarsest: Spacing | None = None,
        thickness: float = 1.0,
        profile: Shape = "gaussian",
        noise: float = 0.03,
        order: int = 3,
        published: bool = False,
        size: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        ThickScans.__init__(
            self, keys, target_key, finest, coarsest, thickness, profile, noise, order, published, allow_missing_keys
        )
        self.label_key = tuple(map(str, ensure_tuple(label_key)))
        self.size = None if size is None else check_size(size)
        if self.size is not None and len(self.size) != 3:
            raise ConfigError(
                f"invalid size {list(self.size)}: expected three sides", mend="a patch in a slice has no slices across"
            )
        self._draw = self.typical()

    def randomize(self, data: Any = None) -> None:
        """Draw a thick scan; four numbers, whatever the ranges are."""
        where, phase, noise, seed = self.R.random_sample(4).tolist()
        self._draw = self.taken(where, phase, noise, int(seed * 2**53))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        for number, key in enumerate(self.key_iterator(sample)):
            source = sample[key]
            array = without_meta(source)
            if array.ndim != 4:
                raise ConfigError(
                    f"invalid {key} of {array.ndim - 1} axes: expected three", mend="cut blocks, not patches in slices"
                )
            shape = tuple(array.shape[1:])
            size, start = self._central(shape)
            patch = self._patch(sample, str(key), source, start, size, number)
            if not number:
                sample[self.target_key] = self._cut(source, start, size, array[:1], sample, key)
            sample[key] = self._traced(with_meta_of(source, patch), start, shape, sample, key, array)
        for key in self.label_key:
            if key in sample:
                source = sample[key]
                size, start = self._central(tuple(source.shape[1:]))
                sample[key] = self._cut(source, start, size, without_meta(source), sample, key)
        if self.size is not None and names.WINDOW in sample:
            sample[names.WINDOW] = central_window(sample[names.WINDOW], self.size)
        sample[names.SLICE_THICKNESS] = torch.tensor(self._draw.slice_thickness, dtype=torch.float32)
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put patches back among their surroundings, which are empty."""
        sample = dict(data)
        shape: list[int] = []
        for key in (*self.key_iterator(sample), *(k for k in self.label_key if k in sample)):
            source = sample[key]
            done = self.pop_transform(source)
            start = [int(first) for first in done[TraceKeys.EXTRA_INFO]["start"]]
            fill = [float(value) for value in done[TraceKeys.EXTRA_INFO]["fill"]]
            shape = [int(side) for side in done[TraceKeys.ORIG_SIZE]]
            sample[key] = whole = with_meta_of(source, put_back(without_meta(source), start, shape, fill))
            with self.trace_transform(False):
                self.push_transform(whole, affine=translation([-first for first in start]))
        sample.pop(self.target_key, None)
        if shape and self.size is not None and names.WINDOW in sample:
            sample[names.WINDOW] = central_window(sample[names.WINDOW], shape)
        return sample

    def reach(self, size: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """Sides that the input must have so that no draw depends on voxels beyond it, but for negligible weights.

        Args:
            size: sides of the output.
            spacing: mm along its axes.

        Raises:
            ConfigError: a spacing of the ranges is finer.
        """
        sides = []
        for axis, (side, mm) in enumerate(zip(size, spacing, strict=True)):
            beyond = 0
            for where in (0.0, 0.5, 1.0):
                low = self.taken(where, 0.0, 0.0, 0).low
                first = round(LONG * (low.spacing[axis] or 0.0) / mm)
                whole = low.axis(axis, 2 * first + side, float(mm))
                if whole is None:
                    continue
                step = max(1, round((low.spacing[axis] or 0.0) / mm))
                for shift in range(step):  # wherever the slices begin
                    seen, _ = whole.around(slice(first - shift, first - shift + side))
                    beyond = max(beyond, first - shift - seen.start, seen.stop - (first - shift + side))
            sides.append(side + 2 * beyond)
        return tuple(sides)

    def _central(self, shape: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
        size = tuple(shape) if self.size is None else self.size
        if any(side > n for side, n in zip(size, shape, strict=True)):
            raise ConfigError(
                f"invalid size {list(size)} of RandThickSlicesd: expected at most {list(shape)} of its input",
                mend="cut larger patches (margin=) or choose a smaller size",
            )
        return size, [(n - side) // 2 for side, n in zip(size, shape, strict=True)]

    def _patch(
        self, sample: Mapping, key: str, source: Any, start: Sequence[int], size: Sequence[int], number: int
    ) -> Float[Tensor, "c *size"]:
        array, mm = without_meta(source), spacing(affine_of(source, sample))
        shape = np.array(array.shape[1:])
        window = np.array(sample.get(names.WINDOW, np.stack([0 * shape, shape - 1])))
        lengths = np.array(sample.get(names.VOLUME_SHAPE, shape))
        bounds = range_of(sample, key, array)
        flipped = [axis for axis in range(3) if window[1, axis] < window[0, axis]]
        axes: list[ThickAxis | None] = []
        places = []
        for axis in range(3):
            first, length = int(window[:, axis].min()), int(lengths[axis])
            at = shape[axis] - size[axis] - start[axis] if axis in flipped else start[axis]
            wanted = np.arange(first + at, first + at + size[axis]).clip(0, length - 1)  # in the volume
            inner = slice(int(wanted[0]), int(wanted[-1]) + 1)
            whole = self._draw.low.axis(axis, length, float(mm[axis]))
            seen, part = (inner, None) if whole is None else whole.around(inner)
            voxels = np.arange(seen.start, seen.stop).clip(first, first + shape[axis] - 1) - first
            if axis in flipped:
                voxels = shape[axis] - 1 - voxels
            array = array.index_select(axis + 1, torch.from_numpy(np.ascontiguousarray(voxels)))
            axes.append(part)
            places.append(torch.from_numpy(wanted - inner.start))
        image = made_thick(array, axes, self._draw.noise, bounds, self._draw.noise_seed + number)
        for axis, place in enumerate(places, start=1):
            image = image.index_select(axis, place)
        return image.flip([axis + 1 for axis in flipped]).contiguous()

    def _cut(
        self, source: Any, start: Sequence[int], size: Sequence[int], array: Tensor, sample: Mapping, key: Hashable
    ) -> Any:
        patch = with_meta_of(source, cut(array, start, size, None))
        return self._traced(patch, start, array.shape[1:], sample, key, array)

    def _traced(
        self, patch: Any, start: Sequence[int], shape: Sequence[int], sample: Mapping, key: Hashable, array: Tensor
    ) -> Any:
        if isinstance(patch, MetaTensor):
            fill = darkest(sample, str(key), array, is_discrete(key, array, *self.label_key))
            self.push_transform(
                patch,
                affine=translation(start),
                orig_size=tuple(shape),
                extra_info={"start": list(start), "fill": fill},
            )
        return patch
