"""Predicting a scan slice by slice in several planes, and averaging what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from monai.data import MetaTensor
from monai.transforms import Orientation
from torch import Tensor
from torch.nn import functional

from ankleseg.errors import ConfigError
from ankleseg.transforms.slices_last import AXCODES, PLANES
from ankleseg.volumes.geometry import Affine, anatomical_axis, axis_codes, spacing

Volume = Float[Tensor, "c x y z"]
Predict = Callable[[Tensor, Tensor], Tensor]  # of image and foreground, slices along the last axis: probabilities

MODES = ("all", "scanned")
THICKEST = 4.0  # mm between slices of a scan of which slices in other planes are made


def planes_of(affine: Affine, known: Sequence[str], asked: str = "all") -> tuple[str, ...]:
    """The planes that a prepared scan is segmented in, its own first.

    Args:
        affine: of the prepared scan, slices along the last axis.
        known: planes of the slices that the network learnt; none: it learnt those of scans.
        asked: ``all``, or ``scanned`` for its own alone.

    Raises:
        ConfigError: asked is neither.
    """
    if asked not in MODES:
        raise ConfigError(f"invalid predict.planes {asked!r}: expected {' or '.join(MODES)}", mend="choose one")
    own = next(plane for plane, axis in PLANES.items() if anatomical_axis(affine, axis) == 2)
    if asked == "scanned" or spacing(affine).max() > THICKEST:
        return (own,)
    return (own, *(plane for plane in known if plane != own))


def seen_in_plane(
    predict: Predict, image: Volume, foreground: Bool[Tensor, "1 x y z"], affine: Affine, plane: str
) -> Float[Tensor, "k x y z"]:
    """What a network of slices gives of a prepared scan that is cut in another plane.

    The slices of the other plane have the in-plane spacing of the prepared scan, and are as far apart.

    Args:
        predict: gives the probabilities (K, U, V, W) of an image (C, U, V, W) whose slices lie along the last axis.
        image: prepared, its own slices along the last axis.
        foreground: where there is something to be seen.
        affine: of both.
        plane: ``sagittal``, ``coronal`` or ``axial``.

    Returns:
        Probabilities (K, X, Y, Z) on the grid of the image.
    """
    mm = spacing(affine)
    shape = [max(1, round(side * one / mm[0])) for side, one in zip(image.shape[1:], mm, strict=True)]
    there, back = AXCODES[PLANES[plane]], axis_codes(affine)
    shown = _turned(functional.interpolate(image[None], shape, mode="trilinear")[0], affine, there)
    seen = _turned(
        functional.interpolate(foreground[None].float(), shape, mode="nearest-exact")[0] > 0.5, affine, there
    )
    values = _turned(predict(*map(Tensor.contiguous, (shown.as_tensor(), seen.as_tensor()))), shown.affine, back)
    return functional.interpolate(values.as_tensor()[None], image.shape[1:], mode="trilinear")[0]


def _turned(array: Shaped[Tensor, "c x y z"], affine: Affine | Tensor, axcodes: str) -> MetaTensor:
    plain = array.as_tensor() if isinstance(array, MetaTensor) else array
    turned = Orientation(axcodes, labels=None)(MetaTensor(plain, affine=torch.as_tensor(np.asarray(affine))))
    assert isinstance(turned, MetaTensor)
    return turned
