"""Image quality: every row can be worked out again, methods share their voxels, and no case takes the others down."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_study import AFFINE, CASES, SHAPE, SMOOTH, THICK, THICK_AFFINE, Folder, anatomy, cortex, rows_of, save, thick

from ankleseg.errors import CohortError, FileError
from ankleseg.evaluate.quality import evaluate_quality
from ankleseg.evaluate.quality_summary import summarise_images
from ankleseg.measures import psnr, ssim
from ankleseg.volumes import reorient, resample, resampled_grid

pytestmark = pytest.mark.usefixtures("quick_images")


def numbers(row: dict[str, str]) -> list[float]:
    return [float(row[name]) for name in ("psnr_db", "ssim", "correlation", "gms", "gmsd")]


def test_every_image_has_a_row_in_every_region(restored: Folder, fine: Path, tmp_path: Path):
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    images = (*SMOOTH, "sharp")
    assert set(rows) == {
        (case, image, region) for case in CASES for image in images for region in ("whole", "structures")
    }
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {image: row["kind"] for (_, image, _), row in rows.items()} == {
        **dict.fromkeys(SMOOTH, "interpolation"),
        "sharp": "prediction",
    }


def test_rows_are_the_measures_of_the_arrays(restored: Folder, fine: Path, tmp_path: Path):
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    truth, found = anatomy("sub-B01"), restored.usual("sub-B01")
    for region, mask in (("whole", None), ("structures", cortex("sub-B01"))):
        row = rows["sub-B01", "sharp", region]
        assert float(row["psnr_db"]) == pytest.approx(psnr(found, truth, mask=mask), abs=1e-4)
        assert float(row["ssim"]) == pytest.approx(ssim(found, truth, mask=mask), abs=1e-5)
        assert float(row["peak"]) == pytest.approx(truth.max())
        assert int(row["voxels"]) == (truth.size if mask is None else mask.sum())


def test_a_thick_scan_is_interpolated_where_its_header_puts_it(restored: Folder, fine: Path, tmp_path: Path):
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows, truth, mask = rows_of(tmp_path / "out"), anatomy("sub-B01"), cortex("sub-B01")
    for name, order in zip(SMOOTH, (0, 1, 3), strict=True):
        plain = resample(np.pad(thick(truth), 3, mode="edge"), shifted(THICK_AFFINE, -3), SHAPE, AFFINE, order=order)
        expected = psnr(plain, truth, mask=mask)
        assert float(rows["sub-B01", name, "structures"]["psnr_db"]) == pytest.approx(expected, abs=0.01)


def shifted(affine: np.ndarray, voxels: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.full(3, voxels)
    return moved


def test_a_scan_half_a_slice_off_is_interpolated_worse(restored: Folder, fine: Path, tmp_path: Path):
    evaluate_quality(restored.done(), fine, tmp_path / "right")
    moved = THICK_AFFINE.copy()
    moved[2, 3] += THICK / 2
    save(Path(restored.row("sub-B01")["image"]), thick(anatomy("sub-B01")), moved)
    evaluate_quality(restored.path, fine, tmp_path / "wrong")
    right, wrong = (rows_of(tmp_path / name) for name in ("right", "wrong"))
    for image in SMOOTH:
        key = "sub-B01", image, "structures"
        assert float(wrong[key]["psnr_db"]) < float(right[key]["psnr_db"]) - 1
        assert wrong["sub-B02", image, "structures"] == right["sub-B02", image, "structures"]


@pytest.mark.parametrize("codes", ["LPS", "SRA"])
def test_the_orientation_of_the_files_does_not_matter(restored: Folder, fine: Path, tmp_path: Path, codes: str):
    evaluate_quality(restored.done(), fine, tmp_path / "one")
    for name in CASES:
        restored.put(name, *reorient(restored.usual(name), AFFINE, codes))
        save(Path(restored.row(name)["image"]), *reorient(thick(anatomy(name)), THICK_AFFINE, codes))
    evaluate_quality(restored.path, fine, tmp_path / "other")
    one, other = rows_of(tmp_path / "one"), rows_of(tmp_path / "other")
    assert one.keys() == other.keys()
    for key in one:
        assert numbers(other[key]) == pytest.approx(numbers(one[key]), abs=2e-4), key


def test_the_gain_is_that_over_the_cubic_spline(restored: Folder, fine: Path, tmp_path: Path):
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    for (case, _, region), row in rows.items():
        spline = float(rows[case, "cubic spline", region]["psnr_db"])
        assert float(row["gain_db"]) == pytest.approx(float(row["psnr_db"]) - spline, abs=2e-6)
    gains = [float(rows[case, "sharp", "structures"]["gain_db"]) for case in CASES]
    (entry,) = (e for e in summarise_images(result.images) if (e["image"], e["region"]) == ("sharp", "structures"))
    assert entry["gain_db"]["mean"] == pytest.approx(np.mean(gains), abs=1e-5) and min(gains) > 0
    assert entry["psnr_db"]["std"] is not None and entry["cases"] == 2
    assert f"{entry['gain_db']['mean']:+.2f} dB" in result.describe()


def test_the_spline_itself_gains_nothing(restored: Folder, fine: Path, tmp_path: Path):
    extended = np.pad(thick(anatomy("sub-B01")), 8, mode="edge")
    restored.put("sub-B01", resample(extended, shifted(THICK_AFFINE, -8), SHAPE, AFFINE, order=3))
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert float(rows["sub-B01", "sharp", "whole"]["gain_db"]) == pytest.approx(0, abs=1e-4)


def test_an_input_on_the_grid_of_the_reference_is_the_baseline(restored: Folder, fine: Path, tmp_path: Path):
    noisy = anatomy("sub-B01") + np.random.default_rng(5).normal(0, 20, SHAPE)
    save(Path(restored.row("sub-B01")["image"]), noisy)
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = {key[1:]: row for key, row in rows_of(tmp_path / "out").items() if key[0] == "sub-B01"}
    assert {image for image, _ in rows} == {"input", "sharp"}
    base, found = (float(rows[image, "whole"]["psnr_db"]) for image in ("input", "sharp"))
    assert base == pytest.approx(psnr(noisy.astype(np.float32), anatomy("sub-B01")), abs=1e-4)
    assert float(rows["sharp", "whole"]["gain_db"]) == pytest.approx(found - base, abs=2e-6)


def test_a_perfect_prediction_has_no_psnr_and_says_so(restored: Folder, fine: Path, tmp_path: Path):
    restored.put("sub-B01", anatomy("sub-B01"))
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    row = rows_of(tmp_path / "out")["sub-B01", "sharp", "whole"]
    assert (row["status"], row["psnr_db"], row["gain_db"]) == ("ok", "", "")
    assert row["message"] == "identical to the reference, so without a PSNR"
    assert [float(row[name]) for name in ("ssim", "correlation", "gms", "gmsd")] == pytest.approx([1, 1, 1, 0])


def test_a_prediction_on_another_grid_is_interpolated_and_says_so(restored: Folder, fine: Path, tmp_path: Path):
    shape, affine = resampled_grid(SHAPE, AFFINE, (1, 1, 0.75))
    usual = np.pad(restored.usual("sub-B01"), 8, mode="edge")
    restored.put("sub-B01", resample(usual, shifted(AFFINE, -8), shape, affine, order=3), affine)
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["sub-B01", "sharp", "whole"]["message"] == (
        "the prediction lies on another grid and was interpolated by a cubic spline"
    )
    assert rows["sub-B02", "sharp", "whole"]["message"] == rows["sub-B01", "linear", "whole"]["message"] == ""
    assert float(rows["sub-B01", "sharp", "structures"]["gain_db"]) > 0


def test_all_methods_are_compared_where_prediction_and_input_show_something(
    restored: Folder, fine: Path, tmp_path: Path
):
    restored.put("sub-B01", restored.usual("sub-B01")[..., 1:], along_z(1))
    save(Path(restored.row("sub-B01")["image"]), thick(anatomy("sub-B01"))[:-1], THICK_AFFINE)
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = {key[1:]: row for key, row in rows_of(tmp_path / "out").items() if key[0] == "sub-B01"}
    assert {int(rows[image, "whole"]["voxels"]) for image in (*SMOOTH, "sharp")} == {25 * 28 * 23}
    mask = cortex("sub-B01")[:-1, :, 1:]
    expected = psnr(restored.usual("sub-B01")[:-1, :, 1:], anatomy("sub-B01")[:-1, :, 1:], mask=mask)
    assert float(rows["sharp", "structures"]["psnr_db"]) == pytest.approx(expected, abs=1e-4)
    assert rows["sharp", "whole"]["message"].startswith("compared where prediction and input show anything: ")


def along_z(voxels: int) -> np.ndarray:
    moved = AFFINE.copy()
    moved[2, 3] += voxels
    return moved


def test_without_structures_the_foreground_is_the_region(restored: Folder, fine: Path, tmp_path: Path):
    for file in fine.rglob("*_mask.nii.gz"):
        file.unlink()
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {region for _, _, region in rows} == {"whole", "foreground"}
    head = (anatomy("sub-B01") > 0).sum()
    assert int(rows["sub-B01", "sharp", "foreground"]["voxels"]) == pytest.approx(head, rel=0.03)
    whole, inside = (float(rows["sub-B01", "sharp", region]["psnr_db"]) for region in ("whole", "foreground"))
    assert inside < whole  # air is easy


def no_prediction(restored: Folder, fine: Path) -> None:
    (restored.path / "sub-B01/sub-B01_sharp.nii.gz").unlink()


def failed(restored: Folder, fine: Path) -> None:
    restored.row("sub-B01").update(status="failed", message="sub-B01.nii.gz: is truncated", images={})


def no_image(restored: Folder, fine: Path) -> None:
    restored.row("sub-B01")["images"] = {}


def no_reference_image(restored: Folder, fine: Path) -> None:
    (fine / "sub-B01/anat/sub-B01_T2w.nii.gz").unlink()


def no_case(restored: Folder, fine: Path) -> None:
    (fine / "sub-B01").rename(fine / "sub-B09")


def elsewhere(restored: Folder, fine: Path) -> None:
    restored.put("sub-B01", restored.usual("sub-B01"), along_z(10))


def truncated(restored: Folder, fine: Path) -> None:
    file = fine / "sub-B01/anat/sub-B01_T2w.nii.gz"
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (failed, "failed", "sub-B01.nii.gz: is truncated"),
        (no_image, "no prediction", "no image was predicted"),
        (no_prediction, "unreadable", "sub-B01_sharp.nii.gz: does not exist"),
        (no_case, "no reference", "the references hold no case sub-B01"),
        (no_reference_image, "no reference", "holds no image"),
        (truncated, "unreadable", "sub-B01_T2w.nii.gz"),
        (elsewhere, "different field of view", "% of the structures of the reference; predict the scan of this case"),
    ],
)
def test_a_case_that_cannot_be_scored_says_why_and_the_others_go_on(
    spoil: Callable, status: str, message: str, restored: Folder, fine: Path, tmp_path: Path
):
    spoil(restored, fine)
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    row = rows["sub-B01", "sharp", ""]
    assert row["status"] == status and message in row["message"]
    assert row["psnr_db"] == "" and {key for key in rows if key[0] == "sub-B01"} == {("sub-B01", "sharp", "")}
    assert rows["sub-B02", "sharp", "whole"]["status"] == "ok" and result.scored == 1
    assert f"sub-B01: {status}" in result.describe()
    assert f"sub-B01 ({status})" in (tmp_path / "out" / "report.html").read_text()


def test_without_its_input_a_prediction_is_scored_alone(restored: Folder, fine: Path, tmp_path: Path):
    restored.row("sub-B01")["image"] = str(tmp_path / "gone.nii.gz")
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    missing = rows["sub-B01", "cubic spline", ""]
    assert missing["status"] == "no input" and "gone.nii.gz: does not exist" in missing["message"]
    found = rows["sub-B01", "sharp", "whole"]
    assert (found["status"], found["gain_db"]) == ("ok", "") and float(found["psnr_db"]) > 20


def test_a_case_of_another_name_is_found_by_its_subject(restored: Folder, fine: Path, tmp_path: Path):
    restored.row("sub-B01")["case"] = "sub-B01_acq-thick_T2w"
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    assert result.scored == 2


def test_structures_are_scored_too(restored: Folder, fine: Path, tmp_path: Path):
    restored.put_mask("sub-B01", cortex("sub-B01"))
    shape, affine = resampled_grid(SHAPE, AFFINE, (0.5, 0.5, 0.5))
    restored.put_mask("sub-B02", cortex("sub-B02").repeat(2, 0).repeat(2, 1).repeat(2, 2), affine)
    assert shape == tuple(2 * n for n in SHAPE)
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    same, finer = result.structures
    assert (same.dice, same.hd95_mm, same.message) == (1, 0, "")
    assert finer.dice == 1 and "the prediction lies on another grid" in finer.message
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        assert [row["dice"] for row in csv.DictReader(file)] == ["1.0", "1.0"]


def test_a_mask_that_was_missed_is_shown_and_one_elsewhere_is_not_scored(restored: Folder, fine: Path, tmp_path: Path):
    restored.put_mask("sub-B01", np.zeros_like(cortex("sub-B01")))
    away = AFFINE.copy()
    away[:3, 3] += 500
    restored.put_mask("sub-B02", cortex("sub-B02"), away)
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    missed, elsewhere = result.structures
    assert (missed.dice, missed.finding) == (0, "missed")
    assert "cortex: Dice 0.000" in (tmp_path / "out" / "report.html").read_text()
    assert (elsewhere.status, elsewhere.dice) == ("different field of view", None)
    assert "the prediction shows 0 % of cortex" in elsewhere.message


def test_what_prediction_warned_of_is_told_again(restored: Folder, fine: Path, tmp_path: Path):
    restored.row("sub-B01")["message"] = "its slices lie in another plane: do not trust the result"
    restored.put_mask("sub-B01", cortex("sub-B01"))
    result = evaluate_quality(restored.done(), fine, tmp_path / "out")
    mine = [row for row in (*result.images, *result.structures) if row.case == "sub-B01"]
    assert all("do not trust" in row.message for row in mine if getattr(row, "kind", "prediction") == "prediction")


def test_without_common_structures_there_is_no_table_of_them(restored: Folder, fine: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.csv").write_text("of an earlier evaluation")
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["quality.csv", "quality.json", "report.html"]


def test_a_reference_of_the_kind_of_the_inputs_is_taken_or_the_one_that_is_asked_for(
    restored: Folder, fine: Path, tmp_path: Path
):
    for name in CASES:
        save(fine / name / "anat" / f"{name}_T1w.nii.gz", 1000 - anatomy(name))
        image = Path(restored.row(name)["image"])
        restored.row(name)["image"] = str(image.rename(image.with_name(f"{name}_acq-thick_T2w.nii.gz")))
    alike = evaluate_quality(restored.done(), fine, tmp_path / "out")
    assert min(row.correlation or 0 for row in alike.images) > 0.3
    other = evaluate_quality(restored.path, fine, tmp_path / "out", suffix="T1w")
    assert max(row.correlation or 0 for row in other.images) < 0
    assert all("choose a reference of the same contrast" in row.message for row in other.images)
    assert not any("contrast" in row.message for row in alike.images)


def test_predictions_without_images_are_refused(restored: Folder, fine: Path, tmp_path: Path):
    restored.content["images"] = []
    for row in restored.content["cases"]:
        row["images"] = {}
    with pytest.raises(FileError, match="holds no predicted images; predict with a network that gives images"):
        evaluate_quality(restored.done(), fine, tmp_path / "out")
    with pytest.raises(CohortError, match="does not exist"):
        evaluate_quality(Folder(tmp_path / "others").done(), tmp_path / "nowhere", tmp_path / "out")
