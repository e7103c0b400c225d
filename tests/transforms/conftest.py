"""A small synthetic foot: a bright body in noise with two bones, on a sagittal grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ankleseg.cohorts import Case, Reference
from ankleseg.volumes import write_volume

PSR = np.array([[0, 0, 3.0, -20], [-0.9, 0, 0, 10], [0, 0.7, 0, 5], [0, 0, 0, 1]])  # axes posterior, superior, right
SHAPE = (40, 36, 10)


@pytest.fixture
def affine() -> np.ndarray:
    return PSR.copy()


@pytest.fixture
def foot() -> dict[str, np.ndarray]:
    """``image`` (int16), ``body``, and two bones ``heel`` and ``shin``; no two axes look alike."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2 < 1
    heel = (x - 0.3) ** 2 + (y + 0.2) ** 2 + (z - 0.2) ** 2 < 0.06
    shin = (x + 0.3) ** 2 + ((y - 0.3) / 1.5) ** 2 + (z + 0.1) ** 2 < 0.04
    noise = np.random.default_rng(0).normal(0, 20, SHAPE)
    image = np.abs(400 * body + 500 * heel + 700 * shin + noise).astype(np.int16)
    return {"image": image, "body": body, "heel": heel, "shin": shin}


@pytest.fixture
def write_case(tmp_path: Path, foot: dict[str, np.ndarray], affine: np.ndarray) -> Callable[..., Case]:
    """Write the foot, or arrays and affines given instead of its own, and return its case."""

    def write(name: str = "s1", *, side: str | None = None, affines: dict | None = None, **arrays: np.ndarray) -> Case:
        content = {key: arrays.get(key, foot[key]) for key in ("image", "heel", "shin")}
        paths = {}
        for key, array in content.items():
            stored = array.astype(np.uint8) if array.dtype == bool else array
            path = tmp_path / f"{name}_{key}.nii.gz"
            paths[key] = write_volume(path, stored, (affines or {}).get(key, affine))
        references = {key: Reference(paths[key]) for key in ("heel", "shin")}
        return Case(name=name, subject=name, channels={"image": paths["image"]}, references=references, side=side)

    return write
