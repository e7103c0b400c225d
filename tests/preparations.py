"""Preparations as the files of ``conf/prepare`` write them, with what a test changes; and a scan in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from ankleseg.transforms import Preparation

VOLUMES = {"keys": ["image", "label", "target"], "allow_missing_keys": True}


def preparation(
    *,
    axcodes: str | None = "PSR",
    spacing: Sequence[float | None] | None = None,
    order: int = 1,
    side: str | None = None,
    foreground: dict[str, Any] | None = None,
    scaling: dict[str, Any] | None = None,
) -> Preparation:
    """Build a preparation.

    Args:
        axcodes: None turns the slices last.
        spacing, order: of `ResampleToSpacingd`.
        side: that is mirrored to.
        foreground: arguments of `ForegroundMaskd`.
        scaling: arguments of `ScaleInForegroundd`; None z-scores.
    """
    turn = {"_target_": "ankleseg.transforms.SlicesLastd"}
    if axcodes is not None:
        turn = {"_target_": "monai.transforms.Orientationd", "axcodes": axcodes, "labels": None}
    scale = "NormalizeInForegroundd" if scaling is None else "ScaleInForegroundd"
    ours = {
        "ClipSpikesd": {"keys": ["image"]},
        "ResampleToSpacingd": {"pixdim": spacing, "mode": [order, 0, order], **VOLUMES},
        "MirrorToSided": {"side": side, **VOLUMES},
        "ForegroundMaskd": {"keys": ["image"], **(foreground or {})},
        scale: {"keys": ["image"], **(scaling or {})},
    }
    nodes = [{"_target_": f"ankleseg.transforms.{name}", **arguments} for name, arguments in ours.items()]
    return Preparation([nodes[0], turn | VOLUMES, *nodes[1:]])


def in_memory(image: np.ndarray, affine: np.ndarray, side: str = "", **others: np.ndarray) -> dict[str, Any]:
    """A scan (X, Y, Z), or (C, X, Y, Z), as it is read, with more arrays on its grid."""
    arrays = {"image": image.astype(np.float32), **others}
    tensors = {
        key: torch.from_numpy(np.array(array if array.ndim == 4 else array[None])) for key, array in arrays.items()
    }
    placed = {key: MetaTensor(tensor, affine=torch.from_numpy(affine)) for key, tensor in tensors.items()}
    return placed | {"side": side}
