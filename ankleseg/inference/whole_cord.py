"""A whole cord in one scan, of which each part is segmented by the network that knows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ankleseg.errors import ConfigError
from ankleseg.inference.model import Model
from ankleseg.measures import Centreline
from ankleseg.volumes.geometry import Affine, anatomical_axis

BLEND = 20.0  # mm along the cord, half on either side of a cut, over which one network gives way to the next

Cut = float | str  # z of the world in mm, or a share of the cord's length from above, such as 40%


def require_cuts(cuts: Sequence[Cut], models: Sequence[Model], along: bool) -> None:
    """Refuse cuts that the models do not fit.

    Args:
        cuts: where the next model takes over, from above.
        models: that segment.
        along: whether they do so along a centreline.

    Raises:
        ConfigError: there is not a model more than cuts, no centreline, or a cut is neither mm nor a share.
    """
    if not cuts:
        return
    for cut in cuts:
        _checked(cut)
    if not along:
        raise ConfigError(
            "cuts are given, and no checkpoint segments along a centreline", mend="leave them out, or give cord_unet3d"
        )
    if len(models) != len(cuts) + 1:
        raise ConfigError(
            f"invalid cuts {list(cuts)}: expected one fewer than the {len(models)} segmentation checkpoints",
            mend="name a checkpoint for each part of the cord, from above",
        )


def parts_of_slices(
    cuts: Sequence[Cut], centreline: Centreline, shape: Sequence[int], affine: Affine
) -> tuple[int, Float[np.ndarray, "parts slices"]]:
    """How much each part of the cord counts in each slice of a grid; all parts of a slice sum to 1.

    Args:
        cuts: see `require_cuts`.
        centreline: of the cord; beyond its ends a slice is what it is there.
        shape, affine: of the grid, whose slices lie along the axis nearest to superior–inferior.

    Returns:
        That axis of the grid, and the weights, the uppermost part first.

    Raises:
        ConfigError: a cut lies beyond the cord, or above the one before it.
    """
    axis = anatomical_axis(affine, "IS")
    points = centreline.points[::-1]
    depths = np.concatenate([[0.0], np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum()])
    inverse = np.linalg.inv(affine)
    rows = points @ inverse[axis, :3] + inverse[axis, 3]
    order = np.argsort(rows)
    depth = np.interp(np.arange(shape[axis]), rows[order], depths[order])  # mm along the cord from its upper end
    places = [_depth_of(cut, points[:, 2], depths) for cut in cuts]
    if places != sorted(places):
        raise ConfigError(f"invalid cuts {list(cuts)}: expected them from above to below", mend="change their order")
    above = [np.clip(0.5 - (depth - place) / BLEND, 0, 1) for place in places]
    return axis, np.diff(np.array([np.zeros_like(depth), *above, np.ones_like(depth)]), axis=0)


def _depth_of(cut: Cut, heights: Float[np.ndarray, "n"], depths: Float[np.ndarray, "n"]) -> float:
    """Where a cut lies, in mm along the cord from its upper end."""
    value = _checked(cut)
    if isinstance(cut, str):
        return value * float(depths[-1])
    if not heights.min() < value < heights.max():
        raise ConfigError(
            f"invalid cut at z = {value:g} mm: the cord goes from {heights.min():.0f} to {heights.max():.0f} mm",
            mend="choose a z between, or a share of its length such as 40%",
        )
    return float(np.interp(-value, -heights, depths))


def _checked(cut: Cut) -> float:
    """A cut as mm, or as a fraction of the length.

    Raises:
        ConfigError: it is neither.
    """
    try:
        share = float(cut.removesuffix("%")) / 100 if isinstance(cut, str) and cut.endswith("%") else None
        value = float(cut) if share is None else share
    except ValueError:
        value = np.nan
    if np.isfinite(value) and (not isinstance(cut, str) or 0 < value < 1):
        return value
    raise ConfigError(f"invalid cut {cut!r}: expected z in mm, or a share such as 40%", mend="give one of the two")
