"""An image, what became of it, what it was to become, and their difference, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

GAP = 4  # pixels between the panels
WINDOW = (0.5, 99.5)  # percentiles of the target that are black and white


def side_by_side(
    image: Float[np.ndarray, "rows columns"],
    restored: Float[np.ndarray, "rows columns"],
    target: Float[np.ndarray, "rows columns"],
    *,
    spacing: Sequence[float] = (1.0, 1.0),
) -> UInt8[np.ndarray, "height width 3"]:
    """Draw one slice four times, as RGB: image, restored and target in one window, then restored minus target.

    In the difference, grey is none; black and white are half of the window. Nothing is interpolated: where pixels are
    longer along one axis they are repeated.

    Args:
        image, restored, target: intensities of one scale; rows run downwards.
        spacing: mm between rows and between columns.
    """
    dark, bright = np.percentile(target, WINDOW)
    extent = max(bright - dark, 1e-12)
    panels = [(shown - dark) / extent for shown in (image, restored, target)]
    panels.append((restored - target) / extent + 0.5)
    repeats = np.maximum(np.rint(np.asarray(spacing) / min(spacing)), 1).astype(int)
    gap = np.ones((image.shape[0] * repeats[0], GAP))
    parts = [np.repeat(np.repeat(panel, repeats[0], 0), repeats[1], 1) for panel in panels]
    row = np.hstack([part for panel in parts for part in (gap, panel)][1:])
    return np.repeat((np.clip(row, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
