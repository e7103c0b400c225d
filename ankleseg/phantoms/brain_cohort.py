"""Cohorts of digital brains on disk, in the BIDS layout, with exact masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ankleseg.phantoms.brain import AGE_GROUPS, Age, draw_brain
from ankleseg.phantoms.brain_exam import BrainScans, brain_exam, brain_generators
from ankleseg.phantoms.brain_labels import BrainLabels
from ankleseg.phantoms.brain_protocol import (
    BrainContrast,
    ThickSlices,
    as_thick,
    brain_grid,
    check_brain_settings,
)
from ankleseg.phantoms.cohort import write_cohort
from ankleseg.phantoms.protocol import Size

BRAIN_EDITION = 2  # raised whenever the same settings give other images


def write_brain_cohort(
    out: str | Path,
    *,
    size: Size = "demo",
    subjects: int = 8,
    seed: int = 0,
    age: Age = "neonate",
    contrast: BrainContrast = "both",
    thick: Sequence[float] | None = None,
    profile: Literal["box", "gaussian"] = "gaussian",
    thickness: float | None = None,
    echoes: int = 1,
    workers: int | None = None,
) -> Path:
    """Write a cohort of digital heads (sub-B01…), each imaged isotropically and, if asked for, in thick slices.

    Args:
        out: folder of the cohort; one that already holds this phantom is used as it is.
        size: ``full`` is 208×248×192 voxels of 0.5 mm (of a child: 0.8 mm), ``demo`` 104×124×96 of 1.0 mm (1.6 mm).
        subjects: how many; a subject is the same whatever their number.
        seed: another seed, other heads.
        age: ``neonate`` or ``child``.
        contrast: ``t2``, ``t1``, ``both``, or ``random`` for a different, made-up contrast of every subject, written as
            ``T2w``.
        thick: voxel in mm of a further scan of the same head (``acq-thick``) that covers the same field of view.
        profile, thickness: of its slices; see `ThickSlices`.
        echoes: if above 1, so many thick T2-weighted scans at growing echo times (``acq-te1``…) instead of the one.
        workers: subjects made at once; None: one for each core.

    Returns:
        `out`.

    Raises:
        ConfigError: an unknown size, age or contrast, no subject, or thick slices that cannot be.
        AnklesegError: `out` holds something else.
    """
    check_brain_settings(size, age, contrast, subjects)
    slices = as_thick(thick, profile, thickness, echoes)
    settings: dict[str, Any] = {
        "cohort": "brain", "recipe": BRAIN_EDITION, "size": size, "subjects": subjects, "seed": seed, "age": age,
        "contrast": contrast,
    }  # fmt: skip
    if slices is not None:
        settings["thick"] = {
            "spacing": list(slices.spacing), "profile": profile, "thickness": thickness, "echoes": slices.echoes,
        }  # fmt: skip

    def make(name: str) -> BrainScans:
        return brain_scans(name, size=size, seed=seed, age=age, contrast=contrast, thick=slices)

    return write_cohort(out, settings, [f"sub-B{number + 1:02d}" for number in range(subjects)], make, workers)


def brain_scans(
    name: str,
    *,
    size: Size = "demo",
    seed: int = 0,
    age: Age = "neonate",
    contrast: BrainContrast = "both",
    thick: ThickSlices | None = None,
) -> BrainScans:
    """Draw one subject of a cohort and image it; `name` is ``sub-B01`` and so on."""
    generators = brain_generators(name, seed)
    brain = draw_brain(generators["anatomy"], age=age)
    grid = brain_grid(size, age, generators["field"])
    exam = brain_exam(grid, age, brain.scale, generators)
    row = {"age": f"{brain.age:.1f}", "age_unit": AGE_GROUPS[age].unit}
    return exam.take(BrainLabels(brain, grid), contrast, thick, row)
