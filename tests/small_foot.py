"""A small synthetic foot: a bright body in noise with two bones, on a sagittal grid."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from ankleseg.cohorts import Case, Reference
from ankleseg.volumes import write_volume

AFFINE = np.array([[0, 0, 3.0, -20], [-0.9, 0, 0, 10], [0, 0.7, 0, 5], [0, 0, 0, 1]])  # posterior, superior, right
SHAPE = (40, 36, 10)


@cache
def foot() -> dict[str, np.ndarray]:
    """``image`` (int16), ``body``, and two bones ``heel`` and ``shin``; no two axes look alike. Read only."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2 < 1
    heel = (x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.2) ** 2 < 0.06
    shin = (x + 0.3) ** 2 + ((y - 0.3) / 1.5) ** 2 + (z + 0.1) ** 2 < 0.04
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    image = np.abs(400 * body + 500 * heel + 700 * shin + noise).astype(np.int16)
    return {"image": image, "body": body, "heel": heel, "shin": shin}


def write_foot(
    folder: Path, name: str = "s1", *, side: str | None = None, affines: dict | None = None, **arrays: np.ndarray
) -> Case:
    """Write the foot, or arrays and affines given instead of its own, and return its case."""
    paths = {}
    for key in ("image", "heel", "shin"):
        array = arrays.get(key, foot()[key])
        stored = array.astype(np.uint8) if array.dtype == bool else array
        paths[key] = write_volume(folder / f"{name}_{key}.nii.gz", stored, (affines or {}).get(key, AFFINE))
    references = {key: Reference(paths[key]) for key in ("heel", "shin")}
    return Case(name=name, subject=name, channels={"image": paths["image"]}, references=references, side=side)
