"""Where patches may lie: all windows of a volume that hold enough of a mask, a bit each, and how one is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped, UInt8

from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms.metadata import without_meta

Intervals = Sequence[tuple[np.ndarray, np.ndarray]]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Window:
    """Place of a patch in a volume, in voxels.

    Attributes:
        start: first voxel along each axis; negative where the volume is smaller than the patch.
        size: sides of the patch; 1 along the last axis for a patch in a plane.
    """

    start: Triple
    size: Triple


def check_size(size: Sequence[int]) -> tuple[int, ...]:
    """Return the sides of a patch as a tuple.

    Raises:
        ConfigError: there are not two or three, or one is below 1.
    """
    try:
        sides = tuple(int(side) for side in size)
    except (TypeError, ValueError):
        sides = ()
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise ConfigError(f"invalid patch size {size}: expected 2 or 3 sides", mend="give them in voxels")
    return sides


def check_fraction(name: str, value: float) -> float:
    """Return a number between 0 and 1; raises ConfigError where it is none."""
    if not 0 <= value <= 1:
        raise ConfigError(f"invalid {name} {value}: expected a fraction", mend="choose it between 0 and 1")
    return float(value)


class PatchWindows:
    """The valid windows of a volume, numbered from 0, plane by plane.

    Along an axis where the volume is shorter than the patch, it lies in the middle of the patch; the fraction is that
    of the part inside the volume.

    Args:
        mask: where patches are wanted.
        size: two sides for patches in planes of the last axis, three for blocks.
        min_foreground: least fraction of the mask in a patch.
        label: (1, X, Y, Z) label map or (K, X, Y, Z) masks of regions, for balanced draws; None: none are asked for.
        name: of the volume, for messages.

    Raises:
        CohortError: no window holds enough of the mask.
        ConfigError: the size or the fraction is invalid.
    """

    def __init__(
        self,
        mask: Bool[np.ndarray, "x y z"],
        size: Sequence[int],
        min_foreground: float,
        label: Shaped[np.ndarray, "k x y z"] | None = None,
        name: str = "",
    ) -> None:
        self.size = check_size(size)
        self.min_foreground = check_fraction("min_foreground", min_foreground)
        self.shape: Triple = (int(mask.shape[0]), int(mask.shape[1]), int(mask.shape[2]))
        sides = (self.size[0], self.size[1], self.size[2] if len(self.size) == 3 else 1)
        shape, self._sides = self.shape, sides
        self._along = [max(n - side + 1, 1) for n, side in zip(shape, sides, strict=True)]
        self._padding = [max(side - n, 0) // 2 for n, side in zip(shape, sides, strict=True)]
        inside = math.prod(min(n, side) for n, side in zip(shape, sides, strict=True))
        least = math.ceil(min_foreground * inside - 1e-6)
        spans = [_window_span(n, side) for n, side in zip(shape, sides, strict=True)]
        rows, packed, best = [], [], 0
        for counts in _box_sums(mask, spans):
            valid = counts >= least
            best = max(best, int(counts.max()))
            rows.append(valid.sum(axis=1))
            packed.append(np.packbits(valid, axis=1))
        self._packed: UInt8[np.ndarray, "z x bytes"] = np.stack(packed)
        self._until: Int[np.ndarray, " rows"] = np.cumsum(np.concatenate(rows))
        if len(self) == 0:
            raise _too_little_foreground(name, self.size, min_foreground, best / inside)
        self.balanced = label is not None
        self._structures = [] if label is None else self._reachable(label)

    def __len__(self) -> int:
        return int(self._until[-1])

    def __deepcopy__(self, memo: dict) -> PatchWindows:
        return self  # nothing changes it, and a cache may copy every sample

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < len(self):
            raise IndexError(number)
        row = int(np.searchsorted(self._until, number, side="right"))
        before = int(self._until[row - 1]) if row else 0
        z, x = divmod(row, self._along[0])
        bits = np.unpackbits(self._packed[z, x], count=self._along[1])
        return self._window(x, int(np.flatnonzero(bits)[number - before]), z)

    def draw(self, random: np.random.RandomState, balance: float = 0.0) -> Window:
        """Draw a window: uniformly, or with probability ``balance`` around a structure that a window can reach.

        Around: one of the structures, one of its voxels, one of the windows that contain it, each equally likely. Four
        random numbers are taken, whatever happens.
        """
        kind, which, where, window = random.random_sample(4).tolist()
        if self._structures and kind < balance:
            voxels = self._structures[int(which * len(self._structures))]
            return self._around(int(voxels[int(where * len(voxels))]), window)
        return self[int(window * len(self))]

    def _window(self, x: int, y: int, z: int) -> Window:
        return Window((x - self._padding[0], y - self._padding[1], z - self._padding[2]), self._sides)

    def _around(self, voxel: int, which: float) -> Window:
        z, in_plane = divmod(voxel, self.shape[0] * self.shape[1])
        place = (*divmod(in_plane, self.shape[1]), z)
        across, along, planes = (
            slice(max(v - side + 1, 0), min(v, n - 1) + 1)
            for v, side, n in zip(place, self._sides, self._along, strict=True)
        )
        valid = np.unpackbits(self._packed[planes, across], axis=-1, count=self._along[1])[:, :, along]
        choices = np.flatnonzero(valid)
        chosen = np.unravel_index(choices[int(which * len(choices))], valid.shape)
        return self._window(across.start + int(chosen[1]), along.start + int(chosen[2]), planes.start + int(chosen[0]))

    def _reachable(self, label: Shaped[np.ndarray, "k x y z"]) -> list[np.ndarray]:
        """Numbers of the voxels of each structure, plane by plane, that lie in at least one valid window."""
        valid = np.unpackbits(self._packed, axis=-1, count=self._along[1]).transpose(1, 2, 0)
        spans = [_cover_span(*axis) for axis in zip(self.shape, self._sides, self._along, strict=True)]
        found: dict[int, list[np.ndarray]] = {}
        for z, covers in enumerate(_box_sums(valid, spans)):
            for channel, plane in enumerate(label[..., z]):
                reached = np.where(covers > 0, plane, 0).ravel()
                for value in np.unique(reached[reached > 0]).tolist():
                    structure = int(value) if len(label) == 1 else channel
                    found.setdefault(structure, []).append(np.flatnonzero(reached == value) + z * reached.size)
        return [np.concatenate(found[structure]) for structure in sorted(found)]


def counted_windows(
    sample: Any, size: Sequence[int], min_foreground: float, balance: float, mask_key: str, label_key: str
) -> PatchWindows:
    """The windows of a sample, counted from its mask.

    Raises:
        ConfigError: the sample has no mask, or no label where draws are balanced.
        CohortError: no window holds enough of the mask.
    """
    if mask_key not in sample:
        raise ConfigError(
            f"missing key {mask_key!r}: expected a mask of where patches may lie",
            mend="put ankleseg.transforms.ForegroundMaskd before it, or name another one in mask_key",
        )
    if balance and label_key not in sample:
        raise ConfigError(
            f"missing key {label_key!r}: expected a label for balanced patches",
            mend="set balance=0, or name it in label_key",
        )
    mask = without_meta(sample[mask_key]).numpy() != 0
    label = without_meta(sample[label_key]).numpy() if balance else None
    name = str(sample.get("case", ""))
    return PatchWindows(mask.any(axis=0) if len(mask) > 1 else mask[0], size, min_foreground, label, name)


def _window_span(length: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """First voxel and one past the last voxel inside the volume, of every window along an axis."""
    start = np.arange(max(length - side + 1, 1))
    return start, np.minimum(start + side, length)


def _cover_span(length: int, side: int, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last of the windows that contain each voxel along an axis."""
    voxel = np.arange(length)
    return np.maximum(voxel - side + 1, 0), np.minimum(voxel, windows - 1) + 1


