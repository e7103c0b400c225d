"""Which random transforms reverse left and right, found by what they do and not by what they are called."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from ankleseg import keys as names
from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.transforms.rand_anatomical_flip import RandAnatomicalFlipd
from ankleseg.transforms.rand_smooth_field import RandSmoothFieldd
from ankleseg.volumes.geometry import Affine, anatomical_axis

Places = Float[np.ndarray, "spots d"]

log = logging.getLogger(__name__)

SIDE = 17  # voxels of the probe
BLOB = 1.0  # voxels, standard deviation of a spot
AWAY = 4  # voxels from the middle of the probe to a spot
TRIES = 16  # with the probability of the transform, and as many with certainty
SEEN = 0.2  # of its brightness, for a spot that is still there
STRAY = 1.5  # voxels: a second set of spots that lies no farther from where the first says was moved as it was
LEAST_ZOOM = 0.3  # spots nearer to each other are not told apart
NAMES_OF_FLIPS = ("flip", "transpose", "mirror")


def reverses_left_right(transform: Callable[[Any], Any], affine: Affine, dimensions: int) -> bool:
    """Tell whether a random transform can make a left side a right one.

    It is tried on a volume of bright spots, a channel each, with several seeds. Where they went tells how the anatomy
    was moved, whatever happened to its intensities; spots elsewhere, with the same seed, must agree. Reversed is what
    was mirrored (a negative determinant) with left and right exchanged; a rotation is not, nor a flip along another
    axis.

    Args:
        transform: a dictionary transform, or a `Compose`.
        affine: of the prepared volume.
        dimensions: of the patches, 2 in planes of the last axis.
    """
    axis = anatomical_axis(affine, "LR")
    if axis >= dimensions or isinstance(transform, RandSmoothFieldd):  # which folds nothing
        return False
    if isinstance(transform, RandAnatomicalFlipd):
        return "LR" in transform.axes and transform.prob > 0
    first, second = _spots(dimensions)
    keys = _keys(transform) or {names.IMAGE, names.LABEL, names.FOREGROUND, names.TARGET}
    try:
        certain = deepcopy(transform)
        for trial in (certain, deepcopy(transform)) if _make_certain(certain) else (certain,):
            for seed in range(TRIES):
                for key, found in _tried(trial, seed, first, keys, affine).items():
                    moved = _fitted(first, found)
                    if moved is None or not _mirrors(moved, axis):
                        continue
                    other = _tried(trial, seed, second, keys, affine).get(key)
                    if other is not None and _stray(moved, second, other) < STRAY:
                        return True
    except Exception as problem:
        log.debug("%s cannot be tried on a probe", type(transform).__name__, exc_info=problem)
        return any(name in type(transform).__name__.lower() for name in NAMES_OF_FLIPS)
    return False


def refuse_left_right(transforms: Sequence[Any], labels: Labels, affines: Iterable[Affine], dimensions: int) -> None:
    """Refuse random transforms that reverse left and right where labels cannot follow.

    Args:
        transforms: of the augmentation.
        labels: their pairs tell which structures change places; of an empty list none does, and any flip is allowed.
        affines: of the prepared volumes; those whose left–right axis is the same are tried once.
        dimensions: of the patches, see `reverses_left_right`.

    Raises:
        ConfigError: the labels have no pairs; or they have, and the transform does not swap these structures.
    """
    if not transforms:
        return
    pairs = labels.pairs
    turned = {anatomical_axis(affine, "LR"): affine for affine in affines}
    numbers = {frozenset(labels.structures.index(name) + 1 for name in pair) for pair in pairs or ()}
    for transform in transforms:
        if not any(reverses_left_right(transform, affine, dimensions) for affine in turned.values()):
            continue
        name = type(transform).__name__
        if pairs is None:
            raise ConfigError(
                f"{name} reverses left and right, which turns a right foot into a left one",
                mend="leave it out, or say in left_right_pairs which structures change places ([] for none)",
            )
        swaps = {frozenset(pair) for pair in getattr(transform, "pairs", None) or ()}
        if swaps != numbers:
            wanted = sorted(sorted(pair) for pair in numbers)
            raise ConfigError(
                f"{name} reverses left and right without swapping the labels of both sides",
                mend=f"use ankleseg.transforms.RandAnatomicalFlipd with axes [LR] and pairs {wanted}",
            )


def _spots(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the spots from the middle of the probe: along the axes, and along the diagonals for a second look."""
    axes = np.eye(dimensions)
    corners = np.array(list(product((-1.0, 1.0), repeat=dimensions)))
    return AWAY * np.concatenate([0 * axes[:1], axes, -axes]), 0.6 * AWAY * corners


