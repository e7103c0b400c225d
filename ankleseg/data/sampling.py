"""Where patches are drawn: uniformly over all windows that hold enough foreground, without storing any patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.transforms import PreparedCase
from ankleseg.transforms import windows as transforms


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


class PatchWindows(transforms.PatchWindows):
    """The valid windows of a case."""

    def __init__(self, case: PreparedCase, sampler: PatchSampler) -> None:
        label = case.label[None] if sampler.balance > 0 else None
        super().__init__(case.foreground, sampler.size, sampler.min_foreground, label, case.name)
        self._balance = sampler.balance

    def __getitem__(self, number: int) -> Window:  # type: ignore[override]
        return _window(super().__getitem__(number))

    def draw(self, rng: np.random.Generator) -> Window:  # type: ignore[override]
        """Draw a window: uniformly, or with probability ``balance`` around a structure that a window can reach."""
        window = super().draw(np.random.RandomState(int(rng.integers(2**32))), self._balance)
        return window if isinstance(window, Window) else _window(window)


def _window(window: transforms.Window) -> Window:
    return Window(window.start, window.size)
