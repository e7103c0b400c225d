"""What a patch is and where it may lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ankleseg.transforms.windows import check_fraction, check_size


@dataclass(frozen=True, kw_only=True)
class PatchSampler:
    """Settings of `ankleseg.transforms.RandForegroundCropd`, which a schedule may change during training.

    The published ankle pipeline keeps random 128×128 windows of a slice with at least 75 % foot (Coupeau 2020).

    Args:
        size: sides in voxels: two for patches in the slices (planes of the last axis), three for blocks. Along an
            axis where the volume is shorter, it lies in the middle of the patch and the rest is padded.
        min_foreground: least fraction of foreground, of the part of the patch inside the volume.
        balance: probability that a patch is drawn around a structure: one of the structures, then one of its voxels,
            then one of the windows that contain it, each with equal chances.

    Raises:
        ConfigError: a size or a fraction is none.
    """

    size: Sequence[int] = (128, 128)
    min_foreground: float = 0.75
    balance: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_size(self.size))
        check_fraction("min_foreground", self.min_foreground)
        check_fraction("balance", self.balance)