def _blobs(spots: Places) -> Float[Tensor, "spots *probe"]:
    axes = np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * spots.shape[1], indexing="ij")
    squares = [np.sum([(axis - x) ** 2 for axis, x in zip(axes, spot, strict=True)], axis=0) for spot in spots]
    return torch.from_numpy(np.exp(-0.5 / BLOB**2 * np.stack(squares)).astype(np.float32))


def _tried(transform: Any, seed: int, spots: Places, keys: set[Any], affine: Affine) -> dict[Any, Places]:
    """Where the spots went in each array of the result; NaN for those that are gone."""
    if hasattr(transform, "set_random_state"):
        transform.set_random_state(seed)
    blobs = _blobs(spots)
    sample = {key: MetaTensor(blobs.clone(), affine=torch.from_numpy(np.array(affine, dtype=float))) for key in keys}
    bounds = torch.tensor([[0.0, 1.0]]).repeat(len(spots), 1)
    given = transform(sample | {names.AFFINE: affine, names.RANGE: bounds})
    samples = given if isinstance(given, list) else [given]
    return {key: _centres(samples[0][key], spots) for key in keys if key in samples[0]}


def _centres(result: Any, spots: Places) -> Places:
    array = torch.as_tensor(result.as_tensor() if isinstance(result, MetaTensor) else result).float()
    if array.ndim != spots.shape[1] + 1 or len(array) != len(spots):
        return np.full_like(spots, np.nan)
    flat = array.flatten(1)
    bright = (flat - flat.median(1, keepdim=True).values).abs()
    most = bright.amax(1, keepdim=True)
    weights = (bright - most / 2).clamp_min(0)
    weights[most[:, 0] <= SEEN * most.max()] = 0
    places = torch.stack(torch.meshgrid(*[torch.arange(n) for n in array.shape[1:]], indexing="ij")).flatten(1).float()
    return ((weights @ places.T) / weights.sum(1, keepdim=True)).double().numpy()


def _fitted(spots: Places, found: Places) -> Float[np.ndarray, "d_and_1 d"] | None:
    """The affine map of the spots that are still there; None where they are too few."""
    there = np.isfinite(found).all(1)
    before = np.column_stack([spots, np.ones(len(spots))])[there]
    if len(before) == 0 or np.linalg.matrix_rank(before) < before.shape[1]:
        return None
    return np.linalg.lstsq(before, found[there], rcond=None)[0]


def _stray(moved: np.ndarray, spots: Places, found: Places) -> float:
    """How far, root mean square in voxels, the spots lie from where a map puts them; infinite without spots."""
    there = np.isfinite(found).all(1)
    away = np.column_stack([spots, np.ones(len(spots))])[there] @ moved - found[there]
    return float(np.sqrt((away**2).sum(1).mean())) if len(away) >= spots.shape[1] else np.inf


def _mirrors(moved: np.ndarray, axis: int) -> bool:
    linear = moved[:-1].T
    whole = np.linalg.svd(linear, compute_uv=False).min() > LEAST_ZOOM
    return bool(whole and np.linalg.det(linear) < 0 and linear[axis, axis] < 0.1)


def _parts(transform: Any) -> list[Any]:
    """A transform and those inside it."""
    parts = [transform]
    for value in vars(transform).values() if hasattr(transform, "__dict__") else ():
        for inner in value if isinstance(value, list | tuple) else [value]:
            if hasattr(inner, "prob") or hasattr(inner, "transforms") or hasattr(inner, "keys"):
                parts += _parts(inner) if not isinstance(inner, dict | type) else []
    return parts


def _keys(transform: Any) -> set[Any]:
    return {key for part in _parts(transform) if isinstance(getattr(part, "keys", None), tuple) for key in part.keys}


def _make_certain(transform: Any) -> bool:
    """Let every part act that may act; tell whether that changed anything."""
    changed = False
    for part in _parts(transform):
        if isinstance(getattr(part, "prob", None), float | int) and 0 < part.prob < 1:
            part.prob, changed = 1.0, True
    return changed
