"""Evaluation: every row tells the truth, no case takes the others down, no mean flatters, the report stands alone."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ankleseg.cohorts import Case, Cohort, Reference
from ankleseg.errors import AnklesegError, FileError
from ankleseg.evaluate import Score, compare_protocols, evaluate, find_protocols, read_predictions, summarise
from ankleseg.evaluate.page import _without_folders
from ankleseg.evaluate.tables import ProtocolScore
from ankleseg.volumes import write_volume

AFFINE = np.array([[0, 0, 2.0, -10], [-1.0, 0, 0, 30], [0, 1.0, 0, 5], [0, 0, 0, 1]])  # sagittal, PSR
SHIFT = np.array([[0, 0, 0, 5.0], [0] * 4, [0] * 4, [0] * 4])  # mm, to the right
SHAPE = (30, 28, 8)
STRUCTURES = ("talus", "tibia")
CASES = {"sub-C01": "control", "sub-C02": "control", "sub-E01": "equinus", "sub-E02": "equinus"}
DIAGONAL = float(np.linalg.norm(np.array(SHAPE) * (1, 1, 2)))
REQUIRED = "case,structure,status,dice,iou,precision,recall,hd95_mm,assd_mm,volume_ml,reference_ml".split(",")


def bone(structure: str) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[(slice(5, 15), slice(4, 12), slice(2, 6)) if structure == "talus" else np.s_[8:20, 15:25, 1:7]] = True
    return mask


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, data.astype(np.uint8) if data.dtype == bool else data, affine)


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """A BIDS cohort of two controls and two equinus, with two block-shaped bones."""
    root = tmp_path / "cohort"
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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "tiles")


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests of the report: its pictures are drawn."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the other tests the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.page.mosaic", lambda *_: b"")
        monkeypatch.setattr("ankleseg.evaluate.page._figures", lambda _: [])


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, str]]:
    with open(out / "metrics.csv", newline="") as file:
        return {(row["case"], row["structure"]): row for row in csv.DictReader(file)}


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ankleseg.evaluate", *arguments], cwd=cwd, capture_output=True, text=True
    )


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
    cohort = Cohort(tmp_path, tuple(Case(name, name, (), sources) for name in CASES), STRUCTURES)
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


def test_the_patch_protocol_is_the_mean_over_patches_not_over_volumes(references: Path, tmp_path: Path):
    folder = Folder(tmp_path / "patches", mode="patches")
    prediction = bone("talus")
    prediction[5:10] = False
    folder.put("sub-C01", "talus", prediction)
    boxes = [[5, 4, 2, 10, 12, 3], [10, 4, 2, 15, 12, 3], [0, 4, 2, 15, 12, 6], [25, 20, 0, 30, 28, 1]]
    folder.content["cases"] = [{**folder.row("sub-C01"), "patches": boxes}]
    result = evaluate({"patches": folder.done()}, references, tmp_path / "out")
    (entry,) = (entry for entry in compare_protocols(result.protocol_scores) if entry["structure"] == "talus")
    expected = [0.0, 1.0, 2 / 3]  # missed, whole, half of the bone; the fourth patch is empty in both
    assert (entry["unit"], entry["n"], entry["missed"], entry["not_applicable"]) == ("patch", 3, 1, 1)
    assert entry["dice_mean"] == pytest.approx(np.mean(expected))
    assert entry["dice_std"] == pytest.approx(np.std(expected, ddof=1))
    assert result.scores[0].dice == pytest.approx(2 / 3)  # the row of the case is of the whole volume


def test_a_patch_outside_the_volume_is_noticed(references: Path, tmp_path: Path):
    folder = Folder(tmp_path / "patches", mode="patches")
    folder.row("sub-C01")["patches"] = [[0, 0, 0, 31, 4, 1]]
    result = evaluate(folder.done(), references, tmp_path / "out")
    first = result.protocol_scores[0]
    assert first.status == "unreadable"
    assert "the patch [0, 0, 0, 31, 4, 1] does not lie inside a volume of (30, 28, 8) voxels" in first.message
    problems = json.loads((tmp_path / "out" / "metrics.json").read_text())["protocol_problems"]
    assert [(row["case"], row["structure"]) for row in problems] == [("sub-C01", "talus"), ("sub-C01", "tibia")]


def test_protocols_stand_side_by_side_and_the_first_is_the_main_one(references: Path, tmp_path: Path):
    for mode in ("tiles", "slices", "patches"):
        folder = Folder(tmp_path / "runs" / mode, mode)
        if mode == "slices":
            folder.put("sub-C01", "talus", np.zeros(SHAPE, dtype=bool))
        for row in folder.content["cases"]:
            row["patches"] = [[5, 4, z, 15, 12, z + 1] for z in range(2, 6)]
        folder.done()
    result = evaluate(tmp_path / "runs", references, tmp_path / "out")
    with open(tmp_path / "out" / "protocols.csv", newline="") as file:
        table = {(r["protocol"], r["group"], r["structure"]): r for r in csv.DictReader(file)}
    assert list(dict.fromkeys(key[0] for key in table)) == ["tiles", "slices", "patches"]
    assert len(table) == 3 * 3 * 2
    assert float(table["slices", "control", "talus"]["dice_mean"]) == 0.5
    assert table["slices", "control", "talus"]["missed"] == "1"
    assert table["patches", "all", "talus"]["n"] == "16" and table["tiles", "all", "talus"]["n"] == "4"
    assert all(row.dice == 1 for row in result.scores)
    chosen = {"slices": tmp_path / "runs/slices", "tiles": tmp_path / "runs/tiles"}
    assert evaluate(chosen, references, tmp_path / "out").scores[0].dice == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["predictions"] == {"slices": "slices", "tiles": "tiles"}


def test_an_empty_list_of_predictions_gives_empty_tables(folder: Folder, references: Path, tmp_path: Path):
    folder.content["cases"] = []
    result = evaluate(folder.done(), references, tmp_path / "out")
    assert result.scored == 0 and result.not_predicted == tuple(CASES)
    assert rows_of(tmp_path / "out") == {}
    assert (tmp_path / "out" / "protocols.csv").read_text().startswith("protocol,mode,unit,group,structure,n,dice_mean")


def test_protocols_count_cases_without_a_comparison():
    scores = [
        ProtocolScore("tiles", "tiles", "c1", "talus", None, "ok", "", (0.5,), ("found",)),
        ProtocolScore("tiles", "tiles", "c2", "talus", None, "failed", "no memory"),
        ProtocolScore("tiles", "tiles", "c3", "talus", None, "ok", "", (None,), ("both empty",)),
    ]
    (entry,) = compare_protocols(scores)
    assert (entry["n"], entry["not_scored"], entry["not_applicable"], entry["group"]) == (1, 1, 1, "all")


def test_folders_of_protocols_are_found_or_taken_as_named(tmp_path: Path):
    assert find_protocols({"a": "x", "b": "y"}) == {"a": Path("x"), "b": Path("y")}
    assert find_protocols(tmp_path) == {tmp_path.name: tmp_path}
    for name in ("patches", "tiles"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.json").write_text("{}")
    assert list(find_protocols(tmp_path)) == ["tiles", "patches"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"predictions.json: cannot be understood \(.*\); run ankleseg.predict again"),
        ('{"structures": []}', "predictions.json: lacks 'cases'"),
        ('{"structures": ["a"], "cases": [{"case": "x"}]}', "predictions.json: lacks 'masks'"),
        ('{"structures": ["a"], "cases": 3, "mode": "tiles"}', "predictions.json: cannot be understood"),
        ("[]", "predictions.json: cannot be understood"),
    ],
)
def test_a_broken_list_of_predictions_is_one_clear_line(content: str, message: str, tmp_path: Path):
    (tmp_path / "predictions.json").write_text(content)
    with pytest.raises(FileError, match=message) as caught:
        read_predictions(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_predictions_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match=r"holds neither predictions.json nor files named CASE_label-STRUCTURE_mask"):
        read_predictions(tmp_path)
    with pytest.raises(FileError, match="nothing: is not a folder of predictions"):
        read_predictions(tmp_path / "nothing")


def test_all_files_tell_the_same_numbers(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-E01", "talus", np.roll(bone("talus"), 1, axis=0))
    result = evaluate(folder.done(), references, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert content["rows"] == result.rows
    for row, (key, written) in zip(content["rows"], rows_of(tmp_path / "out").items(), strict=True):
        assert (row["case"], row["structure"]) == key
        assert {name: "" if value is None else str(value) for name, value in row.items()} == written
    assert content["summary"][0]["dice"]["n"] == 2


def test_the_same_input_gives_the_same_bytes_and_is_not_touched(
    folder: Folder, references: Path, tmp_path: Path, drawn: None
):
    folder.content["cases"] = folder.content["cases"][1:3]
    folder.done()

    def hashes(root: Path) -> dict[Path, str]:
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}

    before = hashes(folder.path) | hashes(references)
    for name in ("one", "two"):
        evaluate(folder.path, references, tmp_path / name, date="2025-01-02 03:04")
    assert hashes(folder.path) | hashes(references) == before
    assert list(hashes(tmp_path / "one").values()) == list(hashes(tmp_path / "two").values())
    assert len(hashes(tmp_path / "one")) == 4


def test_the_report_shows_the_worst_case_first_and_no_folder(
    folder: Folder, references: Path, tmp_path: Path, drawn: None
):
    folder.put("sub-C02", "talus", np.roll(bone("talus"), 3, axis=0))
    folder.row("sub-E02").update(status="failed", message=f"{references}/sub-E02.nii.gz: is truncated", masks={})
    evaluate(folder.done(), references, tmp_path / "out", date="2025-01-02 03:04")
    html = (tmp_path / "out" / "report.html").read_text()
    assert re.findall(r"<article>\s*<header><h3>([^<]*)", html) == ["sub-E02", "sub-C02", "sub-C01", "sub-E01"]
    assert html.count("data:image/png;base64,") == 3 + 2  # a mosaic for each predicted case, two figures
    assert str(tmp_path) not in html and "/home/someone" not in html
    assert "sub-E02.nii.gz: is truncated" in html and "ankle/2025-01-02/best.ckpt" in html
    assert "2025-01-02 03:04" in html
    assert not re.search(r"https?://", html)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/a/b/c.nii: is bad; copy it", "c.nii: is bad; copy it"),
        (
            "/a/b.nii: is on another grid than /c/d/e.nii (5 mm)",
            "b.nii: is on another grid than e.nii (5 mm)",
        ),
        ("C:\\a\\b.nii: is bad", "b.nii: is bad"),
        ("has 3/4 of its voxels", "has 3/4 of its voxels"),
    ],
)
def test_messages_on_the_page_keep_names_and_lose_folders(message: str, shown: str):
    assert _without_folders(message) == shown


def test_results_of_an_earlier_evaluation_are_gone_when_work_begins(
    folder: Folder, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluate(folder.done(), references, tmp_path / "out")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("ankleseg.evaluate.run.read_pair", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate(folder.path, references, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command_works_from_any_folder_and_names_the_report(folder: Folder, references: Path, tmp_path: Path):
    folder.content["cases"] = folder.content["cases"][:2]
    folder.done()
    result = command("predictions=tiles", f"references={references}", "out=here/out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "control talus: Dice 1.000 over 2" in result.stdout
    assert result.stdout.strip().endswith("report: here/out/report.html")
    assert (tmp_path / "here/out/report.html").exists()


def test_the_command_fails_only_when_nothing_could_be_scored(folder: Folder, references: Path, tmp_path: Path):
    for row in folder.content["cases"]:
        row.update(status="failed", message="scan.nii.gz: is truncated", masks={})
    folder.done()
    result = command(f"predictions={{tiles: {folder.path}}}", f"references={references}", "out=out", cwd=tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ankleseg: out/metrics.csv: nothing could be scored: scan.nii.gz: is truncated")
    assert {row["status"] for row in rows_of(tmp_path / "out").values()} == {"failed"}
    assert (tmp_path / "out" / "report.html").exists()
