"""The place of a prepared array: how voxels travel from the input grid to it, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from ankleseg.transforms.splines import along, nearest, spline_matrix
from ankleseg.volumes.geometry import Affine, anatomical_axis, axis_codes, reorient, resampled_grid, spacing

SPACING_TOLERANCE = 0.02  # relative; a smaller difference is not worth the blur of resampling


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """The way from the input grid to the prepared one and back: reorient, resample, mirror.

    Attributes:
        input_shape, input_affine: grid of the input.
        reoriented_shape, reoriented_affine: the same voxels after axes were permuted and flipped.
        shape, affine: prepared grid. A mirrored array fills the same grid as one that is not.
        mirrored: whether the left–right axis was reversed, so that a left foot looks like a right one.
        order: of the spline that brings an image to the prepared grid.
    """

    input_shape: tuple[int, ...]
    input_affine: Affine
    reoriented_shape: tuple[int, ...]
    reoriented_affine: Affine
    shape: tuple[int, ...]
    affine: Affine
    mirrored: bool = False
    order: int = 1

    @property
    def resampled(self) -> bool:
        """Whether voxels were interpolated; if not, the way back is exact."""
        return not np.array_equal(self.reoriented_affine, self.affine)

    def image_to_prepared(self, image: Shaped[np.ndarray, "x y z"]) -> Float[np.ndarray, "u v w"]:
        """Bring an image from the input grid to the prepared one by a spline; averaged where voxels become larger."""
        return self._to_prepared(image.astype(np.float32, copy=False), self.order)

    def label_to_prepared(self, labels: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "u v w"]:
        """Bring labels from the input grid to the prepared one: each voxel takes the nearest, the type is kept."""
        return self._to_prepared(labels, order=0)

    def restore(self, arrays: Shaped[np.ndarray, "k u v w"], order: int = 1) -> Shaped[np.ndarray, "k x y z"]:
        """Bring arrays from the prepared grid back to the input grid; bit-exact where nothing was resampled.

        Args:
            arrays: (K, X, Y, Z) on the prepared grid.
            order: 1 for probabilities and images, 0 for labels.
        """
        return np.stack([self._restored(array, order) for array in arrays])

    def oriented_as_input(
        self, array: Shaped[np.ndarray, "u v w *rest"]
    ) -> tuple[Shaped[np.ndarray, "x y z *rest"], Affine]:
        """Turn an array on the prepared grid as the input was stored, at the prepared spacing, with its affine."""
        return reorient(self._mirrored(array), self.affine, axis_codes(self.input_affine))

    def _to_prepared(self, array: np.ndarray, order: int) -> np.ndarray:
        array, _ = reorient(array, self.input_affine, axis_codes(self.reoriented_affine))
        if self.resampled:
            if order > 0:
                array = _averaged(array, spacing(self.affine) / spacing(self.reoriented_affine))
            array = _sampled(array, self.reoriented_affine, self.shape, self.affine, order)
        return self._mirrored(array)

    def _restored(self, array: np.ndarray, order: int) -> np.ndarray:
        array = self._mirrored(array)
        if self.resampled:
            array = _sampled(array, self.affine, self.reoriented_shape, self.reoriented_affine, order)
        restored, _ = reorient(array, self.reoriented_affine, axis_codes(self.input_affine))
        return restored

    def _mirrored(self, array: np.ndarray) -> np.ndarray:
        return np.flip(array, anatomical_axis(self.affine, "LR")) if self.mirrored else array


def place(
    shape: Sequence[int],
    affine: Affine,
    *,
    orientation: str,
    new_spacing: Sequence[float | None] | None = None,
    mirrored: bool = False,
    order: int = 1,
) -> Placement:
    """Plan the way from an input grid to the prepared one.

    Args:
        shape, affine: grid of the input.
        orientation: what the axes of the prepared array shall point to, e.g. ``PSR``.
        new_spacing: mm along each prepared axis, None keeps the spacing of the input.
        mirrored: reverse the left–right axis.
        order: of the spline that brings an image to the prepared grid, 0 to 5.
    """
    voxels_without_memory = np.broadcast_to(np.uint8(0), tuple(shape))
    reoriented, reoriented_affine = reorient(voxels_without_memory, affine, orientation)
    prepared_shape, prepared_affine = reoriented.shape, reoriented_affine
    old = spacing(reoriented_affine)
    new = np.array([o if n is None else n for o, n in zip(old, new_spacing or [None] * 3, strict=True)])
    new = np.where(abs(new / old - 1) < SPACING_TOLERANCE, old, new)
    if not np.array_equal(new, old):
        prepared_shape, prepared_affine = resampled_grid(reoriented.shape, reoriented_affine, new)
    return Placement(
        input_shape=tuple(shape),
        input_affine=affine,
        reoriented_shape=reoriented.shape,
        reoriented_affine=reoriented_affine,
        shape=prepared_shape,
        affine=prepared_affine,
        mirrored=mirrored,
        order=order,
    )


def _averaged(image: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Blur by as much as voxels grow (full width at half maximum), so that sampling does not pick single voxels."""
    from scipy.ndimage import gaussian_filter

    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0)) / np.sqrt(8 * np.log(2))
    return gaussian_filter(image, sigma, mode="nearest")


def _sampled(array: np.ndarray, affine: Affine, shape: Sequence[int], target: Affine, order: int) -> np.ndarray:
    """Resample to a grid whose axes are parallel, one axis after the other."""
    source_from_target = np.linalg.inv(affine) @ target
    for axis, length in enumerate(shape):
        places = source_from_target[axis, axis] * np.arange(length) + source_from_target[axis, 3]
        size = array.shape[axis]
        if length == size and np.allclose(places, np.arange(size), atol=1e-6):
            continue
        if order == 0:
            array = array.take(nearest(size, places), axis)
        else:
            floating = array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
            array = along(floating, spline_matrix(size, places, order), axis)
    return array
