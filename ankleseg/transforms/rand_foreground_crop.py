"""`RandForegroundCropd`: random patches that hold enough of a mask."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, Randomizable
from monai.utils import TraceKeys

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.boxes import cut, darkest, is_discrete, put_back, translation
from ankleseg.transforms.metadata import with_meta_of, without_meta
from ankleseg.transforms.windows import PatchWindows, check_fraction, check_size, counted_windows

PADDING = ("darkest", "edge")


class RandForegroundCropd(Randomizable, MapTransform, InvertibleTransform):
    """Cut a random patch: each window that holds enough of a mask is as likely as any other.

    MONAI has none: `RandCropByPosNegLabeld` asks for a voxel in the middle of the patch, not for a fraction, and cuts
    no planes. The published ankle pipeline keeps 128×128 windows of a slice with at least 75 % foot (Coupeau 2020).
    Windows are counted in every call, unless `ForegroundWindowsd` has counted them before the cache.

    Adds ``window`` (2, 3), the voxel of the volume at which the patch begins and the one at which it ends along each
    axis, with its margin (see `ankleseg.keys`), and ``volume_shape`` (3,). Takes the counted windows out of the sample.
    The inverse puts a patch back in its place.

    Args:
        keys: what is cut, (C, X, Y, Z) each.
        size: sides in voxels: two for a patch (C, X, Y) in a plane of the last axis, three for a block. Where the
            volume is shorter, it lies in the middle.
        min_foreground: least fraction of the mask, of the part of the patch inside the volume.
        balance: probability that the patch is drawn around a structure: one of the structures, then one of its voxels,
            then one of the windows that contain it, each equally likely.
        mask_key: (1, X, Y, Z), where patches may lie.
        label_key: (1, X, Y, Z) label map or (K, X, Y, Z) masks of regions, for balanced draws.
        margin: voxels more on both sides of each axis of the patch, so that later transforms can turn it without empty
            corners; one number or one an axis.
        padding_mode: what lies outside the volume: ``darkest``, the darkest intensity of the scan, by ``image_range``
            where the sample has it (0 for masks and labels), or ``edge``, the outermost voxels repeated.
        windows_key: where `ForegroundWindowsd` has put what it counted.

    Raises:
        ConfigError: an argument is invalid, the sample has no mask, or other windows were counted.
        CohortError: no window holds enough of the mask.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        min_foreground: float = 0.75,
        balance: float = 0.0,
        mask_key: str = names.FOREGROUND,
        label_key: str = names.LABEL,
        margin: int | Sequence[int] = 0,
        padding_mode: str = "darkest",
        windows_key: str = names.WINDOWS,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.size = check_size(size)
        self.min_foreground = check_fraction("min_foreground", min_foreground)
        self.balance = check_fraction("balance", balance)
        self.mask_key = mask_key
        self.label_key = label_key
        margins = np.asarray(margin, dtype=int)
        if margins.ndim > 1 or (margins.ndim and len(margins) != len(self.size)) or (margins < 0).any():
            raise ConfigError(
                f"invalid margin {margin}: expected {len(self.size)} numbers", mend="give voxels, one or one an axis"
            )
        self.margin = tuple(np.broadcast_to(margins, len(self.size)).tolist())
        if padding_mode not in PADDING:
            raise ConfigError(
                f"invalid padding_mode {padding_mode!r}: expected one of {', '.join(PADDING)}", mend="choose one"
            )
        self.padding_mode = padding_mode
        self.windows_key = windows_key
        self._start: tuple[int, ...] = ()

    def randomize(self, windows: PatchWindows) -> None:
        """Draw where to cut."""
        self._start = windows.draw(self.R, self.balance).start

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        windows = self._windows(sample)
        self.randomize(windows)
        for key in self.key_iterator(sample):
            if tuple(sample[key].shape[1:]) != windows.shape:
                raise ConfigError(
                    f"invalid shape of {key} {tuple(sample[key].shape[1:])}: expected {windows.shape} of the mask",
                    mend="crop and resample all keys alike before",
                )
            sample[key] = self._cut(sample, key)
        sides = len(self.size)
        start = np.array(self._start)
        start[:sides] -= self.margin
        size = np.ones(3, dtype=int)
        size[:sides] = np.array(self.size) + 2 * np.array(self.margin)
        sample[names.WINDOW] = np.stack([start, start + size - 1])
        sample[names.VOLUME_SHAPE] = np.array(windows.shape)
        return sample

    def _windows(self, sample: dict[Hashable, Any]) -> PatchWindows:
        counted = sample.pop(self.windows_key, None)
        if counted is None:
            return counted_windows(sample, self.size, self.min_foreground, self.balance, self.mask_key, self.label_key)
        for windows in (counted,) if isinstance(counted, PatchWindows) else counted:
            same = windows.size == self.size and windows.min_foreground == self.min_foreground
            if same and (windows.balanced or not self.balance):
                return windows
        raise ConfigError(
            f"invalid {self.windows_key}: expected windows of size {list(self.size)}, "
            f"min_foreground {self.min_foreground:g} and balance {self.balance:g}",
            mend="give ForegroundWindowsd and RandForegroundCropd the same numbers",
        )

    def _cut(self, sample: Mapping[Hashable, Any], key: Hashable) -> Any:
        source = sample[key]
        array = whole = without_meta(source)
        sides = len(self.size)
        start = [first - beyond for first, beyond in zip(self._start, self.margin, strict=False)]
        size = [side + 2 * beyond for side, beyond in zip(self.size, self.margin, strict=True)]
        if sides == 2:
            array = array[..., self._start[2]]
        leaves = any(a < 0 or a + n > m for a, n, m in zip(start, size, array.shape[1:], strict=True))
        traced = isinstance(source, MetaTensor)
        discrete = is_discrete(key, array, self.label_key, self.mask_key)
        fill = darkest(sample, str(key), whole, discrete) if leaves or traced else []
        patch = with_meta_of(source, cut(array, start, size, None if self.padding_mode == "edge" else fill))
        if isinstance(patch, MetaTensor):
            corner = [*start, *self._start[sides:]]
            self.push_transform(
                patch,
                affine=translation(corner),
                orig_size=tuple(whole.shape[1:]),
                extra_info={"start": corner, "fill": fill},
            )
        return patch

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put patches back in their place; around them lies the darkest intensity, and nothing in masks and labels."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            patch = sample[key]
            done = self.pop_transform(patch)
            start = [int(first) for first in done[TraceKeys.EXTRA_INFO]["start"]]
            fill = [float(value) for value in done[TraceKeys.EXTRA_INFO]["fill"]]
            shape = [int(side) for side in done[TraceKeys.ORIG_SIZE]]
            array = without_meta(patch)
            if array.ndim == 3:
                array = array[..., None]
            volume = with_meta_of(patch, put_back(array, start, shape, fill))
            with self.trace_transform(False):
                self.push_transform(volume, affine=translation([-first for first in start]))
            sample[key] = volume
        sample.pop(names.WINDOW, None)
        sample.pop(names.VOLUME_SHAPE, None)
        return sample
