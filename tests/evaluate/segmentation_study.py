"""A segmentation study: references with two block-shaped bones, and prediction folders in the making."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from ankleseg.volumes import write_volume

AFFINE = np.array([[0, 0, 2.0, -10], [-1.0, 0, 0, 30], [0, 1.0, 0, 5], [0, 0, 0, 1]])  # sagittal, PSR
SHAPE = (30, 28, 8)
STRUCTURES = ("talus", "tibia")
CASES = {"sub-C01": "control", "sub-C02": "control", "sub-E01": "equinus", "sub-E02": "equinus"}


def bone(structure: str) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[(slice(5, 15), slice(4, 12), slice(2, 6)) if structure == "talus" else np.s_[8:20, 15:25, 1:7]] = True
    return mask


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, data.astype(np.uint8) if data.dtype == bool else data, affine)


def write_references(root: Path) -> Path:
    """A BIDS cohort of two controls and two equinus, with two block-shaped bones."""
    noise = np.random.default_rng(0)
    for name in CASES:
        image = 100 + 300 * (bone("talus") | bone("tibia")) + noise.normal(0, 20, SHAPE)
        save(root / name / "anat" / f"{name}_T1w.nii.gz", image.astype(np.int16))
        for structure in STRUCTURES:
            save(root / f"derivatives/manual/{name}/anat/{name}_label-{structure}_mask.nii.gz", bone(structure))
    rows = [f"{name}\t{group}\t{'left' if name.endswith('1') else 'right'}" for name, group in CASES.items()]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tgroup\tside", *rows]) + "\n")
    return root


class Folder:
    """A prediction folder in the making: perfect, until a mask or a case is changed."""

    def __init__(self, path: Path, mode: str = "tiles") -> None:
        self.path = path
        self.content: dict[str, Any] = {"mode": mode, "window": [128, 128], "structures": list(STRUCTURES)}
        self.content["checkpoint"] = ["/home/someone/runs/ankle/2025-01-02/checkpoints/best.ckpt"]
        self.content["cases"] = []
        for name, group in CASES.items():
            masks = {structure: f"{name}/{name}_label-{structure}_mask.nii.gz" for structure in STRUCTURES}
            row = {"case": name, "subject": name, "group": group, "side": "left", "image": f"/nowhere/{name}.nii.gz"}
            self.content["cases"].append({**row, "status": "ok", "message": "", "masks": masks, "patches": []})
            for structure in STRUCTURES:
                self.put(name, structure, bone(structure))

    def mask(self, case: str, structure: str) -> Path:
        return self.path / case / f"{case}_label-{structure}_mask.nii.gz"

    def put(self, case: str, structure: str, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
        save(self.mask(case, structure), data, affine)

    def row(self, case: str) -> dict[str, Any]:
        return next(row for row in self.content["cases"] if row["case"] == case)

    def done(self) -> Path:
        (self.path / "predictions.json").write_text(json.dumps(self.content))
        return self.path


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with open(out / "metrics.csv", newline="") as file:
        return {(row["case"], row["structure"]): row for row in csv.DictReader(file)}
