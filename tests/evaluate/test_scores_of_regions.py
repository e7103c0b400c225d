"""Regions lie inside each other: each is scored by its own mask, whoever predicted it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from segmentation_study import AFFINE, SHAPE, save

from ankleseg.cohorts import Case, Cohort, Reference, load_cohort
from ankleseg.evaluate import evaluate
from ankleseg.evaluate.volumetry import evaluate_volumetry
from ankleseg.measures import overlap

VALUES = {"whole": (1, 2, 3), "core": (2, 3), "enhancing": 3}
LABELS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
ML = abs(np.linalg.det(AFFINE)) / 1000


def tumour(shift: int) -> np.ndarray:
    """Three boxes inside each other, as a label map."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, margin in enumerate((0, 2, 3), start=1):
        labels[4 + margin : 16 - margin, 4 + margin + shift : 16 - margin + shift, margin : 8 - margin] = value
    return labels


def mask_of(labels: np.ndarray, name: str) -> np.ndarray:
    return np.isin(labels, VALUES[name])


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    save(tmp_path / "truth.nii.gz", tumour(0))
    sources = {name: Reference(tmp_path / "truth.nii.gz", value) for name, value in VALUES.items()}
    return Cohort(tmp_path, (Case("p1", "p1", {}, sources),), tuple(VALUES))


def predicted(folder: Path, *, masks: bool = True) -> Path:
    """A folder as ours, whose label map shows the innermost region of each voxel."""
    labels, files = tumour(1), {}
    save(folder / "p1" / "p1_labels.nii.gz", labels)
    for name in VALUES if masks else ():
        files[name] = f"p1/p1_label-{name}_mask.nii.gz"
        save(folder / files[name], mask_of(labels, name))
    row = {"case": "p1", "status": "ok", "message": "", "masks": files, "labels": "p1/p1_labels.nii.gz"}
    told = {"mode": "tiles", "structures": list(VALUES), "regions": True, "cases": [row]}
    (folder / "predictions.json").write_text(json.dumps(told))
    return folder


@pytest.mark.usefixtures("drawn")
def test_regions_inside_each_other_are_scored_one_by_one(cohort: Cohort, tmp_path: Path) -> None:
    nnunet = tmp_path / "nnunet"
    save(nnunet / "p1.nii.gz", tumour(1))
    (nnunet / "dataset.json").write_text(json.dumps({"labels": LABELS, "regions_class_order": [1, 2, 3]}))
    for folder in (predicted(tmp_path / "ours"), nnunet):
        result = evaluate(folder, cohort, tmp_path / "out")
        assert [row.structure for row in result.scores] == list(VALUES)
        for row in result.scores:
            mine, true = (mask_of(tumour(shift), row.structure) for shift in (1, 0))
            assert row.dice == pytest.approx(overlap(mine, true).dice), row.structure
            assert row.volume_ml == pytest.approx(np.count_nonzero(mine) * ML)
            assert row.hd95_mm == pytest.approx(1.0), "all boxes were moved by a voxel of 1 mm"
        assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    volumes = evaluate_volumetry(nnunet, tmp_path / "volumes", references=cohort, intracranial="whole").volumes
    for row in volumes:
        assert row.volume_error_percent == pytest.approx(0), row.structure
        assert row.intracranial_ml == pytest.approx(np.count_nonzero(tumour(0)) * ML)


def test_a_label_map_of_regions_is_not_taken_for_their_masks(cohort: Cohort, tmp_path: Path) -> None:
    result = evaluate(predicted(tmp_path / "ours", masks=False), cohort, tmp_path / "out")
    assert {row.status for row in result.scores} == {"no prediction"}


def test_predictions_are_compared_with_regions_of_a_dataset(tmp_path: Path) -> None:
    save(tmp_path / "set/imagesTr/p1_0000.nii.gz", tumour(0).astype(np.float32))
    save(tmp_path / "set/labelsTr/p1.nii.gz", tumour(0))
    told = {"labels": LABELS, "channel_names": {"0": "T1"}, "file_ending": ".nii.gz"}
    (tmp_path / "set/dataset.json").write_text(json.dumps(told))
    assert load_cohort(tmp_path / "set").regions
    result = evaluate(predicted(tmp_path / "ours"), tmp_path / "set", tmp_path / "out")
    assert [row.dice for row in result.scores] == [
        pytest.approx(overlap(mask_of(tumour(1), name), mask_of(tumour(0), name)).dice) for name in VALUES
    ]
