"""Where patches are drawn: uniformly over all windows that hold enough foreground, without storing any patch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from ankleseg.errors import CohortError, ConfigError
from ankleseg.transforms import PreparedCase

Intervals = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Window:
    """Place of a patch in a prepared volume, in voxels.

    Attributes:
        corner: first voxel along each axis; negative where the volume is smaller than the patch.
        size: sides of the patch; 1 along the slice axis for a two-dimensional patch.
    """

    corner: tuple[int, int, int]
    size: tuple[int, int, int]

    @property
    def dimensions(self) -> int:
        """2 for a patch in a slice, 3 for a block."""
        return 2 if self.size[2] == 1 else 3

    def within(self, shape: Sequence[int]) -> Window:
        """The part of it that lies in a volume of this shape."""
        first, second, third = (max(corner, 0) for corner in self.corner)
        x, y, z = (min(side, n) for side, n in zip(self.size, shape, strict=True))
        return Window((first, second, third), (x, y, z))


@dataclass(frozen=True, kw_only=True)
class PatchSampler:
    """What a patch is and where it may lie.

    The published ankle pipeline keeps random 128×128 windows of a slice with at least 75 % foot (Coupeau 2020).

    Args:
        size: sides in voxels: two for patches in the slices (planes of the last axis), three for blocks. Along an
            axis where the volume is shorter, it lies in the middle of the patch and the rest is padded.
        min_foreground: least fraction of foreground, of the part of the patch inside the volume.
        balance: probability that a patch is drawn around a structure: one of the structures, then one of its voxels,
            then one of the windows that contain it, each with equal chances.
    """

    size: Sequence[int] = (128, 128)
    min_foreground: float = 0.75
    balance: float = 0.0

    def __post_init__(self) -> None:
        size = tuple(int(side) for side in self.size)
        object.__setattr__(self, "size", size)
        if len(size) not in (2, 3) or min(size) < 1:
            raise ConfigError(f"patch size {list(size)} is no size", mend="give two or three sides in voxels")
        for name in ("min_foreground", "balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)} is no fraction", mend="choose it between 0 and 1")

    @property
    def sides(self) -> tuple[int, int, int]:
        """Sides along the three axes of the volume."""
        return (self.size[0], self.size[1], self.size[2] if len(self.size) == 3 else 1)


class PatchWindows:
    """The valid windows of a case, numbered from 0, slice by slice; a bit for each window.

    Args:
        case: its foreground is where windows lie, its label what a balanced draw looks for.
        sampler: size, least fraction of foreground and balance.

    Raises:
        CohortError: no window holds enough foreground.
    """

    def __init__(self, case: PreparedCase, sampler: PatchSampler) -> None:
        shape, sides = case.foreground.shape, sampler.sides
        self._shape, self._sides = shape, sides
        self._balance = sampler.balance
        self._along = [max(n - side + 1, 1) for n, side in zip(shape, sides, strict=True)]
        self._padding = [max(side - n, 0) // 2 for n, side in zip(shape, sides, strict=True)]
        inside = math.prod(min(n, side) for n, side in zip(shape, sides, strict=True))
        least = math.ceil(sampler.min_foreground * inside - 1e-6)
        spans = [_window_span(n, side) for n, side in zip(shape, sides, strict=True)]
        rows, packed, best = [], [], 0
        for counts in _box_sums(case.foreground, spans):
            valid = counts >= least
            best = max(best, int(counts.max()))
            rows.append(valid.sum(axis=1))
            packed.append(np.packbits(valid, axis=1))
        self._packed: UInt8[np.ndarray, "z x bytes"] = np.stack(packed)
        self._until: Int[np.ndarray, " rows"] = np.cumsum(np.concatenate(rows))
        if len(self) == 0:
            raise _too_little_foreground(case.name, sampler, best / inside)
        self._structures = self._reachable(case.label) if sampler.balance > 0 else []

    def __len__(self) -> int:
        return int(self._until[-1])

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < len(self):
            raise IndexError(number)
        row = int(np.searchsorted(self._until, number, side="right"))
        before = int(self._until[row - 1]) if row else 0
        z, x = divmod(row, self._along[0])
        bits = np.unpackbits(self._packed[z, x], count=self._along[1])
        return self._window(x, int(np.flatnonzero(bits)[number - before]), z)

    def draw(self, rng: np.random.Generator) -> Window:
        """Draw a window: uniformly, or with probability ``balance`` around a structure that a window can reach."""
        if self._structures and rng.random() < self._balance:
            voxels = self._structures[int(rng.integers(len(self._structures)))]
            return self._around(int(voxels[int(rng.integers(len(voxels)))]), rng)
        return self[int(rng.integers(len(self)))]

    def _window(self, x: int, y: int, z: int) -> Window:
        corner = (x - self._padding[0], y - self._padding[1], z - self._padding[2])
        return Window(corner, self._sides)

    def _around(self, voxel: int, rng: np.random.Generator) -> Window:
        z, in_slice = divmod(voxel, self._shape[0] * self._shape[1])
        place = (*divmod(in_slice, self._shape[1]), z)
        x, y, z = (
            slice(max(v - side + 1, 0), min(v, n - 1) + 1)
            for v, side, n in zip(place, self._sides, self._along, strict=True)
        )
        valid = np.unpackbits(self._packed[z, x], axis=-1, count=self._along[1])[:, :, y]
        choices = np.flatnonzero(valid)
        chosen = np.unravel_index(choices[int(rng.integers(len(choices)))], valid.shape)
        return self._window(x.start + int(chosen[1]), y.start + int(chosen[2]), z.start + int(chosen[0]))

    def _reachable(self, label: UInt8[np.ndarray, "x y z"]) -> list[np.ndarray]:
        """Numbers of the voxels of each structure, slice by slice, that lie in at least one valid window."""
        valid = np.unpackbits(self._packed, axis=-1, count=self._along[1]).transpose(1, 2, 0)
        spans = [_cover_span(*axis) for axis in zip(label.shape, self._sides, self._along, strict=True)]
        found: dict[int, list[np.ndarray]] = {}
        for z, covers in enumerate(_box_sums(valid, spans)):
            reached = np.where(covers > 0, label[:, :, z], 0).ravel()
            for value in np.flatnonzero(np.bincount(reached)[1:]) + 1:
                found.setdefault(int(value), []).append(np.flatnonzero(reached == value) + z * reached.size)
        return [np.concatenate(found[value]) for value in sorted(found)]


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


def _too_little_foreground(name: str, sampler: PatchSampler, best: float) -> CohortError:
    size = "×".join(str(side) for side in sampler.size)
    wanted, reachable = f"{100 * sampler.min_foreground:.0f} %", math.floor(20 * best) / 20
    return CohortError(
        f"{name}: no patch of {size} voxels holds {wanted} foreground, the best holds {100 * best:.0f} %",
        mend=f"set min_foreground={reachable:g} or a smaller size in patches.sampler, or in that step of its schedule",
    )
