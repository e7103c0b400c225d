"""An image study: fine references with their cortex, and predictions made from thick scans of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from ankleseg.volumes import write_volume

SHAPE = (26, 28, 24)
THICK = 4  # fine slices in a thick one
CASES = ("sub-B01", "sub-B02")
AFFINE = np.array([[1.0, 0, 0, -13], [0, 1.0, 0, -14], [0, 0, 1.0, -12], [0, 0, 0, 1]])
THICK_AFFINE = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, THICK, (THICK - 1) / 2], [0, 0, 0, 1.0]])
SMOOTH = ("nearest", "linear", "cubic spline")


def anatomy(case: str) -> np.ndarray:
    generator = np.random.default_rng(CASES.index(case))
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    head = (grid**2).sum(0) < 0.7
    field = gaussian_filter(generator.normal(size=SHAPE), 1.5)
    return np.where(head, 400 + 150 * field / field.std(), 0).clip(0).astype(np.float32)


def cortex(case: str) -> np.ndarray:
    return anatomy(case) > 420


def thick(image: np.ndarray) -> np.ndarray:
    return image.reshape(*SHAPE[:2], -1, THICK).mean(axis=3)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_volume(path, data.astype(np.uint8) if data.dtype == bool else data.astype(np.float32), affine)


def write_references(root: Path) -> Path:
    """A BIDS cohort of two fine scans with their cortex."""
    for name in CASES:
        save(root / name / "anat" / f"{name}_T2w.nii.gz", anatomy(name))
        save(root / f"derivatives/manual/{name}/anat/{name}_label-cortex_mask.nii.gz", cortex(name))
    return root


class Folder:
    """Predictions from thick scans: half-way between the truth and a blurred one, until something is changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"mode": "tiles", "window": [16] * 3, "structures": [], "images": ["sharp"]}
        self.content["checkpoint"] = "/home/someone/runs/brain/2025-01-02/checkpoints/best.ckpt"
        self.content["cases"] = []
        for name in CASES:
            image = save(path.parent / "thick" / f"{name}.nii.gz", thick(anatomy(name)), THICK_AFFINE)
            row = {"case": name, "subject": name, "group": None, "side": None, "image": str(image), "status": "ok"}
            row |= {"message": "", "masks": {}, "images": {"sharp": f"{name}/{name}_sharp.nii.gz"}}
            self.content["cases"].append(row)
            self.put(name, self.usual(name))

    @staticmethod
    def usual(case: str) -> np.ndarray:
        return (anatomy(case) + gaussian_filter(anatomy(case), (0, 0, 1))) / 2

    def put(self, case: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
        save(self.path / case / f"{case}_sharp.nii.gz", data, affine)

    def put_mask(self, case: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
        self.content["structures"] = ["cortex"]
        file = f"{case}/{case}_label-cortex_mask.nii.gz"
        save(self.path / file, data, affine)
        self.row(case)["masks"] = {"cortex": file}

    def row(self, case: str) -> dict[str, Any]:
        return next(row for row in self.content["cases"] if row["case"] == case)

    def done(self) -> Path:
        (self.path / "predictions.json").write_text(json.dumps(self.content))
        return self.path


def rows_of(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(out / "quality.csv", newline="") as file:
        return {(row["case"], row["image"], row["region"]): row for row in csv.DictReader(file)}
