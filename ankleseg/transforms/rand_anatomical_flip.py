"""`RandAnatomicalFlipd`: flips along the axes of the patient."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import ANATOMICAL_AXES, anatomical_axis

Pairs = tuple[tuple[int, int], ...]


class RandAnatomicalFlipd(RandomizableTransform, MapTransform, InvertibleTransform):
    """Reverse patches along axes of the patient, and let left and right structures change places.

    MONAI has none: `RandFlipd` names array axes, which mean another direction in every scan, and leaves the labels of
    the left side on what is now the right one. ``known`` (K,) follows the label: where that is not flipped, neither is
    what is known of it. The inverse is exact.

    Args:
        keys: what is flipped, (C, X, Y) in a plane of the last axis, or (C, X, Y, Z).
        axes: ``PA``, ``IS``, ``LR``; the array axis closest to each is found from the affine.
        prob: probability that an axis is reversed, of each axis on its own.
        pairs: structures that change places in a left–right flip, counted from 1: values of a label map, or numbers of
            the masks of regions. Empty: every structure is its own mirror image. None: not known, LR is refused.
        label_key: (1, …) label map or (K, …) masks of regions.

    Raises:
        ConfigError: an axis is unknown, LR is among them without pairs, the affine is not known, or a flip goes across
            the slices of a two-dimensional patch.
    """

    def __init__(
        self,
        keys: KeysCollection,
        axes: Sequence[str] = ("PA",),
        prob: float = 0.5,
        pairs: Sequence[Sequence[int]] | None = None,
        label_key: str = names.LABEL,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        axes = (axes,) if isinstance(axes, str) else tuple(axes)
        unknown = [axis for axis in axes if axis not in ANATOMICAL_AXES]
        if unknown:
            raise ConfigError(
                f"invalid axis {unknown[0]!r}: expected one of {', '.join(ANATOMICAL_AXES)}", mend="choose among them"
            )
        if "LR" in axes and pairs is None:
            raise ConfigError(
                "a flip along LR turns a right foot into a left one",
                mend="leave LR out of axes, or say in pairs which structures change places ([] for none)",
            )
        self.axes = axes
        self.pairs: Pairs | None = None if pairs is None else tuple((int(a), int(b)) for a, b in pairs)
        self.label_key = label_key
        self._reversed: tuple[str, ...] = ()

    def randomize(self, data: Any = None) -> None:
        """Draw for each of the three axes, asked for or not, whether it is reversed."""
        numbers = dict(zip(ANATOMICAL_AXES, self.R.random_sample(3).tolist(), strict=True))
        self._reversed = tuple(axis for axis in self.axes if numbers[axis] < self.prob)
        self._do_transform = bool(self._reversed)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        turned: list[int] = []
        swapped = False
        for key in self.key_iterator(sample):
            source = sample[key]
            sides = source.ndim - 1
            turned = self._array_axes(affine_of(source, sample), sides) if self._reversed else []
            swapped = swapped or self._swaps(key)
            sample[key] = flipped = with_meta_of(source, self._flipped(key, without_meta(source), turned))
            if isinstance(flipped, MetaTensor):
                flags = [int(axis in turned) for axis in range(3)]
                self.push_transform(
                    flipped,
                    affine=_mirror(turned, flipped.shape[1:]),
                    extra_info={"axes": flags, "swapped": int("LR" in self._reversed)},
                )
        self._follow(sample, turned, swapped)
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Flip back."""
        sample = dict(data)
        turned: list[int] = []
        swapped = False
        for key in self.key_iterator(sample):
            source = sample[key]
            done = self.pop_transform(source)[TraceKeys.EXTRA_INFO]
            turned = [axis for axis, flag in enumerate(done["axes"]) if int(flag)]
            self._reversed = ("LR",) if int(done["swapped"]) else ()
            swapped = swapped or self._swaps(key)
            sample[key] = back = with_meta_of(source, self._flipped(key, without_meta(source), turned))
            with self.trace_transform(False):
                self.push_transform(back, affine=_mirror(turned, back.shape[1:]))
        self._follow(sample, turned, swapped)
        return sample

    def _array_axes(self, affine: np.ndarray, sides: int) -> list[int]:
        found = _axes(affine.tobytes())
        turned = [found[axis] for axis in self._reversed]
        if max(turned) >= sides:
            across = self._reversed[turned.index(max(turned))]
            raise ConfigError(
                f"a flip along {across} goes across the slices",
                mend="leave it out of axes, or cut blocks instead of patches in slices",
            )
        return turned

    def _flipped(self, key: Hashable, array: Tensor, turned: Sequence[int]) -> Tensor:
        result = array.flip([axis + 1 for axis in turned]) if turned else array
        return _swapped(result, self.pairs or ()) if self._swaps(key) else result

    def _swaps(self, key: Hashable) -> bool:
        """Whether structures change places in an array."""
        return key == self.label_key and "LR" in self._reversed and bool(self.pairs)

    def _follow(self, sample: dict[Hashable, Any], turned: Sequence[int], swapped: bool) -> None:
        """Let what else the sample tells of the patch follow."""
        if swapped and names.KNOWN in sample:
            known = sample[names.KNOWN]
            sample[names.KNOWN] = known[_order(self.pairs or (), len(known))]
        if turned and names.WINDOW in sample:
            window = np.array(sample[names.WINDOW])
            window[:, list(turned)] = window[::-1, list(turned)]
            sample[names.WINDOW] = window


@lru_cache(maxsize=64)
def _axes(affine: bytes) -> dict[str, int]:
    matrix = np.frombuffer(affine).reshape(4, 4)
    return {axis: anatomical_axis(matrix, axis) for axis in ANATOMICAL_AXES}


def _mirror(axes: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    matrix = np.eye(4)
    for axis in axes:
        matrix[axis, axis], matrix[axis, 3] = -1, shape[axis] - 1
    return matrix


def _order(pairs: Pairs, count: int) -> list[int]:
    order = list(range(count))
    for a, b in pairs:
        order[a - 1], order[b - 1] = b - 1, a - 1
    return order


def _swapped(label: Tensor, pairs: Pairs) -> Tensor:
    """Structures that change places: values of a label map, or its channels where there are several."""
    if len(label) > 1:
        return label[_order(pairs, len(label))]
    table = torch.arange(256)
    for a, b in pairs:
        table[a], table[b] = b, a
    return table[label.long()].to(label.dtype)
