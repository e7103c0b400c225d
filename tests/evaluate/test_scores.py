"""Scores: every row tells the truth, no case takes the others down, no mean flatters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmentation_study import AFFINE, CASES, SHAPE, STRUCTURES, Folder, bone, rows_of, save

from ankleseg.cohorts import Case, Cohort, Reference
from ankleseg.errors import AnklesegError
from ankleseg.evaluate import Score, evaluate, summarise

pytestmark = pytest.mark.usefixtures("quick")

SHIFT = np.array([[0, 0, 0, 5.0], [0] * 4, [0] * 4, [0] * 4])  # mm, to the right
DIAGONAL = float(np.linalg.norm(np.array(SHAPE) * (1, 1, 2)))
REQUIRED = "case,structure,status,dice,iou,precision,recall,hd95_mm,assd_mm,volume_ml,reference_ml".split(",")


def test_perfect_predictions_are_perfect_in_every_row(folder: Folder, references: Path, tmp_path: Path):
    for row in folder.content["cases"]:
        row["group"] = None
    result = evaluate(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert list(rows) == [(case, structure) for case in CASES for structure in STRUCTURES]
    for (case, structure), row in rows.items():
        assert (row["status"], row["finding"], row["group"]) == ("ok", "found", CASES[case])
        assert [float(row[name]) for name in ("dice", "iou", "precision", "recall")] == [1, 1, 1, 1]
        assert [float(row[name]) for name in ("hd95_mm", "assd_mm", "volume_error_ml")] == [0, 0, 0]
        assert float(row["reference_ml"]) == pytest.approx(bone(structure).sum() * 2 / 1000)
        assert row["side"] == ("left" if case.endswith("1") else "right")  # group and side are those of the cohort
    assert result.scored == 8 and result.not_predicted == ()


def test_the_columns_others_rely_on_come_first(folder: Folder, references: Path, tmp_path: Path):
    evaluate(folder.done(), references, tmp_path / "out")
    header = (tmp_path / "out" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header[: len(REQUIRED)] == REQUIRED
    assert {"group", "side", "volume_error_ml", "volume_error_percent", "message"} <= set(header)


def test_a_shift_is_measured_in_mm_and_a_lost_half_in_ml(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-E01", "talus", np.roll(bone("talus"), 1, axis=2))
    half = bone("tibia")
    half[:, :20] = False
    folder.put("sub-E01", "tibia", half)
    evaluate(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    shifted, halved = rows["sub-E01", "talus"], rows["sub-E01", "tibia"]
    assert float(shifted["hd95_mm"]) == 2.0 and float(shifted["dice"]) == 0.75
    assert float(halved["volume_error_percent"]) == -50 and float(halved["precision"]) == 1
    assert float(halved["recall"]) == 0.5 and float(halved["volume_error_ml"]) == pytest.approx(-0.72)


def test_empty_masks_follow_the_rule_that_cannot_flatter(folder: Folder, references: Path, tmp_path: Path):
    nothing = np.zeros(SHAPE, dtype=bool)
    manual = references / "derivatives/manual"
    folder.put("sub-C01", "talus", nothing)
    save(manual / "sub-C02/anat/sub-C02_label-talus_mask.nii.gz", nothing)
    save(manual / "sub-E01/anat/sub-E01_label-talus_mask.nii.gz", nothing)
    folder.put("sub-E01", "talus", nothing)
    result = evaluate(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    missed, invented, neither = (rows[case, "talus"] for case in ("sub-C01", "sub-C02", "sub-E01"))
    assert [row["finding"] for row in (missed, invented, neither)] == ["missed", "invented", "both empty"]
    for row in (missed, invented):
        assert row["status"] == "ok"
        assert [float(row[name]) for name in ("dice", "iou", "precision", "recall")] == [0, 0, 0, 0]
        assert float(row["hd95_mm"]) == float(row["assd_mm"]) == pytest.approx(DIAGONAL, abs=1e-5)
    assert invented["volume_error_percent"] == "" and float(missed["volume_error_percent"]) == -100
    assert [neither[name] for name in ("dice", "iou", "hd95_mm", "assd_mm")] == [""] * 4
    assert neither["status"] == "ok" and float(neither["volume_ml"]) == 0
    whole = next(e for e in summarise(result.scores) if (e["group"], e["structure"]) == ("all", "talus"))
    assert (whole["missed"], whole["invented"], whole["both_empty"], whole["scored"]) == (1, 1, 1, 4)
    assert whole["dice"]["n"] == 3 and whole["dice"]["mean"] == pytest.approx(1 / 3)
    assert whole["hd95_mm"]["max"] == pytest.approx(DIAGONAL)


def break_missing(folder: Folder, references: Path) -> None:
    folder.mask("sub-C02", "talus").unlink()


def break_truncated(folder: Folder, references: Path) -> None:
    path = folder.mask("sub-C02", "talus")
    path.write_bytes(path.read_bytes()[:60])


def break_values(folder: Folder, references: Path) -> None:
    folder.put("sub-C02", "talus", 3 * bone("talus").astype(np.uint8) + bone("tibia"))


def break_reference(folder: Folder, references: Path) -> None:
    path = references / "derivatives/manual/sub-C02/anat/sub-C02_label-talus_mask.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


def break_shape(folder: Folder, references: Path) -> None:
    folder.put("sub-C02", "talus", bone("talus")[:-1])


def break_affine(folder: Folder, references: Path) -> None:
    folder.put("sub-C02", "talus", bone("talus"), AFFINE + SHIFT)


def break_prediction(folder: Folder, references: Path) -> None:
    folder.row("sub-C02").update(status="failed", message="scan.nii.gz: is truncated", masks={}, labels=None)


def break_name(folder: Folder, references: Path) -> None:
    folder.row("sub-C02").update(case="sub-X99")


def break_structure(folder: Folder, references: Path) -> None:
    (references / "derivatives/manual/sub-C02/anat/sub-C02_label-talus_mask.nii.gz").unlink()


def test_of_a_prediction_that_reaches_beyond_the_reference_only_its_voxels_count(
    folder: Folder, references: Path, tmp_path: Path
):
    beyond = np.pad(bone("talus"), ((0, 0), (0, 0), (2, 1)), constant_values=1)
    longer = AFFINE.copy()
    longer[:3, 3] -= 2 * AFFINE[:3, 2]
    folder.put("sub-C02", "talus", beyond, longer)
    evaluate(folder.done(), references, tmp_path / "out")
    row = rows_of(tmp_path / "out")["sub-C02", "talus"]
    assert (row["status"], float(row["dice"])) == ("ok", 1.0) and "only the voxels of the reference" in row["message"]
    folder.row("sub-C02").update(patches=[[0, 0, 0, 4, 4, 4]])
    evaluate(folder.done(), references, tmp_path / "patches")
    row = rows_of(tmp_path / "patches")["sub-C02", "talus"]
    assert row["status"] == "different grid" and row["dice"] == ""


@pytest.mark.parametrize(
    ("damage", "status", "message"),
    [
        (break_missing, "no prediction", "talus_mask.nii.gz: does not exist; predict it again"),
        (break_truncated, "unreadable", "sub-C02_label-talus_mask.nii.gz"),
        (break_values, "unreadable", "holds the values 0, 1, 3"),
        (break_reference, "unreadable", "sub-C02_label-talus_mask.nii.gz"),
        (break_shape, "different grid", "(29, 28, 8) and (30, 28, 8) voxels"),
        (break_affine, "different grid", "differ by up to 5.0 voxels"),
        (break_prediction, "failed", "scan.nii.gz: is truncated"),
        (break_name, "no reference", "the references hold no case sub-X99"),
        (break_structure, "no reference", "the references hold no talus of sub-C02"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_case_that_cannot_be_scored_says_why_and_the_others_go_on(
    damage: Any, status: str, message: str, folder: Folder, references: Path, tmp_path: Path
):
    damage(folder, references)
    result = evaluate(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    row = rows["sub-X99" if damage is break_name else "sub-C02", "talus"]
    assert row["status"] == status and message in row["message"]
    assert row["dice"] == row["hd95_mm"] == row["finding"] == ""
    assert len(rows) == 8
    assert sum(other["status"] == "ok" for other in rows.values()) in (6, 7)
    assert all(float(other["dice"]) == 1 for other in rows.values() if other["status"] == "ok")
    summary = next(entry for entry in summarise(result.scores) if entry["structure"] == "talus")
    assert summary["not_scored"] == 1
    assert status in (tmp_path / "out" / "report.html").read_text()


def test_how_masks_were_read_is_told(
    folder: Folder, references: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder.put("sub-C02", "talus", np.where(bone("talus"), 1, np.nan).astype(np.float32))
    mask = references / "derivatives/manual/sub-C02/anat/sub-C02_label-talus_mask.nii.gz"
    save(mask, bone("talus").astype(np.uint8) * 100)
    folder.put("sub-C01", "talus", np.zeros_like(bone("talus")))
    evaluate(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    told = rows["sub-C02", "talus"]["message"]
    assert float(rows["sub-C02", "talus"]["dice"]) == 1
    assert re.fullmatch("prediction: holds .* NaN voxels, taken as background.*; reference: .*100 is taken as.*", told)
    assert f"{mask}: holds the values 0, 100" in caplog.text
    assert rows["sub-C01", "talus"]["message"] == "", "its finding says that it is empty"


def test_masks_on_another_grid_are_scored_where_this_is_asked_for(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-C02", "talus", bone("talus")[:-1])
    evaluate(folder.done(), references, tmp_path / "out", resampled=True)
    row = rows_of(tmp_path / "out")["sub-C02", "talus"]
    assert row["status"] == "ok" and float(row["dice"]) == 1 and "grid" in row["message"]


def test_an_affine_within_a_tenth_of_a_voxel_is_the_same_grid(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-C02", "talus", bone("talus"), AFFINE + SHIFT / 100)
    evaluate(folder.done(), references, tmp_path / "out")
    assert rows_of(tmp_path / "out")["sub-C02", "talus"]["status"] == "ok"


def test_cases_nobody_asked_to_predict_are_named_and_have_no_rows(folder: Folder, references: Path, tmp_path: Path):
    folder.content["cases"] = [row for row in folder.content["cases"] if row["group"] == "equinus"]
    result = evaluate(folder.done(), references, tmp_path / "out")
    assert {row.case for row in result.scores} == {"sub-E01", "sub-E02"}
    assert result.not_predicted == ("sub-C01", "sub-C02")
    assert "2 more cases that were not predicted: sub-C01, sub-C02" in (tmp_path / "out" / "report.html").read_text()


def test_a_long_list_of_what_nobody_asked_for_is_cut(
    folder: Folder, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ankleseg.evaluate.page.NAMED", 1)
    folder.content["cases"] = [row for row in folder.content["cases"] if row["group"] == "equinus"]
    evaluate(folder.done(), references, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 more cases that were not predicted: sub-C01 and 1 more." in page


def test_masks_without_a_list_are_found_by_name_and_missing_ones_noticed(
    folder: Folder, references: Path, tmp_path: Path
):
    for structure in STRUCTURES:
        folder.mask("sub-E02", structure).unlink()
    result = evaluate(folder.path, references, tmp_path / "out")
    status = {(row.case, row.structure): row.status for row in result.scores}
    assert status["sub-C01", "talus"] == "ok" and status["sub-E02", "talus"] == "no prediction"
    assert len(status) == 8


def test_a_label_map_serves_where_a_mask_is_not_listed(folder: Folder, references: Path, tmp_path: Path):
    labels = bone("talus") + np.uint8(2) * bone("tibia")
    save(folder.path / "sub-C01" / "sub-C01_labels.nii.gz", labels)
    folder.row("sub-C01").update(masks={}, labels="sub-C01/sub-C01_labels.nii.gz")
    result = evaluate(folder.done(), references, tmp_path / "out")
    assert [row.dice for row in result.scores if row.case == "sub-C01"] == [1.0, 1.0]


def test_references_may_be_a_label_map_and_a_cohort_in_memory(folder: Folder, tmp_path: Path):
    save(tmp_path / "seg.nii.gz", bone("talus") + np.uint8(2) * bone("tibia"))
    sources = {name: Reference(tmp_path / "seg.nii.gz", value) for value, name in enumerate(STRUCTURES, start=1)}
    cohort = Cohort(tmp_path, tuple(Case(name, name, {}, sources) for name in CASES), STRUCTURES)
    result = evaluate(folder.done(), cohort, tmp_path / "out")
    assert [row.dice for row in result.scores] == [1.0] * 8


def test_structures_may_be_chosen_and_unknown_ones_are_refused(folder: Folder, references: Path, tmp_path: Path):
    result = evaluate(folder.done(), references, tmp_path / "out", structures=["tibia"])
    assert {row.structure for row in result.scores} == {"tibia"}
    with pytest.raises(AnklesegError, match="femur was not predicted; choose among talus, tibia"):
        evaluate(folder.path, references, tmp_path / "out", structures=["femur"])


def test_a_miss_never_improves_a_mean():
    found = [Score(f"c{k}", "talus", "ok", dice=0.8, iou=0.7, recall=0.8, precision=0.8, hd95_mm=3.0) for k in range(3)]
    miss = Score("c9", "talus", "ok", dice=0.0, iou=0.0, recall=0.0, precision=0.0, hd95_mm=200.0, finding="missed")
    (before,), (after,) = summarise(found), summarise([*found, miss])
    for name in ("dice", "iou", "recall", "precision"):
        assert after[name]["mean"] < before[name]["mean"]
    assert after["hd95_mm"]["mean"] > before["hd95_mm"]["mean"]
    assert (after["cases"], after["missed"]) == (4, 1)


def test_a_summary_describes_groups_and_then_all():
    dice = {"control": [0.9, 0.7], "equinus": [0.5], None: [0.1]}
    scores = [
        Score(f"{group}{k}", "talus", "ok", dice=value, group=group)
        for group, values in dice.items()
        for k, value in enumerate(values)
    ]
    summary = {entry["group"]: entry["dice"] for entry in summarise(scores)}
    assert list(summary) == ["control", "equinus", "no group", "all"]
    control = {"n": 2, "mean": 0.8, "std": np.std([0.9, 0.7], ddof=1), "median": 0.8, "min": 0.7, "max": 0.9}
    assert summary["control"] == pytest.approx(control)
    assert summary["equinus"]["std"] is None
    assert summary["all"]["n"] == 4 and summary["all"]["mean"] == pytest.approx(0.55)


def test_a_bug_that_one_case_meets_costs_its_row_alone(
    folder: Folder, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from ankleseg.evaluate import scores

    true, calls = scores.overlap, iter(range(100))

    def buggy(*masks: Any):
        if next(calls) == 0:
            raise ZeroDivisionError("a bug")
        return true(*masks)

    monkeypatch.setattr(scores, "overlap", buggy)
    result = evaluate(folder.done(), references, tmp_path / "out")
    first, *others = rows_of(tmp_path / "out").values()
    assert result.scored == 7 and {row["status"] for row in others} == {"ok"}
    assert first["status"] == "unreadable" and "unexpected ZeroDivisionError: a bug" in first["message"]
