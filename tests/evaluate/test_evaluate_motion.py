"""Registered bones against the truth: errors worked out by hand, and nothing that is missing is left out."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from registered_sequences import BONES, FRAMES, sequence_name, write_registered, write_truth

from ankleseg.cohorts import load_cohort, load_dynamic
from ankleseg.config import compose
from ankleseg.errors import FileError
from ankleseg.evaluate import motion_truth
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.motion import MotionEvaluation, evaluate_motion
from ankleseg.measures import anatomical_frames
from ankleseg.volumes import read_mask, read_volume, write_volume
from ankleseg.volumes.poses import rotation_about, transform, translation


@pytest.fixture(scope="module")
def cohort(phantom_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom cohort with every second voxel of its slices."""
    root = Path(shutil.copytree(phantom_cohort, tmp_path_factory.mktemp("coarse") / "cohort"))
    for file in root.rglob("*.nii.gz"):
        volume = read_volume(file, dtype=None)
        write_volume(file, volume.data[::2, ::2], volume.affine @ np.diag([2.0, 2, 1, 1]))
    return root


@pytest.fixture(scope="module")
def feet(cohort: Path) -> dict[str, str]:
    """A right and a left foot of the cohort: side and subject."""
    return {str(case.side): case.subject for case in reversed(load_cohort(cohort).cases)}