def _box_sums(array: Shaped[np.ndarray, "x y z"], spans: Intervals) -> Iterator[Int[np.ndarray, "u v"]]:
    """Sums over boxes, one plane after the other, by differences of cumulative sums (an integral image)."""
    voxels = np.arange(array.shape[2])
    if not (np.array_equal(spans[2][0], voxels) and np.array_equal(spans[2][1], voxels + 1)):
        array = _interval_sums(array, 2, spans[2])
    for z in range(array.shape[2]):
        yield _interval_sums(_interval_sums(array[:, :, z], 0, spans[0]), 1, spans[1])


def _interval_sums(array: np.ndarray, axis: int, span: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    shape = list(array.shape)
    shape[axis] += 1
    sums = np.zeros(shape, dtype=np.int32)
    np.cumsum(array, axis=axis, dtype=np.int32, out=sums[tuple(slice(int(a == axis), None) for a in range(array.ndim))])
    return sums.take(span[1], axis) - sums.take(span[0], axis)


def _too_little_foreground(name: str, size: Sequence[int], wanted: float, best: float) -> CohortError:
    sides = "×".join(str(side) for side in size)
    reachable = math.floor(20 * best) / 20
    return CohortError(
        f"{name + ': ' if name else ''}no patch of {sides} voxels holds {100 * wanted:.0f} % foreground, "
        f"the best holds {100 * best:.0f} %",
        mend=f"set min_foreground={reachable:g} or a smaller size",
    )
