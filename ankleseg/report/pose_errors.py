"""Figure of the errors of poses, as PNG bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from ankleseg.report.colours import STRUCTURE_COLOURS, colours

INK = "#222222"
RESOLUTION = 150  # dots per inch
MARKERS = {"ok": "o", "suspect": "^", "failed": "x"}
LEAST_MM = 1e-3  # an exact pose has no place on a logarithmic axis


def pose_errors(
    bone: Sequence[str],
    status: Sequence[str],
    error_mm: Sequence[float],
    correlation: Sequence[float | None],
    *,
    limit_mm: float,
) -> bytes:
    """Draw target errors by bone and against the correlation; the four sequences run in parallel.

    Args:
        bone: names.
        status: ``ok``, ``suspect`` or ``failed``.
        error_mm: drawn on a logarithmic axis, 0.001 mm at least.
        correlation: None is left out of the second panel.
        limit_mm: where a line is drawn.
    """
    from matplotlib.figure import Figure

    bones = list(dict.fromkeys(bone))
    colour = colours(bones, STRUCTURE_COLOURS)
    errors = np.maximum(np.asarray(error_mm, dtype=float), LEAST_MM)
    across = np.array([bones.index(name) for name in bone]) + np.random.default_rng(0).uniform(-0.3, 0.3, len(bone))
    figure = Figure(figsize=(8.4, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name in bones:
        for said, marker in MARKERS.items():
            chosen = [i for i, pair in enumerate(zip(bone, status, strict=True)) if pair == (name, said)]
            style = {"color": colour[name], "marker": marker, "s": 16, "alpha": 0.8}
            left.scatter(across[chosen], errors[chosen], **style)
            told = [i for i in chosen if correlation[i] is not None]
            right.scatter([float(correlation[i] or 0) for i in told], errors[told], **style)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.axhline(limit_mm, color=INK, lw=0.8, ls="--")
        axes.spines[["top", "right"]].set_visible(False)
    left.set_xticks(range(len(bones)), bones)
    left.set_ylabel("target error, mm")
    right.set_xlabel("correlation")
    handles = [left.scatter([], [], color=INK, marker=marker, s=16, label=said) for said, marker in MARKERS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return stream.getvalue()
