"""Rows of an evaluation of motion, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WRONG_MM = 1.0  # a pose further off than this is wrong
ALL = "all"
MISSING = "missing"
CALLED = ("ok", "suspect", "failed", ALL)


@dataclass(frozen=True)
class PoseScore:
    """A row of ``motion.csv``: one bone on one frame; None where there is nothing to compare.

    ``status``: ``ok``, ``suspect`` or ``failed`` as the pipeline says, ``missing`` where it says nothing.
    """

    subject: str
    group: str | None
    side: str | None
    sequence: str
    frame: int
    bone: str
    status: str
    error_mm: float | None = None
    rotation_deg: float | None = None
    dice: float | None = None
    correlation: float | None = None
    message: str = ""


@dataclass(frozen=True)
class AngleScore:
    """A row of ``angles.csv``: one angle of a joint on one frame; ``status`` is that of the worse of its two bones."""

    subject: str
    group: str | None
    side: str | None
    sequence: str
    frame: int
    joint: str
    angle: str
    status: str
    estimated_deg: float | None = None
    true_deg: float | None = None
    error_deg: float | None = None
    reported_deg: float | None = None
    model_deg: float | None = None
    model_error_deg: float | None = None


def wrong_called_ok(rows: Sequence[PoseScore]) -> list[PoseScore]:
    """Poses that are called ok and are off by more than 1 mm, the worst first."""
    wrong = [row for row in rows if row.status == "ok" and row.error_mm is not None and row.error_mm > WRONG_MM]
    return sorted(wrong, key=lambda row: -(row.error_mm or 0.0))


def summarise_poses(rows: Sequence[PoseScore]) -> list[dict[str, Any]]:
    """Describe errors by what the pipeline called them, for each bone and for all bones.

    Every entry counts its ``rows``, those with ``poses`` to compare, and the ``wrong`` ones (off by more than 1 mm),
    and describes ``error_mm``, ``rotation_deg`` (median, 95th percentile, greatest) and ``dice`` (median, 5th
    percentile, least). ``called`` all is everything, also what is ``missing``.
    """
    bones = list(dict.fromkeys(row.bone for row in rows))
    entries = []
    for called in CALLED:
        for bone in (*bones, ALL):
            chosen = [row for row in rows if called in (row.status, ALL) and bone in (row.bone, ALL)]
            errors = [row.error_mm for row in chosen]
            entries.append(
                {
                    "called": called,
                    "bone": bone,
                    "rows": len(chosen),
                    "poses": sum(error is not None for error in errors),
                    "missing": sum(row.status == MISSING for row in chosen),
                    "wrong": sum(error is not None and error > WRONG_MM for error in errors),
                    "error_mm": _percentiles(errors, {"median": 50, "p95": 95, "max": 100}),
                    "rotation_deg": _percentiles(
                        [row.rotation_deg for row in chosen], {"median": 50, "p95": 95, "max": 100}
                    ),
                    "dice": _percentiles([row.dice for row in chosen], {"median": 50, "p05": 5, "min": 0}),
                }
            )
    return entries


def summarise_angles(rows: Sequence[AngleScore]) -> list[dict[str, Any]]:
    """Root-mean-square and greatest errors of every joint and angle, of frames called ok and of all.

    ``rms_deg`` and ``max_deg`` compare estimated and true poses in the same axes; ``model_rms_deg`` and
    ``model_max_deg`` compare what the pipeline reports with the angles that the phantom was built by.
    """
    kinds = list(dict.fromkeys((row.joint, row.angle) for row in rows))
    entries = []
    for called in ("ok", ALL):
        for joint, angle in kinds:
            chosen = [r for r in rows if called in (r.status, ALL) and (r.joint, r.angle) == (joint, angle)]
            same = _known([row.error_deg for row in chosen])
            model = _known([row.model_error_deg for row in chosen])
            entries.append(
                {
                    "called": called,
                    "joint": joint,
                    "angle": angle,
                    "rows": len(chosen),
                    "n": len(same),
                    "rms_deg": _rms(same),
                    "max_deg": float(abs(same).max()) if len(same) else None,
                    "model_n": len(model),
                    "model_rms_deg": _rms(model),
                    "model_max_deg": float(abs(model).max()) if len(model) else None,
                }
            )
    return entries


def _known(values: Sequence[float | None]) -> np.ndarray:
    return np.array([value for value in values if value is not None], dtype=float)


def _rms(values: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if len(values) else None


def _percentiles(values: Sequence[float | None], wanted: dict[str, float]) -> dict[str, float | None]:
    known = _known(values)
    return {name: float(np.percentile(known, share)) if len(known) else None for name, share in wanted.items()}
