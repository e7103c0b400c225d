"""Predicting a scan slice by slice in several planes, and averaging what they give."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Orientation
from monai.utils import convert_to_dst_type
from torch import Tensor
from torch.nn import functional

from ankleseg.errors import ConfigError
from ankleseg.transforms.metadata import without_meta
from ankleseg.transforms.planes import AXCODES, PLANES, check_planes, shows_other_planes
from ankleseg.volumes.geometry import Affine, anatomical_axis, axis_codes, bounding_box, spacing

Volume = Float[Tensor, "c x y z"]
Foreground = Bool[Tensor, "1 x y z"]
Predict = Callable[[Tensor, Tensor | None], Tensor]  # of image and foreground, slices along the last axis

ASKED = ("all", "scanned")
APART = 2.0  # distance of the slices of other planes, in voxels of theirs: half the time of 1
AROUND = 20.0  # mm around what the scan's own plane shows, that are seen in others
LONGER = 1.25  # times the side of a tile: an axis that one tile takes whole, instead of two that overlap


class SeveralPlanesInferer(Inferer):
    """Slices of a volume in its own plane and in others, each by a MONAI inferer, and the mean of what they give.

    A network that sees one slice at a time cannot tell where a bone ends across the slices; those of other planes show
    it (as in QuickNAT and FastSurfer). MONAI's `SliceInferer` takes one axis. Slices of other planes have the spacing
    that the volume has within its own, which is resampled for them, and are twice as far apart. They are made where
    the volume's own plane shows something and 20 mm around it; all over the volume if a structure is not there. None
    are made of a volume whose slices are more than 6 mm apart or less than 60 mm together.

    Args:
        inferer: of slices along the last axis, such as `VolumeInferer` with a ``roi_size`` of two sides.
        planes: that the network learnt, of ``sagittal``, ``coronal`` and ``axial``.
        asked: ``all``, or ``scanned`` for the volume's own plane alone.

    Raises:
        ConfigError: asked is neither, or a plane is none.

    Source: Roy et al., NeuroImage 186, 2019; Henschel et al., NeuroImage 219, 2020.
    """

    def __init__(self, inferer: Callable[..., Tensor], planes: Sequence[str], asked: str = "all") -> None:
        super().__init__()
        _check(planes, asked)
        self.inferer, self.planes, self.asked = inferer, tuple(planes), asked

    def __call__(
        self,
        inputs: Tensor,
        network: Callable[..., Tensor],
        *args: Any,
        foreground: Any = None,
        each: Callable[[list[Volume]], object] | None = None,
        **kwargs: Any,
    ) -> Float[Tensor, "1 k x y z"]:
        """Predict a volume.

        Args:
            inputs: of one volume (1, C, X, Y, Z), its own slices along the last axis, with its affine.
            network: see the inferer.
            args: to the inferer.
            foreground: where there is something to be seen, what reshapes to (1, X, Y, Z); None: everywhere.
            each: called with what each plane gives (K, U, V, W) where all were seen, its own first; not of one alone.
            kwargs: to the inferer; an ``announce`` for the first plane alone.

        Raises:
            ConfigError: it is not one volume with an affine.
        """
        affine = _affine_of(inputs)
        image = without_meta(inputs)[0]
        seen = None if foreground is None else torch.as_tensor(foreground).reshape(1, *image.shape[1:]).bool()
        announce = kwargs.pop("announce", None)
        first = {} if announce is None else {"announce": announce}

        def predict(shown: Tensor, seen: Tensor | None, **more: Any) -> Tensor:
            inferer = _with_tiles_for(self.inferer, shown.shape[1:3])
            return without_meta(inferer(shown[None], network, *args, foreground=seen, **kwargs, **more))[0]

        values = predict(image, seen, **first)
        if others := planes_of(image.shape[1:], affine, self.planes, self.asked)[1:]:
            box = (slice(None), *_surroundings(values, affine))
            there = torch.zeros(1, *image.shape[1:], dtype=torch.bool)
            there[box] = True if seen is None else seen[box]
            found = [values[box], *(seen_in_plane(predict, image, there, affine, plane)[box] for plane in others)]
            if each is not None:
                each(found)
            values[box] = torch.stack(found).mean(0)
        like = MetaTensor([]).copy_meta_from(inputs, copy_attr=False)
        return convert_to_dst_type(values[None], like, dtype=values.dtype)[0]


def planes_of(shape: Sequence[int], affine: Affine, known: Sequence[str], asked: str = "all") -> tuple[str, ...]:
    """The planes that a prepared scan is segmented in, its own first.

    Args:
        shape: of the prepared scan, slices along the last axis.
        affine: of it.
        known: planes of the slices that the network learnt; none: it learnt those of scans.
        asked: ``all``, or ``scanned`` for its own alone.

    Raises:
        ConfigError: asked is neither, or a plane is none.
    """
    _check(known, asked)
    own = next(plane for plane, axis in PLANES.items() if anatomical_axis(affine, axis) == 2)
    if asked == "scanned" or not shows_other_planes(shape, affine, across=2):
        return (own,)
    return (own, *(plane for plane in known if plane != own))


def seen_in_plane(
    predict: Predict, image: Volume, foreground: Foreground | None, affine: Affine, plane: str
) -> Float[Tensor, "k x y z"]:
    """What a network of slices gives of a prepared scan that is cut in another plane.

    Args:
        predict: gives the probabilities (K, U, V, W) of an image (C, U, V, W) whose slices lie along the last axis.
        image: prepared, its own slices along the last axis.
        foreground: where there is something to be seen; None: everywhere.
        affine: of both.
        plane: ``sagittal``, ``coronal`` or ``axial``.

    Returns:
        Probabilities on the grid of the image.
    """
    mm, across = spacing(affine), anatomical_axis(affine, PLANES[plane])
    new = [mm[0] * (APART if axis == across else 1.0) for axis in range(3)]
    shape = [max(1, round(side * a / b)) for side, a, b in zip(image.shape[1:], mm, new, strict=True)]
    there, back = AXCODES[PLANES[plane]], axis_codes(affine)
    finer = functional.interpolate(image[None].float(), shape, mode="trilinear")[0]
    shown, seen = _turned(finer, affine, there), None
    if foreground is not None:
        near = functional.interpolate(foreground[None].float(), shape, mode="nearest-exact")[0] > 0.5
        seen = _turned(near, affine, there).as_tensor().contiguous()
    values = _turned(predict(shown.as_tensor().contiguous(), seen), shown.affine, back)
    return functional.interpolate(values.as_tensor()[None], image.shape[1:], mode="trilinear")[0]


def _surroundings(values: Volume, affine: Affine) -> tuple[slice, ...]:
    """A box around all structures that were found, or all of the volume where one was not."""
    structures = (values > 0.5).cpu().numpy()
    if not structures.any(axis=(1, 2, 3)).all():
        return tuple(slice(0, side) for side in values.shape[1:])
    return bounding_box(np.logical_or.reduce(structures), [math.ceil(AROUND / mm) for mm in spacing(affine)])


def _with_tiles_for(inferer: Any, shape: Sequence[int]) -> Any:
    """The same inferer, whose tiles take a slice whole that is not much longer than they are."""
    sides = getattr(inferer, "roi_size", None)
    if not isinstance(sides, tuple) or not any(side < n <= LONGER * side for side, n in zip(sides, shape, strict=True)):
        return inferer
    fitting = copy.copy(inferer)
    fitting.roi_size = tuple(n if side < n <= LONGER * side else side for side, n in zip(sides, shape, strict=True))
    return fitting


def _turned(array: Shaped[Tensor, "c x y z"], affine: Affine | Tensor, axcodes: str) -> MetaTensor:
    turned = Orientation(axcodes, labels=None)(MetaTensor(array, affine=torch.as_tensor(np.asarray(affine))))
    assert isinstance(turned, MetaTensor)
    return turned


def _affine_of(inputs: Any) -> Affine:
    affine = np.asarray(inputs.affine, dtype=np.float64) if isinstance(inputs, MetaTensor) else None
    if affine is None or len(inputs) != 1 or affine.size != 16:
        raise ConfigError(
            "invalid inputs of SeveralPlanesInferer: expected a MetaTensor of one volume, with its affine",
            mend="give one volume a batch",
        )
    return affine.reshape(4, 4)


def _check(planes: Sequence[str], asked: str) -> None:
    if asked not in ASKED:
        raise ConfigError(f"invalid predict.planes {asked!r}: expected {' or '.join(ASKED)}", mend="choose one")
    check_planes(planes)
