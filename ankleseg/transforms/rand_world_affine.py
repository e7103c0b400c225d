"""`RandWorldAffined`: rotation, zoom and shift in millimetres, interpolated once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys, ensure_tuple_rep
from torch import Tensor
from torch.nn import functional

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.transforms.boxes import cut, darkest, filled, is_discrete
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.transforms.windows import check_size
from ankleseg.volumes.geometry import spacing

Matrix = Float[np.ndarray, "m m"]
MODES = ("bilinear", "nearest")
ANGLES = 17  # tried from the largest to its opposite, to find how far patches reach


class RandWorldAffined(RandomizableTransform, MapTransform, InvertibleTransform):
    """Rotate, zoom and shift about the middle, in millimetres along the axes of the array, by one interpolation.

    MONAI's `RandAffined` is wrong and too slow for patches: its angles are those of a grid of cubes, so that it shears
    anatomy where voxels are not, and it takes 1.1 ms for two keys of 96×96, this one 0.3 ms
    (``benchmarks/transforms.py``, one thread, without metadata).

    What comes from outside the array is the darkest intensity of the scan, by ``image_range`` where the sample has it
    (0 for masks and labels). The inverse resamples back; where nothing was moved it is exact.

    Args:
        keys: what is moved, (C, X, Y) or (C, X, Y, Z) each, of one shape.
        prob: probability that anything is moved.
        rotate: largest angle in degrees: in the plane, or about each of the three axes.
        zoom: smallest and largest factor by which the anatomy grows, drawn evenly on a logarithmic scale.
        shift: largest shift along each axis in mm, before the rotation.
        size: sides of the central part that is returned; None: those of the input.
        mode: ``bilinear`` or ``nearest``, one or one a key; None: nearest for labels and masks, by their name or type.

    Raises:
        ConfigError: an argument is invalid, the input is smaller than ``size``, or its affine is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        rotate: float = 0.0,
        zoom: Sequence[float] = (1.0, 1.0),
        shift: float = 0.0,
        size: Sequence[int] | None = None,
        mode: str | Sequence[str] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1]:
            raise ConfigError(
                f"invalid zoom {list(zoom)}: expected two factors above 0", mend="give the smaller one first"
            )
        if rotate < 0 or shift < 0:
            raise ConfigError(
                f"invalid rotate {rotate:g} or shift {shift:g}: expected the largest one", mend="give 0 or more"
            )
        self.rotate, self.zoom, self.shift = float(rotate), (float(zoom[0]), float(zoom[1])), float(shift)
        self.size = None if size is None else check_size(size)
        modes = (None,) * len(self.keys) if mode is None else ensure_tuple_rep(mode, len(self.keys))
        for given in modes:
            if given not in (None, *MODES):
                raise ConfigError(f"invalid mode {given!r}: expected one of {', '.join(MODES)}", mend="choose one")
        self.mode = modes
        self._numbers = np.full(7, 0.5)

    def randomize(self, data: Any = None) -> None:
        """Draw seven numbers, whatever the ranges are."""
        super().randomize(data)
        self._numbers = self.R.random_sample(7)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        grids: dict[Any, tuple[Matrix, Tensor]] = {}
        for key, mode in self.key_iterator(sample, self.mode):
            source = sample[key]
            array = without_meta(source)
            shape = tuple(array.shape[1:])
            size = self._size(shape)
            discrete = is_discrete(key, array)
            nearest = mode == "nearest" or (mode is None and discrete)
            fill = [] if not (self._moves or isinstance(source, MetaTensor)) else darkest(sample, key, array, discrete)
            if self._moves:
                affine = affine_of(source, sample)
                place = (shape, affine.tobytes())
                if place not in grids:
                    matrix = self._matrix(shape, size, spacing(affine)[: len(shape)])
                    grids[place] = matrix, _grid(matrix, shape, size)
                matrix, grid = grids[place]
                result = _sampled(array, grid, matrix, nearest, fill)
            else:
                matrix = self._matrix(shape, size, np.ones(len(shape)))
                result = cut(array, matrix[:-1, -1].astype(int).tolist(), size, fill)
            sample[key] = moved = with_meta_of(source, result)
            if isinstance(moved, MetaTensor):
                self.push_transform(
                    moved,
                    affine=_in_three(matrix),
                    orig_size=shape,
                    extra_info={"matrix": matrix.ravel().tolist(), "nearest": int(nearest), "fill": fill},
                )
        if self.size is not None and names.WINDOW in sample:
            sample[names.WINDOW] = central_window(sample[names.WINDOW], self.size)
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample back to the grid before."""
        sample = dict(data)
        shape: tuple[int, ...] = ()
        for key in self.key_iterator(sample):
            source = sample[key]
            done = self.pop_transform(source)
            told = done[TraceKeys.EXTRA_INFO]
            array = without_meta(source)
            sides = array.ndim - 1
            matrix = np.array([float(value) for value in told["matrix"]]).reshape(sides + 1, sides + 1)
            shape = tuple(int(side) for side in done[TraceKeys.ORIG_SIZE])
            back, fill = np.linalg.inv(matrix), [float(value) for value in told["fill"]]
            if np.array_equal(matrix[:-1, :-1], np.eye(sides)) and np.array_equal(matrix, np.rint(matrix)):
                result = cut(array, np.rint(back[:-1, -1]).astype(int).tolist(), shape, fill)
            else:
                grid = _grid(back, tuple(array.shape[1:]), shape)
                result = _sampled(array, grid, back, bool(int(told["nearest"])), fill)
            sample[key] = restored = with_meta_of(source, result)
            with self.trace_transform(False):
                self.push_transform(restored, affine=_in_three(back))
        if shape and self.size is not None and names.WINDOW in sample:
            sample[names.WINDOW] = central_window(sample[names.WINDOW], shape)
        return sample

    def reach(self, size: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
        """Sides that the input must have so that no draw gives an output of ``size`` empty corners.

        Args:
            size: sides of the output.
            spacing: mm along its axes.
        """
        sides = len(size)
        mm = np.asarray(spacing, dtype=float)[:sides]
        half = (np.asarray(size) - 1) / 2 * mm
        angles = np.linspace(-self.rotate, self.rotate, ANGLES if self.rotate else 1)
        turns = [abs(_rotation(angle).T) @ half for angle in product(angles, repeat=1 if sides == 2 else 3)]
        needed = np.max(turns, axis=0) / self.zoom[0] + self.shift
        slack = 0.0 if sides == 2 and not self.rotate else 0.01 * half  # between the angles that were tried
        more = np.ceil((needed - half + (slack if self.rotate else 0.0)) / mm - 1e-6).astype(int)
        return tuple(int(side + 2 * max(beyond, 0)) for side, beyond in zip(size, more, strict=True))

    @property
    def _moves(self) -> bool:
        still = self.rotate == 0 and self.shift == 0 and self.zoom == (1.0, 1.0)
        return bool(self._do_transform) and not still

    def _size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        size = shape if self.size is None else self.size
        if len(size) != len(shape) or any(side > n for side, n in zip(size, shape, strict=True)):
            raise ConfigError(
                f"invalid size {list(size)} of RandWorldAffined: expected at most {list(shape)} of its input",
                mend="cut larger patches (margin=) or choose a smaller size",
            )
        return size

    def _matrix(self, shape: tuple[int, ...], size: tuple[int, ...], mm: Float[np.ndarray, " d"]) -> Matrix:
        """Voxel of the input, (d+1, d+1), for a voxel of the output."""
        sides = len(shape)
        matrix = np.eye(sides + 1)
        first = (np.array(shape) - np.array(size)) // 2
        if not self._moves:
            matrix[:-1, -1] = first
            return matrix
        signed = 2 * self._numbers - 1
        angles = self.rotate * signed[: 1 if sides == 2 else 3]
        zoom = self.zoom[0] * (self.zoom[1] / self.zoom[0]) ** self._numbers[3]
        middle = (np.array(size) - 1) / 2
        linear = _rotation(angles).T / zoom * mm[None, :] / mm[:, None]
        matrix[:-1, :-1] = linear
        matrix[:-1, -1] = first + middle - self.shift * signed[4 : 4 + sides] / mm - linear @ middle
        return matrix


def central_window(window: Any, size: Sequence[int]) -> np.ndarray:
    """The central part, of this size, of a patch from the first to the last voxel of ``window`` (2, 3).

    With the size of the patch before, it leads from the central part back to the patch.
    """
    first, last = np.array(window)
    step = np.where(last < first, -1, 1)
    sides = np.abs(last - first) + 1
    wanted = np.array([*size, *sides[len(size) :]])
    first = first + step * np.trunc((sides - wanted) / 2).astype(int)
    return np.stack([first, first + step * (wanted - 1)])


def _rotation(degrees: Sequence[float] | np.ndarray) -> Matrix:
    """Rotation matrix of an angle in the plane, or of three angles about the axes, one after the other."""
    if len(degrees) == 1:
        cosine, sine = np.cos(np.deg2rad(degrees[0])), np.sin(np.deg2rad(degrees[0]))
        return np.array([[cosine, -sine], [sine, cosine]])
    matrix = np.eye(3)
    for axis, angle in enumerate(degrees):
        about = np.eye(3)
        plane = [n for n in range(3) if n != axis]
        about[np.ix_(plane, plane)] = _rotation([angle])
        matrix = about @ matrix
    return matrix


def _in_three(matrix: Matrix) -> Float[np.ndarray, "4 4"]:
    """The same in the plane of a volume."""
    sides = len(matrix) - 1
    whole = np.eye(4)
    whole[:sides, :sides] = matrix[:-1, :-1]
    whole[:sides, 3] = matrix[:-1, -1]
    return whole


def _grid(matrix: Matrix, shape: Sequence[int], size: Sequence[int]) -> Float[Tensor, "1 *patch d"]:
    """Where each voxel is taken from, in the coordinates of `torch.nn.functional.grid_sample`.

    These run from -1 to 1 between the outer edges of a grid, with the last axis first.
    """
    grid = torch.empty((1, *size, len(size)))
    lines = [torch.arange(side, dtype=torch.float32) for side in size]
    for axis, (*factors, offset) in enumerate(matrix[:-1].tolist()):
        scale = 2 / shape[axis]  # `affine_grid` is five times slower for a plane
        total = lines[0] * (factors[0] * scale) + ((2 * offset + 1) / shape[axis] - 1)
        for factor, line in zip(factors[1:], lines[1:], strict=True):
            total = total[..., None] + line * (factor * scale)
        grid[0, ..., len(size) - 1 - axis] = total
    return grid


def _sampled(array: Tensor, grid: Tensor, matrix: Matrix, nearest: bool, fill: Sequence[float]) -> Tensor:
    """An array (C, …) at the places of a grid; ``fill`` outside its voxels."""
    moved = _nearest(array, grid) if nearest else _between(array, grid)
    size = np.array(moved.shape[1:])
    low = np.minimum(matrix[:-1, :-1] * (size - 1), 0).sum(1) + matrix[:-1, -1]
    high = np.maximum(matrix[:-1, :-1] * (size - 1), 0).sum(1) + matrix[:-1, -1]
    if (low < -0.5).any() or (high > np.array(array.shape[1:]) - 0.5).any():
        outside = (grid[0].abs() > 1 + 1e-6).any(-1)
        moved = torch.where(outside, filled(array, [1] * len(size), fill), moved)
    return moved


def _between(array: Tensor, grid: Tensor) -> Tensor:
    source = array if array.is_floating_point() else array.float()
    moved = functional.grid_sample(
        source[None], grid.to(source.dtype), "bilinear", padding_mode="border", align_corners=False
    )
    return moved[0].to(array.dtype)


def _nearest(array: Tensor, grid: Tensor) -> Tensor:
    """As `torch.nn.functional.grid_sample`, without a copy of the whole array as floating numbers."""
    place = torch.zeros((), dtype=torch.long)
    for axis, side in enumerate(array.shape[1:]):
        where = ((grid[0, ..., array.ndim - 2 - axis] + 1) * (side / 2) - 0.5).round_().clamp_(0, side - 1).long()
        place = place * side + where
    return array.flatten(1)[:, place.flatten()].reshape(len(array), *place.shape)