@pytest.fixture(scope="module")
def perfect(cohort: Path, feet: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("perfect") / "out"
    return write_registered(cohort, out, subjects=tuple(feet.values()))


@pytest.fixture(scope="module")
def truth(cohort: Path, perfect: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_truth(cohort, perfect, tmp_path_factory.mktemp("truth") / "cohort")


@pytest.fixture(scope="module", autouse=True)
def axes_found_once() -> Iterator[None]:
    """The axes of the same bones are found only once in all tests."""
    find, found = anatomical_frames, {}

    def once(masks: dict[str, np.ndarray], affine: np.ndarray, side: str) -> dict[str, np.ndarray]:
        key = (*((bone, mask.tobytes()) for bone, mask in masks.items()), affine.tobytes(), side)
        if key not in found:
            found[key] = find(masks, affine, side)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion_truth, "anatomical_frames", once)
        yield


@pytest.fixture(autouse=True)
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare all tests but those of the report the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.motion_page._figure", lambda _: None)


@pytest.fixture
def estimate(perfect: Path, tmp_path: Path) -> Path:
    """A perfect estimate, to be changed."""
    return Path(shutil.copytree(perfect, tmp_path / "estimate"))


def dyn(root: Path, subject: str, ending: str) -> Path:
    return root / subject / "dyn" / f"{sequence_name(subject)}_{ending}"


def change(root: Path, subject: str, frame: int, bone: str, edit: Callable[[dict[str, Any]], dict[str, Any] | None]):
    """Edit the entry of a bone on a frame, or take it out."""
    file = dyn(root, subject, "poses.json")
    rows = [edit(row) if (row["frame"], row["bone"]) == (frame, bone) else row for row in json.loads(file.read_text())]
    file.write_text(json.dumps([row for row in rows if row is not None]))


def moved(by: np.ndarray, status: str = "ok") -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {
        **row,
        "status": status,
        "frame_from_static": (np.array(row["frame_from_static"]) @ by).tolist(),
    }


def row_of(result: MotionEvaluation, subject: str, frame: int, bone: str):
    return next(r for r in result.poses if (r.subject, r.frame, r.bone) == (subject, frame, bone))


def angle_of(result: MotionEvaluation, subject: str, frame: int, joint: str, angle: str):
    wanted = (subject, frame, joint, f"{angle}_deg")
    return next(r for r in result.angles if (r.subject, r.frame, r.joint, r.angle) == wanted)


def test_the_truth_itself_has_no_error(perfect: Path, truth: Path, tmp_path: Path):
    result = evaluate_motion(perfect, truth, tmp_path)
    assert len(result.poses) == 2 * FRAMES * len(BONES) and not result.problems
    assert {(row.status, row.error_mm, row.dice) for row in result.poses} == {("ok", 0.0, 1.0)}
    assert max(row.rotation_deg for row in result.poses if row.rotation_deg is not None) < 1e-5
    assert len(result.angles) == 2 * FRAMES * 3 * 3
    assert max(abs(row.error_deg) for row in result.angles if row.error_deg is not None) < 1e-5
    assert all(row.error_deg is not None for row in result.angles)


def test_a_shift_is_its_own_target_error(estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path):
    change(estimate, feet["right"], 1, "talus", moved(translation((0, 1.2, 1.6))))
    row = row_of(evaluate_motion(estimate, truth, tmp_path / "e"), feet["right"], 1, "talus")
    assert row.error_mm == pytest.approx(2.0) and row.rotation_deg == pytest.approx(0, abs=1e-5)


def test_a_rotation_moves_each_voxel_by_its_distance_from_the_axis(
    estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path
):
    mask = read_mask(load_cohort(truth).select([feet["left"]]).cases[0].references["tibia"].path)
    points = transform(mask.affine, np.argwhere(mask.data).astype(float))
    centre = points.mean(0)
    change(estimate, feet["left"], 2, "tibia", moved(rotation_about((0, 0, 1), 3.0, centre)))
    row = row_of(evaluate_motion(estimate, truth, tmp_path / "e"), feet["left"], 2, "tibia")
    from_axis = np.linalg.norm((points - centre)[:, :2], axis=1)
    assert row.rotation_deg == pytest.approx(3.0)
    assert row.error_mm == pytest.approx(2 * np.sin(np.radians(1.5)) * from_axis.mean(), rel=0.02)


def test_a_wrong_result_called_ok_is_counted_and_one_called_suspect_is_not(
    estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path, drawn: None
):
    far = translation((1.5, 0, 0))
    change(estimate, feet["right"], 0, "talus", moved(far))
    change(estimate, feet["right"], 1, "talus", moved(far, "suspect"))
    change(estimate, feet["right"], 2, "talus", moved(translation((0.9, 0, 0))))
    result = evaluate_motion(estimate, truth, tmp_path / "e")
    written = json.loads((tmp_path / "e" / "motion.json").read_text())
    assert written["wrong_called_ok"] == 1
    entry = {(e["called"], e["bone"]): e for e in written["poses"]}
    assert entry["ok", "talus"]["wrong"] == 1 and entry["suspect", "talus"]["wrong"] == 1
    assert entry["all", "all"]["wrong"] == 2 and entry["ok", "tibia"]["wrong"] == 0
    assert entry["ok", "talus"]["error_mm"] == {"median": 0, "p95": pytest.approx(1.38), "max": 1.5}
    assert "wrong results called ok: 1; called 17 ok, 1 suspect" in result.describe()
    page = (tmp_path / "e" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "Wrong results called ok: 1 of 17." in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)


def test_what_was_not_estimated_is_a_row(estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path):
    right, left = feet["right"], feet["left"]
    change(estimate, right, 1, "talus", lambda row: None)
    change(estimate, right, 2, "tibia", lambda row: {**row, "status": "failed", "frame_from_static": None})
    dyn(estimate, left, "poses.json").unlink()
    result = evaluate_motion(estimate, truth, tmp_path / "e")
    assert len(result.poses) == 2 * FRAMES * len(BONES)
    assert row_of(result, right, 1, "talus").status == "missing"
    failed = row_of(result, right, 2, "tibia")
    assert (failed.status, failed.error_mm) == ("failed", None)
    assert {row.status for row in result.poses if row.subject == left} == {"missing"}
    assert angle_of(result, right, 1, "talocrural", "dorsiflexion").status == "missing"
    assert angle_of(result, right, 1, "subtalar", "dorsiflexion").error_deg is None
    assert angle_of(result, right, 1, "tibiocalcaneal", "dorsiflexion").error_deg == pytest.approx(0, abs=1e-5)
    assert angle_of(result, right, 2, "talocrural", "inversion").status == "failed"
    assert len(result.problems) == 1 and "does not exist" in result.problems[0]
    with (tmp_path / "e" / "motion.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 and sum(row["status"] == "missing" for row in rows) == 10
    assert {row["error_mm"] for row in rows if row["status"] == "missing"} == {""}


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_talus_bent_up_is_dorsiflexed_on_both_sides(
    estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path, side: str
):
    (case,) = load_cohort(truth).select([feet[side]]).cases
    volumes = {bone: read_mask(reference.path) for bone, reference in case.references.items()}
    tibia = anatomical_frames({b: v.data for b, v in volumes.items()}, volumes["talus"].affine, side)["tibia"]
    # about the axis to the right of the body the toes go up, whatever the side
    change(estimate, feet[side], 0, "talus", moved(rotation_about(tibia[:3, 0], 5.0, tibia[:3, 3])))
    result = evaluate_motion(estimate, truth, tmp_path / "e")
    errors = {angle: angle_of(result, feet[side], 0, "talocrural", angle).error_deg for angle in
              ("dorsiflexion", "inversion", "internal_rotation")}  # fmt: skip
    assert errors == pytest.approx({"dorsiflexion": 5.0, "inversion": 0.0, "internal_rotation": 0.0}, abs=1e-6)
    summary = {
        (e["called"], e["joint"], e["angle"]): e for e in json.loads((tmp_path / "e/motion.json").read_text())["angles"]
    }
    found = summary["ok", "talocrural", "dorsiflexion_deg"]
    assert (found["n"], found["max_deg"]) == (2 * FRAMES, pytest.approx(5))
    assert found["rms_deg"] == pytest.approx(5 / np.sqrt(2 * FRAMES))


def test_reported_angles_are_compared_with_those_of_the_model(
    estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path
):
    own = Path(shutil.copytree(truth, tmp_path / "truth", symlinks=True))
    columns = "frame,joint,dorsiflexion_deg,inversion_deg,internal_rotation_deg"
    dyn(estimate, feet["left"], "angles.csv").write_text(f"{columns},status\n0,subtalar,3.5,n/a,1,ok\n")
    dyn(own / "derivatives" / "truth", feet["left"], "angles.csv").write_text(f"{columns}\n0,subtalar,5,2,1\n")
    result = evaluate_motion(estimate, own, tmp_path / "e")
    row = angle_of(result, feet["left"], 0, "subtalar", "dorsiflexion")
    assert (row.reported_deg, row.model_deg, row.model_error_deg) == (3.5, 5.0, -1.5)
    assert angle_of(result, feet["left"], 0, "subtalar", "inversion").model_error_deg is None
    assert sum(row.model_error_deg is not None for row in result.angles) == 2
    dyn(estimate, feet["left"], "angles.csv").write_text("frame,joint\n0,subtalar\n")
    (problem,) = evaluate_motion(estimate, own, tmp_path / "e").problems
    assert problem.endswith("is not a table of joint angles ('dorsiflexion_deg')")


def test_a_mask_on_another_grid_has_no_dice_but_its_pose_is_scored(
    estimate: Path, truth: Path, feet: dict[str, str], tmp_path: Path
):
    file = dyn(estimate, feet["right"], "label-talus_mask.nii.gz")
    mask = read_volume(file, dtype=None, dimensions=4)
    write_volume(file, mask.data, translation((5, 0, 0)) @ mask.affine)
    row = row_of(evaluate_motion(estimate, truth, tmp_path / "e"), feet["right"], 0, "talus")
    assert row.dice is None and "on another grid" in row.message and row.error_mm == 0


def test_without_truth_or_sequences_one_line_says_so(perfect: Path, truth: Path, cohort: Path, tmp_path: Path):
    with pytest.raises(FileError, match="holds no true poses; give the folder of a phantom made with dynamic=true"):
        evaluate_motion(perfect, cohort, tmp_path)
    with pytest.raises(FileError, match="holds no registered sequences; give the out= of prepare recipe=ankle_dynamic"):
        evaluate_motion(cohort, truth, tmp_path)
    words = [f"predictions={perfect}", f"references={cohort}", f"out={tmp_path}", "recipe=motion"]
    with pytest.raises(FileError, match=f"^{cohort}: holds no true poses[^\n]*$"):
        main(compose("evaluate", words))


def test_true_masks_serve_as_references_of_predicted_frames(truth: Path, feet: dict[str, str]):
    cohort = load_dynamic(truth / "derivatives" / "truth", with_static=True)
    assert {case.frame for case in cohort.cases} == set(range(FRAMES)) and not any(
        case.unknown for case in cohort.cases
    )
    assert {(str(case.side), case.subject) for case in cohort.cases} == set(feet.items())
    assert {case.group for case in cohort.cases} <= {"control", "equinus"}
