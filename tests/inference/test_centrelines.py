"""A cord is segmented along its centreline, which a model finds or a file gives, on the grid of the input."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from laws import for_all
from scipy.spatial.transform import Rotation
from small_models import model_of, tiles_of
from torch import nn

from ankleseg.cohorts import Case, Reference
from ankleseg.errors import AnklesegError, CheckpointError, ConfigError, FileError
from ankleseg.inference import Model, Postprocessing, predict_case, predict_cases
from ankleseg.inference.centrelines import (
    by_role,
    given_centreline,
    needs_centreline,
    read_centreline,
    reference_centreline,
    require_centreline,
    write_centreline,
)
from ankleseg.measures import Centreline, overlap
from ankleseg.runs.testing import predict_known
from ankleseg.transforms import Preparation
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

ORIENTATIONS = ["".join(codes) for order in permutations(("LR", "PA", "IS")) for codes in product(*order)]


class Bright(nn.Module):
    """Probability rises where the intensity exceeds a level."""

    divisor = 4

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * (x - self.level)


def finder(**others) -> Model:
    made = model_of(Bright(2.0).eval(), "prepare=cord_centreline", structures=["cord"], window=(48, 48))
    return replace(made, path=Path("centreline.ckpt"), **others)


def along() -> Model:
    overrides = ["prepare=cord_along", "prepare.window=[24,24]"]
    made = model_of(Bright(0.6).eval(), *overrides, structures=["cord"], window=(24, 24))
    *others, last = made.preparation.nodes
    learnt = Preparation([*others, last | {"mean": 0.0, "std": 1.0}])  # intensities stay from 0 to 1
    return replace(made, path=Path("along.ckpt"), preparation=learnt)


def neck(folder: Path, codes: str = "PSR", turn: float = 0.0) -> tuple[Case, np.ndarray]:
    """A bright cord in a dim body, that ends above the floor of the image, and something bright far from it."""
    shape = (34, 44, 40)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(float)
    z = grid[..., 2]
    cord = (((grid[..., 0] - 16 - 2 * np.sin(z / 9)) / 3.2) ** 2 + ((grid[..., 1] - 20 - z / 12) / 2.6) ** 2 < 1) & (
        z >= 8
    )
    body = ((grid[..., 0] - 17) / 15) ** 2 + ((grid[..., 1] - 22) / 20) ** 2 < 1
    vessel = ((grid[..., 0] - 17) / 1.2) ** 2 + ((grid[..., 1] - 37) / 1.2) ** 2 < 1
    image = 10 + 200 * body + 600 * cord + 600 * (vessel & (z < 5))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [turn, turn, -turn], degrees=True).as_matrix() * [1.0, 1.0, 1.5]
    affine[:3, 3] = (-15, 8, -300)
    stored, stored_affine = reorient(image.astype(np.int16), affine, codes)
    mask = np.ascontiguousarray(reorient(cord, affine, codes)[0])
    path = folder / f"neck_{codes}.nii.gz"
    write_volume(path, np.ascontiguousarray(stored), stored_affine)
    write_volume(folder / f"neck_{codes}_cord.nii.gz", mask.astype(np.uint8), stored_affine)
    return Case(name=f"neck_{codes}", subject="neck", channels={"image": path}), mask


@for_all("codes", ["PSR", "LAI"])
def test_a_found_centreline_leads_to_the_cord_and_no_further(codes, tmp_path: Path):
    case, cord = neck(tmp_path, codes, turn=8)
    (row,) = predict_cases([case], [along()], tmp_path / "out", inferer=tiles_of(24, 24), finders=[finder()])
    assert row["status"] == "ok", row["message"]
    written = nib.load(tmp_path / "out" / row["labels"])
    assert written.shape == cord.shape and np.array_equal(written.affine, nib.load(case.images[0]).affine)
    mask = np.asarray(written.dataobj) > 0
    assert overlap(mask, cord).dice > 0.93
    found = read_centreline(tmp_path / "out" / row["centreline"])
    lowest = min((nib.load(case.images[0]).affine @ [*voxel, 1])[2] for voxel in np.argwhere(cord))
    assert found.points[0, 2] == pytest.approx(lowest, abs=3.1)
    written_down = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert written_down["centreline"] == ["centreline.ckpt"] and written_down["checkpoint"] == ["along.ckpt"]
    text = (tmp_path / "out" / row["centreline"]).read_text().splitlines()
    assert text[0] == "x_mm,y_mm,z_mm,end" and text[1].endswith(",1") and text[-1].endswith(",0")


def test_a_run_is_tested_along_the_centreline_of_the_references(tmp_path: Path):
    case, cord = neck(tmp_path)
    drawn = replace(case, references={"cord": Reference(tmp_path / f"{case.name}_cord.nii.gz")})
    predict_known([drawn], replace(along(), window=(24, 24)), tmp_path / "out")
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    assert row["status"] == "ok", row["message"]
    assert overlap(np.asarray(nib.load(tmp_path / "out" / row["labels"]).dataobj) > 0, cord).dice > 0.93


def test_contours_may_follow_the_centreline_that_a_network_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ankleseg import inference, predict
    from ankleseg.config import compose

    case, cord = neck(tmp_path)
    monkeypatch.setattr(inference, "load_model", lambda path, device: finder(), raising=False)
    asked = ["method=snakes", "checkpoint=found.ckpt", f"input={case.images[0]}", f"out={tmp_path / 'out'}"]
    predict.main(compose("predict", [*asked, "method.bright_outside=false"]))
    (row,) = json.loads((tmp_path / "out/predictions.json").read_text())["cases"]
    mask = np.asarray(nib.load(tmp_path / "out" / row["masks"]["cord"]).dataobj) > 0
    assert overlap(mask, cord).dice > 0.8
    with pytest.raises(ConfigError, match="invalid method: a checkpoint is given too; leave out method=… or checkpoin"):
        predict.main(compose("predict", [*asked, f"centreline={tmp_path}"]))


@for_all("form", ["csv", "csv without names", "mask", "folder", "reference"])
def test_a_centreline_may_be_given(form, tmp_path: Path):
    case, cord = neck(tmp_path)
    truth = reference_centreline(along().labels)
    known = replace(case, references={"cord": reference(tmp_path)})
    points = truth(known)
    source = tmp_path / "given" / f"{case.name}_centreline.csv"
    if form == "reference":
        get = truth
    elif form == "mask":
        get = given_centreline(tmp_path / "neck_PSR_cord.nii.gz", tmp_path / "out")
    else:
        write_centreline(source, points)
        if form == "csv without names":
            rows = [line.rpartition(",")[0] for line in source.read_text().splitlines()[1:]]
            source.write_text("\n".join(reversed(rows)))
        get = given_centreline(source if form.startswith("csv") else source.parent, tmp_path / "out")
    assert np.allclose(get(known).points, points.points, atol=0.6)
    found = predict_case(known, [along()], tiles_of(24, 24), Postprocessing(cord=True), centreline=get)
    assert overlap(found.masks[0], cord).dice > 0.93


def reference(folder: Path):
    from ankleseg.cohorts.case import Reference

    return Reference(folder / "neck_PSR_cord.nii.gz")


def test_models_are_told_apart_by_what_they_need():
    assert needs_centreline(along()) and not needs_centreline(finder())
    models, finders = by_role([finder(), along(), finder()])
    assert [model.path.name for model in models] == ["along.ckpt"] and len(finders) == 2
    assert by_role([finder(), finder()])[1] == []
    other = model_of(Bright(1.0), structures=["talus"], path="talus.ckpt")
    expected = "^talus.ckpt: gives no centreline: it segments talus; give a run of cord_centreline that segments cord$"
    with pytest.raises(CheckpointError) as caught:
        by_role([other, along()])
    assert str(caught.value) == expected.strip("^$")


def test_what_is_missing_or_comes_twice_is_told(tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        require_centreline([along()], [], None)
    assert str(caught.value) == (
        "along.ckpt: segments along the centreline of the cord, and there is none; give "
        "checkpoint=[CENTRELINE,SEGMENTATION] with a run of cord_centreline, or centreline=FILE"
    )
    with pytest.raises(
        ConfigError, match="centreline=c.csv is given, and centreline.ckpt finds one too; leave out one"
    ):
        require_centreline([along()], [finder()], "c.csv")
    with pytest.raises(ConfigError, match="centreline=c.csv is given, but no checkpoint segments along one"):
        require_centreline([finder()], [], "c.csv")
    case, _ = neck(tmp_path)
    (tmp_path / "some").mkdir()
    with pytest.raises(
        FileError, match="holds no centreline of neck_PSR; put neck_PSR_centreline.csv or neck_PSR_centre"
    ):
        given_centreline(tmp_path / "some", tmp_path / "out")(case)
    with pytest.raises(ConfigError, match="is an input and would be replaced by a result; choose another out"):
        given_centreline(tmp_path / "some", tmp_path / "some")
    (tmp_path / "bad.csv").write_text("x,y,z\n1,2,three\n")
    with pytest.raises(FileError, match="bad.csv: holds no points of a centreline; write rows of x,y,z in world mm"):
        read_centreline(tmp_path / "bad.csv")
    with pytest.raises(FileError, match="has no reference of the cord for its centreline; draw one"):
        reference_centreline(along().labels)(case)


def test_a_case_without_a_cord_fails_alone(tmp_path: Path):
    case, _ = neck(tmp_path)
    affine = nib.load(case.images[0]).affine
    noise = np.random.default_rng(0).integers(90, 110, nib.load(case.images[0]).shape)
    noise[:5] = 0
    write_volume(tmp_path / "empty.nii.gz", noise.astype(np.int16), affine)
    empty = Case(name="empty", subject="e", channels={"image": tmp_path / "empty.nii.gz"})
    rows = predict_cases([empty, case], [along()], tmp_path / "out", inferer=tiles_of(24, 24), finders=[finder()])
    assert [row["status"] for row in rows] == ["failed", "ok"]
    assert rows[0]["message"].endswith("empty.nii.gz: no cord was found; look at the scan, or give centreline=FILE")
    assert rows[0]["centreline"] is None


def test_a_centreline_of_another_scan_is_refused(tmp_path: Path):
    case, _ = neck(tmp_path)
    far = Centreline(np.array([[400.0, 0, 0], [400, 0, 90]]))
    with pytest.raises(AnklesegError, match="neck_PSR.nii.gz: its centreline leaves the image"):
        predict_case(case, [along()], tiles_of(24, 24), centreline=lambda case: far)
