"""Predicting a scan in its mirror images too, and averaging what they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from ankleseg.errors import ConfigError
from ankleseg.labels import Labels
from ankleseg.volumes.geometry import ANATOMICAL_AXES, Affine, anatomical_axis

Volume = Float[Tensor, "c x y z"]


def checked_flips(flips: Sequence[str] | None, labels: Labels) -> tuple[str, ...]:
    """The axes of the patient that scans are mirrored along.

    Raises:
        ConfigError: an axis is unknown; or it is LR, and it is not known which structures change places then.
    """
    axes = (flips,) if isinstance(flips, str) else tuple(dict.fromkeys(flips or ()))
    for axis in axes:
        if axis not in ANATOMICAL_AXES:
            raise ConfigError(
                f"invalid predict.flips {axis!r}: expected some of {', '.join(ANATOMICAL_AXES)}", mend="e.g. [LR]"
            )
    if "LR" in axes and labels.pairs is None:
        raise ConfigError(
            "predict.flips: a left-right flip turns a right foot into a left one",
            mend="leave LR out, or train with left_right_pairs ([] where every structure is its own mirror image)",
        )
    return axes


def averaged_over_flips(
    predict: Callable[[tuple[int, ...]], Volume], flips: Sequence[str], affine: Affine, labels: Labels
) -> Volume:
    """Mean of what is predicted of a volume and of each of its mirror images, brought back.

    MONAI's ``TestTimeAugmentation`` prepares the scan anew for each of many random draws, and holds them all; here the
    prepared scan is turned, 2ⁿ times for n axes, and one sum is held.

    Args:
        predict: gives (values, X, Y, Z) of the volume, reversed along these axes, as it then lies.
        flips: axes of the patient, ``LR``, ``PA`` or ``IS``.
        affine: of the prepared volume.
        labels: what the values are; structures of a left–right pair change places.
    """
    chosen = [[()] if axis not in flips else [(), (anatomical_axis(affine, axis),)] for axis in ANATOMICAL_AXES]
    images = len(labels.images)
    total: Tensor | None = None
    turns = list(product(*chosen))
    for turn in turns:
        axes = tuple(axis for part in turn for axis in part)
        values = predict(axes)
        if axes:
            values = values.flip([axis + 1 for axis in axes])
        if "LR" in flips and anatomical_axis(affine, "LR") in axes:
            order = [*range(images), *(images + k for k in labels.mirrored_order())]
            values = values[order]
        total = values if total is None else total.add_(values)
    assert total is not None
    return total.div_(len(turns)) if len(turns) > 1 else total


def reversed_along(array: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """An array (C, X, Y, Z) reversed along spatial axes; itself where there are none."""
    return array.flip([axis + 1 for axis in axes]) if axes else array
