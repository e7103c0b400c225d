"""Registrations against labels and true fields, by numbers worked out by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ankleseg.errors import AnklesegError
from ankleseg.evaluate.recipes import registration
from ankleseg.evaluate.registration import evaluate_registration
from ankleseg.volumes import write_volume
from ankleseg.volumes.displacement_fields import read_displacement_field, write_displacement_field

SHAPE, AFFINE = (10, 8, 6), np.diag([2.0, 1.0, 1.0, 1.0])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two registrations: one half a structure off and 0.3 mm from the truth, one that cannot be read."""
    labels = np.zeros(SHAPE, np.int16)
    labels[2:4, 2:6, 2:5], labels[6:8, 2:6, 2:5] = 1, 2
    moved = np.roll(labels, 1, axis=0)
    moved[moved == 2] = 0
    for name in ("right", "broken"):
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True)
        content = {
            "settings": {"method": "descent"},
            "status": "ok",
            "folded": 0.0,
            "log_jacobian_sd": 0.1,
            "seconds": 2,
        }
        (folder / "registration.json").write_text(json.dumps(content))
    folder = tmp_path / "out" / "right"
    write_volume(folder / "moved_labels.nii.gz", moved, AFFINE)
    field = np.zeros((*SHAPE, 3), np.float32)
    write_displacement_field(folder / "field.nii.gz", field, AFFINE)
    write_volume(tmp_path / "truth" / "right_labels.nii.gz", labels, AFFINE)
    write_displacement_field(tmp_path / "truth" / "right_field.nii.gz", field + np.float32([0.3, 0, 0]), AFFINE)
    write_volume(tmp_path / "truth" / "broken_labels.nii.gz", labels, AFFINE)
    return tmp_path


def test_the_scores_by_hand(study: Path):
    found = evaluate_registration(study / "out", study / "truth", study / "scores", date="today")
    broken, right = found.registrations
    diagonal = float(np.linalg.norm(np.array(SHAPE) * [2, 1, 1]))
    assert (right.labels, right.status, right.method, right.seconds) == (2, "scored", "descent", 2)
    assert right.dice == pytest.approx((0.5 + 0) / 2)
    assert right.hd95_mm == pytest.approx((2 + diagonal) / 2)
    assert [right.target_error_mm, right.target_error_p95_mm] == pytest.approx([0.3, 0.3])
    assert [row.finding for row in found.labels] == ["ok", "missed"]
    assert broken.status == "unreadable" and "moved_labels.nii.gz" in broken.message
    assert found.describe().splitlines()[1] == "right: Dice 0.250 over 2 labels, target error 0.30 mm, 0.000% folded"
    rows = list(csv.DictReader((study / "scores/registrations.csv").open()))
    assert [row["registration"] for row in rows] == ["broken", "right"] and rows[1]["dice"] == "0.25"
    page = (study / "scores/report.html").read_text()
    assert "NiftyReg" in page and "−8.49" in page and "0.250" in page


def test_a_field_is_read_as_it_was_written(study: Path):
    field = read_displacement_field(study / "truth/right_field.nii.gz")
    assert field.data.shape == (*SHAPE, 3) and np.allclose(field.data, [0.3, 0, 0])
    with pytest.raises(AnklesegError, match="is no displacement field: its shape is 10×8×6, expected X×Y×Z×1×3"):
        read_displacement_field(study / "truth/right_labels.nii.gz")


def test_what_cannot_be_scored_is_one_line(study: Path):
    with pytest.raises(AnklesegError, match="truth: holds no registration"):
        registration(str(study / "truth"), str(study / "truth"), str(study / "scores"))
    (study / "empty").mkdir()
    with pytest.raises(AnklesegError, match="nothing could be scored: no labels and no true field of its name"):
        registration(str(study / "out" / "right"), str(study / "empty"), str(study / "scores"))


def test_labels_that_are_empty_give_no_target_error(study: Path):
    for name in ("out/right/moved_labels", "truth/right_labels"):
        write_volume(study / f"{name}.nii.gz", np.zeros(SHAPE, np.int16), AFFINE)
    row = evaluate_registration(study / "out" / "right", study / "truth", study / "scores").registrations[0]
    assert (row.status, row.dice, row.target_error_mm, row.target_error_p95_mm) == ("scored", None, None, None)
