"""What the masks of a case look like on their own: size, cut by the border or not, and how they lie to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from ankleseg.measures.morphometry import volume_ml
from ankleseg.volumes.geometry import Affine, bounding_box, spacing

LEAST_WHOLE = 3  # whole structures of which a range is made
MOST_POINTS = 5000  # of a surface, evenly thinned; of a talus in voxels of 0.5 mm one in five

Range = Sequence[float]  # smallest, largest


@dataclass(frozen=True)
class MaskShape:
    """A mask that is not empty.

    Attributes:
        volume_ml: of all its voxels.
        cut: whether it touches the border of the grid, so that it may go on beyond.
        centroid_mm: in the world.
        surface_mm: (N, 3) world positions of voxels at its surface, at most 5000.
    """

    volume_ml: float
    cut: bool
    centroid_mm: Float[np.ndarray, "3"]
    surface_mm: Float[np.ndarray, "n 3"]


def mask_shape(mask: Bool[np.ndarray, "x y z"], affine: Affine) -> MaskShape | None:
    """Describe a mask, None where it is empty.

    Args:
        mask: of one structure.
        affine: voxel to world, mm.
    """
    from scipy.ndimage import binary_erosion

    if not mask.any():
        return None
    box = bounding_box(mask)
    inside = mask[box]
    start = np.array([part.start for part in box])
    cut = any(part.start == 0 or part.stop == side for part, side in zip(box, mask.shape, strict=True))
    surface = np.argwhere(inside & ~binary_erosion(inside)) + start
    surface = surface[:: -(-len(surface) // MOST_POINTS)]
    middle = np.array([_mean_index(inside, axis) for axis in range(3)]) + start
    return MaskShape(volume_ml(inside, spacing(affine)), cut, _world(middle, affine), _world(surface, affine))


def gap_mm(one: MaskShape, other: MaskShape) -> float:
    """Least distance in mm between voxels at the surfaces of two masks."""
    from scipy.spatial import cKDTree

    return float(cKDTree(one.surface_mm).query(other.surface_mm)[0].min())


def lies_between(middle: MaskShape, one: MaskShape, other: MaskShape) -> bool:
    """Whether a structure lies between two others: their centroids are further apart than each is from its own.

    It is the same in every orientation of the patient and of the file.
    """
    apart = float(np.linalg.norm(one.centroid_mm - other.centroid_mm))
    return apart > max(float(np.linalg.norm(each.centroid_mm - middle.centroid_mm)) for each in (one, other))


@dataclass(frozen=True)
class ShapeRanges:
    """Smallest and largest sizes of structures that lay whole in the masks of a cohort.

    Attributes:
        volume_ml: by structure.
        ratio: of the volume of the first structure to that of the second, by ``first/second``. It hardly depends on how
            tall somebody is.
    """

    volume_ml: Mapping[str, Range]
    ratio: Mapping[str, Range]

    def __post_init__(self) -> None:
        for name in ("volume_ml", "ratio"):
            given = {str(key): (float(low), float(high)) for key, (low, high) in getattr(self, name).items()}
            object.__setattr__(self, name, given)

    def zoomed(self, smallest: float, largest: float) -> ShapeRanges:
        """The ranges where all lengths are shrunk or grown by factors between two."""
        volumes = {name: (low * smallest**3, high * largest**3) for name, (low, high) in self.volume_ml.items()}
        return ShapeRanges(volumes, self.ratio)

    def to_plain(self) -> dict[str, dict[str, list[float]]]:
        """Plain types that travel with a network; ``ShapeRanges(**plain)`` rebuilds them."""
        return {name: {key: list(pair) for key, pair in of.items()} for name, of in vars(self).items()}


def shape_ranges(cases: Iterable[Mapping[str, MaskShape | None]]) -> ShapeRanges:
    """Return the ranges of sizes in a cohort.

    A structure that is cut by the border of the grid tells no size. Of fewer than three whole ones no range is made.

    Args:
        cases: the masks of each case by structure.
    """
    volumes: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for shapes in cases:
        whole = {name: shape.volume_ml for name, shape in shapes.items() if shape is not None and not shape.cut}
        for name, volume in whole.items():
            volumes.setdefault(name, []).append(volume)
        for first, second in combinations(whole, 2):
            ratios.setdefault(f"{first}/{second}", []).append(whole[first] / whole[second])
    return ShapeRanges(_ranges(volumes), _ranges(ratios))


def _ranges(values: Mapping[str, list[float]]) -> dict[str, Range]:
    return {name: (min(known), max(known)) for name, known in values.items() if len(known) >= LEAST_WHOLE}


def _mean_index(mask: Bool[np.ndarray, "x y z"], axis: int) -> float:
    counts = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    return float(counts @ np.arange(len(counts)) / counts.sum())


def _world(index: np.ndarray, affine: Affine) -> np.ndarray:
    return index @ affine[:3, :3].T + affine[:3, 3]
