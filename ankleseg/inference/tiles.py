"""Where the tiles of a volume lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import bounding_box

SHORTEST = 8  # voxels


def check_window(window: Sequence[int], sides: Sequence[int] = (2, 3), mend: str = "") -> None:
    """Refuse sides of a tile that prediction cannot use; the whole of an axis is ``predict.mode=slices``.

    Raises:
        ConfigError: there are other than so many sides, or one is shorter than 8 voxels.
    """
    if len(window) not in sides or not all(isinstance(side, int) and side >= SHORTEST for side in window):
        raise ConfigError(
            f"invalid window {list(window)}: expected {' or '.join(map(str, sides))} sides of at least {SHORTEST} "
            "voxels",
            mend=mend,
        )


def tile_corners(
    shape: Sequence[int], window: Sequence[int], overlap: Sequence[float] | float
) -> list[tuple[int, ...]]:
    """Corners of the tiles of a grid; neighbours share the fraction ``overlap`` of a side (0 ≤ overlap < 1).

    As MONAI lays them: the last tile of an axis ends with it; one that is longer than the axis reaches beyond both
    ends, from a negative corner.
    """
    from monai.data.utils import dense_patch_slices

    shared = np.broadcast_to(overlap, len(window))
    # MONAI's own step is a voxel short where 1 − overlap is not exact in binary, such as 1 − 43/96
    steps = [max(1, int(side * (1 - part) + 1e-6)) for side, part in zip(window, shared, strict=True)]
    before = [_before(*axis) for axis in zip(shape, window, strict=True)]
    tiles = dense_patch_slices(list(map(max, shape, window)), window, steps)
    return [tuple(int(cut.start) - more for cut, more in zip(tile, before, strict=True)) for tile in tiles]


def box_of(
    mask: Bool[np.ndarray, "*spatial"], margin: int = 0, divisor: int = 1
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Corner and sides of the bounding box of a mask, grown by a margin that ends at the border of the grid.

    Both are multiples of ``divisor``, so that a network halves the box at the same voxels as the whole grid; sides may
    reach beyond the end of the grid.

    Raises:
        GeometryError: the mask is empty.
    """
    box = bounding_box(mask, margin)
    corner = tuple(cut.start // divisor * divisor for cut in box)
    sides = tuple(-(-(cut.stop - low) // divisor) * divisor for cut, low in zip(box, corner, strict=True))
    return corner, sides


def _before(length: int, side: int) -> int:
    """Voxels of a side that lie before an axis that is shorter."""
    return max(side - length, 0) // 2
