"""`RandSmoothFieldd`: scans moved by smooth random fields that are known, to learn and to test registration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.spatial_transform import integrated, warped
from ankleseg.transforms.boxes import is_discrete
from ankleseg.transforms.metadata import affine_of, with_meta_of, without_meta
from ankleseg.volumes.geometry import spacing

KINDS = ("velocity", "elastic", "b_spline")
MODES = ("bilinear", "nearest")
STEEPEST = 0.7  # voxels a voxel, of a displacement that is inverted: below 1 nothing folds
ITERATIONS = 40  # of the inversion: the error falls by the steepness in each
REACH = 3.0  # standard deviations, or knots, beyond the array at which there is noise too

Field = Float[Tensor, "1 d *spatial"]


class RandSmoothFieldd(RandomizableTransform, MapTransform):
    """Move scans by a smooth random field, and keep the field that moves them back.

    MONAI has none: ``Rand3DElasticd`` and ``RandGridDistortiond`` count in voxels, may fold, and do not tell the field.
    Here nothing folds where fields are smooth over some voxels, the largest displacement is in mm, and ``displacement``
    is the true answer of a registration of the moved scan with the one before: moved(x + u(x)) = before(x), up to
    interpolation.

    Three kinds: ``velocity``, Gaussian noise smoothed and integrated (scaling and squaring), the inverse by the
    negative velocity; ``elastic``, the same noise as the displacement (Simard 2003); ``b_spline``, cubic B-splines of
    random coefficients, as in free-form deformation (Rueckert 1999). The latter two are made weaker where they were
    steeper than 0.7, and inverted by iteration.

    Args:
        keys: what is moved, (C, X, Y) or (C, X, Y, Z) each, of one shape; beyond its borders these are repeated.
        prob: probability that anything is moved; else ``displacement`` is 0.
        kind: ``velocity``, ``elastic`` or ``b_spline``.
        largest: range in mm from which the largest displacement of a field is drawn (at most so much of a velocity).
        smoothness: range in mm of the standard deviation by which noise is smoothed, or of the distance of the knots,
            drawn evenly on a logarithmic scale.
        mode: ``bilinear`` or ``nearest``, one or one a key; None: nearest for labels and masks, by their name or type.
        displacement_key: where the true field (D, *spatial) is put, float32, in voxels; None: nowhere, which saves
            the time to find it.

    Raises:
        ConfigError: an argument is invalid, or the affine of the input is not known.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        kind: str = "velocity",
        largest: Sequence[float] = (0.0, 8.0),
        smoothness: Sequence[float] = (8.0, 16.0),
        mode: str | Sequence[str | None] | None = None,
        displacement_key: str | None = names.DISPLACEMENT,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if kind not in KINDS:
            raise ConfigError(f"invalid kind {kind!r}: expected one of {', '.join(KINDS)}", mend="choose one")
        self.kind = kind
        self.largest = _range("largest", largest, 0.0)
        self.smoothness = _range("smoothness", smoothness, 1e-3)
        modes = (None,) * len(self.keys) if mode is None else ensure_tuple_rep(mode, len(self.keys))
        for given in modes:
            if given not in (None, *MODES):
                raise ConfigError(f"invalid mode {given!r}: expected one of {', '.join(MODES)}", mend="choose one")
        self.mode = modes
        self.displacement_key = displacement_key
        self._numbers, self._noise = np.zeros(2), np.random.RandomState()

    def randomize(self, data: Any = None) -> None:
        """Draw the largest displacement, the smoothness and a seed of the noise."""
        super().randomize(data)
        self._numbers = self.R.random_sample(2)
        self._noise = np.random.RandomState(self.R.randint(2**32, dtype=np.uint32))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        self.randomize()
        there: Field | None = None
        for key, mode in self.key_iterator(sample, self.mode):
            source = sample[key]
            array = without_meta(source)
            if there is None:
                shape = tuple(array.shape[1:])
                there, back = self._fields(shape, spacing(affine_of(source, sample))[: len(shape)])
                if self.displacement_key is not None:
                    sample[self.displacement_key] = back[0]
            elif array.shape[1:] != there.shape[2:]:
                raise ConfigError(
                    f"invalid shape of {key} {tuple(array.shape[1:])}: expected {tuple(there.shape[2:])}",
                    mend="crop and resample all keys alike before",
                )
            if self._do_transform:
                nearest = mode == "nearest" or (mode is None and _is_discrete(key, array))
                moved = warped(array[None], there, "nearest" if nearest else "bilinear", "border")[0]
                sample[key] = with_meta_of(source, moved.to(array.dtype))
        return sample

    def _fields(self, shape: tuple[int, ...], mm: Float[np.ndarray, " d"]) -> tuple[Field, Field]:
        """The displacement that scans are moved by, and the one that moves them back where it is told, in voxels."""
        sides = torch.from_numpy(np.asarray(mm, np.float32)).reshape(1, -1, *[1] * len(shape))
        low, high = self.smoothness
        smoothness = low * (high / low) ** self._numbers[0]
        largest = self.largest[0] + (self.largest[1] - self.largest[0]) * self._numbers[1]
        if not self._do_transform or largest == 0:
            still = torch.zeros(1, len(shape), *shape)
            return still, still.clone()
        noise = torch.from_numpy(self._smooth(shape, smoothness / mm))[None]
        field = noise * (largest / noise.square().sum(1).max().sqrt()) / sides
        told = self.displacement_key is not None
        if self.kind == "velocity":
            return integrated(field), integrated(-field) if told else field
        field = field * min(1.0, STEEPEST / max(_steepness(field), 1e-12))
        back = -field
        for _ in range(ITERATIONS if told else 0):
            back = -warped(field, back, padding_mode="border")
        return field, back

    def _smooth(self, shape: tuple[int, ...], width: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d *spatial"]:
        """Smooth noise, a channel for each axis; its width is in voxels along each."""
        every = 1.0 if self.kind == "b_spline" else 0.5  # widths from knot to knot
        weights = []
        for side, wide in zip(shape, width, strict=True):
            step = every * wide
            knots = np.arange(-REACH * wide, side - 1 + REACH * wide + step, step)
            apart = (np.arange(side)[:, None] - knots) / wide
            weights.append(_b_spline(apart) if self.kind == "b_spline" else np.exp(-0.5 * apart**2))
        field = self._noise.standard_normal((len(shape), *(w.shape[1] for w in weights)))
        for axis, weight in enumerate(weights, start=1):
            field = np.moveaxis(np.tensordot(field, weight, axes=(axis, 1)), -1, axis)
        return np.ascontiguousarray(field, dtype=np.float32)


def _range(name: str, given: Sequence[float], least: float) -> tuple[float, float]:
    if len(given) != 2 or not least <= given[0] <= given[1]:
        raise ConfigError(
            f"invalid {name} {list(given)}: expected a range in mm", mend="give the smallest and the largest"
        )
    return float(given[0]), float(given[1])


def _is_discrete(key: Hashable, array: Tensor) -> bool:
    return is_discrete(key, array, names.MOVING_LABEL)


def _b_spline(apart: Float[np.ndarray, "side knots"]) -> Float[np.ndarray, "side knots"]:
    """The cubic B-spline at distances in knots."""
    x = np.abs(apart)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.where(x < 2, (2 - x) ** 3 / 6, 0.0))


def _steepness(field: Field) -> float:
    """A bound of the change of a displacement along any direction, in voxels a voxel."""
    steepest = [field.diff(dim=axis).square().sum(1).amax() for axis in range(2, field.ndim) if field.shape[axis] > 1]
    return float(torch.stack(steepest).sum().sqrt())
