"""Volumetry: volumes and ratios that can be counted, spreads worked out again, and no subject lost unseen."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ankleseg.config import compose
from ankleseg.errors import ConfigError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.volume_tables import MEDIAN_SUBJECT, VolumeRow, variation_rows, volume_tables
from ankleseg.evaluate.volumetry import evaluate_volumetry
from ankleseg.volumes import write_volume

SHAPE = (10, 10, 10)
AFFINE = np.diag([1.0, 2.0, 5.0, 1.0])  # a voxel is 0.01 ml
STRUCTURES = ("cortex", "intracranial")
ACQUISITIONS = ("te120", "te200", "te280")
SUBJECTS = ("sub-B01", "sub-B02", "sub-B03", "sub-B04")
CORTEX = np.array([[100, 110, 105], [150, 130, 170], [120, 120, 120], [200, 180, 220]])  # voxels
HEAD = np.array([400, 500, 400, 800])


def mask_of(voxels: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask.ravel()[:voxels] = 1
    return mask


def save(path: Path, voxels: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, mask_of(voxels), AFFINE)


class Folder:
    """The predictions of one acquisition."""

    def __init__(self, path: Path, cortex: np.ndarray) -> None:
        self.path = path
        self.content: dict[str, Any] = {"mode": "tiles", "window": [16] * 3, "structures": list(STRUCTURES)}
        self.content["checkpoint"] = "/home/someone/runs/brain/2025-01-02/checkpoints/best.ckpt"
        self.content["cases"] = []
        for name, size, head in zip(SUBJECTS, cortex, HEAD, strict=True):
            masks = {structure: f"{name}/{name}_label-{structure}_mask.nii.gz" for structure in STRUCTURES}
            row = {"case": name, "subject": name, "group": None, "side": None, "image": f"/nowhere/{name}.nii.gz"}
            self.content["cases"].append({**row, "status": "ok", "message": "", "masks": masks})
            for structure, voxels in (("cortex", size), ("intracranial", head)):
                save(path / masks[structure], voxels)
        self.done()

    def row(self, case: str) -> dict[str, Any]:
        return next(row for row in self.content["cases"] if row["case"] == case)

    def done(self) -> Path:
        (self.path / "predictions.json").write_text(json.dumps(self.content))
        return self.path


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Folder]:
    return {name: Folder(tmp_path / name, CORTEX[:, k]) for k, name in enumerate(ACQUISITIONS)}


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """A cohort with the true cortex and the true inside of the skull."""
    root = tmp_path / "cohort"
    for name, head in zip(SUBJECTS, HEAD, strict=True):
        save(root / name / "anat" / f"{name}_T2w.nii.gz", 5)
        manual = root / "derivatives" / "manual" / name / "anat"
        save(manual / f"{name}_label-cortex_mask.nii.gz", 100)
        save(manual / f"{name}_label-intracranial_mask.nii.gz", head // 2)
    return root


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests of the report: its figures are drawn."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the other tests the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.volumetry_page.volumes_by_acquisition", lambda *_, **__: b"")


def paths(folders: dict[str, Folder]) -> dict[str, Path]:
    return {name: folder.done() for name, folder in folders.items()}


def read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


def spread(out: Path, over: str, of: str, structure: str, quantity: str) -> dict[str, str]:
    wanted = (over, of, structure, quantity)
    (row,) = (r for r in read(out / "variation.csv") if (r["over"], r["of"], r["structure"], r["quantity"]) == wanted)
    return row


def test_volumes_are_counted_voxels_and_ratios_their_share_of_the_head(folders: dict[str, Folder], tmp_path: Path):
    result = evaluate_volumetry(paths(folders), tmp_path / "out")
    rows = {(r["acquisition"], r["case"], r["structure"]): r for r in read(tmp_path / "out" / "volumetry.csv")}
    assert len(rows) == 3 * 4 * 2 and result.measured == 24
    for i, case in enumerate(SUBJECTS):
        for k, acquisition in enumerate(ACQUISITIONS):
            row = rows[acquisition, case, "cortex"]
            assert float(row["volume_ml"]) == pytest.approx(CORTEX[i, k] / 100)
            assert float(row["intracranial_ml"]) == pytest.approx(HEAD[i] / 100)
            assert float(row["ratio"]) == pytest.approx(CORTEX[i, k] / HEAD[i], abs=1e-6)
            assert (row["status"], row["intracranial_from"]) == ("ok", "predicted")
    assert {rows["te120", case, "intracranial"]["ratio"] for case in SUBJECTS} == {""}  # of itself: says nothing


@pytest.mark.parametrize(("quantity", "values"), [("volume_ml", CORTEX / 100), ("ratio", CORTEX / HEAD[:, None])])
def test_the_spread_over_subjects_is_that_of_the_published_table(
    folders: dict[str, Folder], tmp_path: Path, quantity: str, values: np.ndarray
):
    evaluate_volumetry(paths(folders), tmp_path / "out")
    for k, name in enumerate(ACQUISITIONS):
        row, column = spread(tmp_path / "out", "subjects", name, "cortex", quantity), values[:, k]
        low, high = np.percentile(column, [25, 75])
        assert int(row["n"]) == 4
        assert float(row["std_by_mean"]) == pytest.approx(column.std(ddof=1) / column.mean(), abs=1e-6)
        assert float(row["iqr_by_median"]) == pytest.approx((high - low) / np.median(column), abs=1e-6)


def test_the_spread_within_a_subject_is_over_its_acquisitions(folders: dict[str, Folder], tmp_path: Path):
    evaluate_volumetry(paths(folders), tmp_path / "out")
    found = [spread(tmp_path / "out", "acquisitions", name, "cortex", "ratio") for name in SUBJECTS]
    expected = CORTEX.std(axis=1, ddof=1) / CORTEX.mean(axis=1)  # the head is the same
    assert [float(row["std_by_mean"]) for row in found] == pytest.approx(expected, abs=1e-5)
    middle = spread(tmp_path / "out", "acquisitions", MEDIAN_SUBJECT, "cortex", "ratio")
    assert float(middle["std_by_mean"]) == pytest.approx(np.median(expected), abs=1e-5) and middle["n"] == "4"


def test_one_folder_is_one_acquisition(folders: dict[str, Folder], tmp_path: Path):
    evaluate_volumetry(folders["te120"].done(), tmp_path / "out")
    rows = read(tmp_path / "out" / "variation.csv")
    assert {(row["over"], row["of"]) for row in rows} == {("subjects", "te120")}


def test_a_case_that_failed_counts_in_no_acquisition_and_is_named(folders: dict[str, Folder], tmp_path: Path):
    folders["te200"].row("sub-B04").update(status="failed", message="/x/scan.nii.gz: is truncated", masks={})
    (tmp_path / "te280/sub-B03/sub-B03_label-cortex_mask.nii.gz").write_bytes(b"broken")
    evaluate_volumetry(paths(folders), tmp_path / "out")
    statuses = {(r["acquisition"], r["case"]): r["status"] for r in read(tmp_path / "out" / "volumetry.csv")[::2]}
    assert statuses["te200", "sub-B04"] == "failed" and statuses["te280", "sub-B03"] == "unreadable"
    assert list(statuses.values()).count("ok") == 10
    for k, name in enumerate(ACQUISITIONS):
        row, column = spread(tmp_path / "out", "subjects", name, "cortex", "volume_ml"), CORTEX[:2, k]
        assert row["n"] == "2"
        assert float(row["std_by_mean"]) == pytest.approx(column.std(ddof=1) / column.mean(), abs=1e-6)
        assert spread(tmp_path / "out", "subjects", name, "intracranial", "volume_ml")["n"] == "3"
    html = (tmp_path / "out" / "report.html").read_text()
    assert "Not measured in every acquisition" in html and "sub-B03, sub-B04" in html
    assert "3 of 24 volumes are not known: 2 failed, 1 unreadable." in html


def test_the_references_give_the_head_where_it_was_not_predicted(
    folders: dict[str, Folder], references: Path, tmp_path: Path
):
    folder = folders["te120"]
    folder.content["structures"] = ["cortex"]
    for row in folder.content["cases"]:
        del row["masks"]["intracranial"]
    evaluate_volumetry(folder.done(), tmp_path / "alone")
    assert {row["ratio"] for row in read(tmp_path / "alone" / "volumetry.csv")} == {""}
    result = evaluate_volumetry(folder.path, tmp_path / "out", references=references)
    for row, size, head in zip(result.volumes, CORTEX[:, 0], HEAD, strict=True):
        assert row.intracranial_from == "reference"
        assert row.ratio == pytest.approx(size / (head // 2))
        assert row.reference_ml == pytest.approx(1.0)
        assert row.volume_error_percent == pytest.approx(size - 100)


def test_the_predicted_head_comes_before_that_of_the_references(
    folders: dict[str, Folder], references: Path, tmp_path: Path
):
    result = evaluate_volumetry(folders["te120"].done(), tmp_path / "out", references=references)
    assert {row.intracranial_from for row in result.volumes} == {"predicted"}


def test_another_structure_may_be_the_head(folders: dict[str, Folder], tmp_path: Path):
    result = evaluate_volumetry(
        folders["te120"].done(), tmp_path / "out", intracranial="cortex", structures=["intracranial"]
    )
    assert [row.structure for row in result.volumes] == ["intracranial"] * 4
    assert [row.ratio for row in result.volumes] == pytest.approx(HEAD / CORTEX[:, 0])


def test_an_empty_mask_is_a_volume_of_zero(folders: dict[str, Folder], tmp_path: Path):
    save(tmp_path / "te120/sub-B01/sub-B01_label-cortex_mask.nii.gz", 0)
    save(tmp_path / "te120/sub-B02/sub-B02_label-intracranial_mask.nii.gz", 0)
    result = evaluate_volumetry(folders["te120"].done(), tmp_path / "out")
    rows = {row.case: row for row in result.volumes if row.structure == "cortex"}
    assert (rows["sub-B01"].volume_ml, rows["sub-B01"].ratio, rows["sub-B01"].status) == (0, 0, "ok")
    assert (rows["sub-B02"].intracranial_ml, rows["sub-B02"].ratio) == (0, None)


def row(acquisition: str, case: str, subject: str, volume: float) -> VolumeRow:
    return VolumeRow(acquisition, case, subject, "cortex", "ok", volume)


def test_acquisitions_are_matched_by_subject_and_feet_of_one_subject_by_case():
    scans = [row("te1", "sub-1_te1", "sub-1", 10), row("te2", "sub-1_te2", "sub-1", 12)]
    (table,) = volume_tables(scans)
    assert table.subjects == ("sub-1",) and table.values.tolist() == [[10, 12]]
    feet = [row(name, f"sub-1_{side}", "sub-1", size) for name in ("a", "b") for side, size in (("l", 5), ("r", 6))]
    (table,) = volume_tables(feet)
    assert table.subjects == ("sub-1_l", "sub-1_r") and table.values.tolist() == [[5, 5], [6, 6]]


def test_no_ratio_has_no_spread():
    assert {found["quantity"] for found in variation_rows([row("a", "1", "1", 5), row("a", "2", "2", 6)])} == {
        "volume_ml"
    }


def test_a_structure_that_was_not_predicted_is_refused(folders: dict[str, Folder], tmp_path: Path):
    with pytest.raises(ConfigError, match="liver was not predicted; choose among cortex, intracranial"):
        evaluate_volumetry(folders["te120"].done(), tmp_path / "out", structures=["liver"])


def test_results_of_an_earlier_evaluation_are_gone_when_work_begins(
    folders: dict[str, Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluate_volumetry(folders["te120"].done(), tmp_path / "out")
    names = ["report.html", "variation.csv", "volumetry.csv", "volumetry.json"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == names

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("ankleseg.evaluate.volumetry._measured", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate_volumetry(folders["te120"].path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_report_shows_the_spread_and_no_folder(
    folders: dict[str, Folder], references: Path, tmp_path: Path, drawn: None
):
    evaluate_volumetry(paths(folders), tmp_path / "out", references=references, date="2025-01-02 03:04")
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 2  # volumes and ratios
    assert "Spread over the acquisitions of a subject" in html and "Against the references" in html
    assert "intracranial, predicted for 24 rows" in html
    assert str(tmp_path) not in html and "/home/someone" not in html
    assert not re.search(r"https?://", html)


def test_the_command_works_without_references(
    folders: dict[str, Folder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    paths(folders)
    words = ["recipe=volumetry", "predictions={te120: te120, te200: te200}", "out=here/out"]
    monkeypatch.chdir(tmp_path)
    main(compose("evaluate", words))
    told = capsys.readouterr().out
    value = CORTEX[:, 0].std(ddof=1) / CORTEX[:, 0].mean()
    assert f"cortex volume, std/mean: te120 {value:.4f} (n 4), te200 " in told
    assert told.strip().endswith("report: here/out/report.html")


def test_the_command_fails_only_when_nothing_could_be_measured(folders: dict[str, Folder], tmp_path: Path):
    for case in folders["te120"].content["cases"]:
        case.update(status="failed", message="scan.nii.gz: is truncated", masks={})
    words = ["recipe=volumetry", f"predictions={folders['te120'].done()}", f"out={tmp_path / 'out'}"]
    with pytest.raises(Exception, match=r"volumetry.csv: nothing could be measured: scan.nii.gz: is truncated"):
        main(compose("evaluate", words))
    assert (tmp_path / "out" / "report.html").exists()


def test_masks_are_measured_where_the_image_is_not_clear(folders: dict[str, Folder], references: Path, tmp_path: Path):
    anat = references / "sub-B01" / "anat"
    for number in (1, 2):
        save(anat / f"sub-B01_acq-te{number}_T2w.nii.gz", 5)
    (anat / "sub-B01_T2w.nii.gz").unlink()
    result = evaluate_volumetry(folders["te120"].path, tmp_path / "out", references=references)
    row = next(row for row in result.volumes if (row.case, row.structure) == ("sub-B01", "cortex"))
    assert row.volume_error_percent == pytest.approx(0)


def test_a_reference_that_cannot_be_read_is_told(folders: dict[str, Folder], references: Path, tmp_path: Path, caplog):
    mask = references / "derivatives/manual/sub-B01/anat/sub-B01_label-cortex_mask.nii.gz"
    mask.write_bytes(mask.read_bytes()[:40])
    result = evaluate_volumetry(folders["te120"].path, tmp_path / "out", references=references)
    row = next(row for row in result.volumes if (row.case, row.structure) == ("sub-B01", "cortex"))
    assert row.status == "ok" and row.reference_ml is None
    assert row.message.startswith("reference: ") and mask.name in row.message
    assert str(mask) in caplog.text


def test_a_structure_asked_for_twice_is_measured_once(folders: dict[str, Folder], tmp_path: Path):
    result = evaluate_volumetry(folders["te120"].path, tmp_path / "out", structures=["cortex", "cortex"])
    assert len(result.volumes) == len(SUBJECTS)


def test_a_training_run_keeps_its_table(folders: dict[str, Folder], tmp_path: Path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "metrics.csv").write_text("epoch,train/loss")
    words = [f"predictions={folders['te120'].path}", "references=null", f"out={tmp_path / 'run'}"]
    for recipe in ("segmentation", "quality", "volumetry"):
        with pytest.raises(ConfigError, match="run: is a training run; choose another out"):
            main(compose("evaluate", [f"recipe={recipe}", *words]))
    assert (tmp_path / "run" / "metrics.csv").read_text() == "epoch,train/loss"
