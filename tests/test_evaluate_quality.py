"""Image quality: every row can be worked out again, methods share their voxels, and no case takes the others down."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ankleseg.config import compose
from ankleseg.errors import AnklesegError, CohortError, ConfigError, FileError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.quality import evaluate_quality
from ankleseg.evaluate.quality_summary import summarise_images
from ankleseg.measures import psnr, ssim
from ankleseg.volumes import reorient, resample, resampled_grid, write_volume

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


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """A BIDS cohort of two fine scans with their cortex."""
    root = tmp_path / "fine"
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


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "predictions")


@pytest.fixture
def drawn() -> None:
    """Asked for by the tests of the report: its pictures are drawn."""


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the other tests the time of drawing."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.quality_picture.image_comparison", lambda *_, **__: b"")


def rows_of(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(out / "quality.csv", newline="") as file:
        return {(row["case"], row["image"], row["region"]): row for row in csv.DictReader(file)}


def numbers(row: dict[str, str]) -> list[float]:
    return [float(row[name]) for name in ("psnr_db", "ssim", "correlation", "gms", "gmsd")]


def hashes(folder: Path) -> dict[Path, str]:
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ankleseg.evaluate", "recipe=quality", *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True)


def test_every_image_has_a_row_in_every_region(folder: Folder, references: Path, tmp_path: Path):
    evaluate_quality(folder.done(), references, tmp_path / "out")
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


def test_rows_are_the_measures_of_the_arrays(folder: Folder, references: Path, tmp_path: Path):
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    truth, found = anatomy("sub-B01"), folder.usual("sub-B01")
    for region, mask in (("whole", None), ("structures", cortex("sub-B01"))):
        row = rows["sub-B01", "sharp", region]
        assert float(row["psnr_db"]) == pytest.approx(psnr(found, truth, mask=mask), abs=1e-4)
        assert float(row["ssim"]) == pytest.approx(ssim(found, truth, mask=mask), abs=1e-5)
        assert float(row["peak"]) == pytest.approx(truth.max())
        assert int(row["voxels"]) == (truth.size if mask is None else mask.sum())


def test_a_thick_scan_is_interpolated_where_its_header_puts_it(folder: Folder, references: Path, tmp_path: Path):
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows, truth, mask = rows_of(tmp_path / "out"), anatomy("sub-B01"), cortex("sub-B01")
    for name, order in zip(SMOOTH, (0, 1, 3), strict=True):
        plain = resample(np.pad(thick(truth), 3, mode="edge"), shifted(THICK_AFFINE, -3), SHAPE, AFFINE, order=order)
        expected = psnr(plain, truth, mask=mask)
        assert float(rows["sub-B01", name, "structures"]["psnr_db"]) == pytest.approx(expected, abs=0.01)


def shifted(affine: np.ndarray, voxels: float) -> np.ndarray:
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ np.full(3, voxels)
    return moved


def test_a_scan_half_a_slice_off_is_interpolated_worse(folder: Folder, references: Path, tmp_path: Path):
    evaluate_quality(folder.done(), references, tmp_path / "right")
    moved = THICK_AFFINE.copy()
    moved[2, 3] += THICK / 2
    save(Path(folder.row("sub-B01")["image"]), thick(anatomy("sub-B01")), moved)
    evaluate_quality(folder.path, references, tmp_path / "wrong")
    right, wrong = (rows_of(tmp_path / name) for name in ("right", "wrong"))
    for image in SMOOTH:
        key = "sub-B01", image, "structures"
        assert float(wrong[key]["psnr_db"]) < float(right[key]["psnr_db"]) - 1
        assert wrong["sub-B02", image, "structures"] == right["sub-B02", image, "structures"]


@pytest.mark.parametrize("codes", ["LPS", "SRA"])
def test_the_orientation_of_the_files_does_not_matter(folder: Folder, references: Path, tmp_path: Path, codes: str):
    evaluate_quality(folder.done(), references, tmp_path / "one")
    for name in CASES:
        folder.put(name, *reorient(folder.usual(name), AFFINE, codes))
        save(Path(folder.row(name)["image"]), *reorient(thick(anatomy(name)), THICK_AFFINE, codes))
    evaluate_quality(folder.path, references, tmp_path / "other")
    one, other = rows_of(tmp_path / "one"), rows_of(tmp_path / "other")
    assert one.keys() == other.keys()
    for key in one:
        assert numbers(other[key]) == pytest.approx(numbers(one[key]), abs=2e-4), key


def test_the_gain_is_that_over_the_cubic_spline(folder: Folder, references: Path, tmp_path: Path):
    result = evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    for (case, _, region), row in rows.items():
        spline = float(rows[case, "cubic spline", region]["psnr_db"])
        assert float(row["gain_db"]) == pytest.approx(float(row["psnr_db"]) - spline, abs=2e-6)
    gains = [float(rows[case, "sharp", "structures"]["gain_db"]) for case in CASES]
    (entry,) = (e for e in summarise_images(result.images) if (e["image"], e["region"]) == ("sharp", "structures"))
    assert entry["gain_db"]["mean"] == pytest.approx(np.mean(gains), abs=1e-5) and min(gains) > 0
    assert entry["psnr_db"]["std"] is not None and entry["cases"] == 2
    assert f"{entry['gain_db']['mean']:+.2f} dB" in result.describe()


def test_the_spline_itself_gains_nothing(folder: Folder, references: Path, tmp_path: Path):
    extended = np.pad(thick(anatomy("sub-B01")), 8, mode="edge")
    folder.put("sub-B01", resample(extended, shifted(THICK_AFFINE, -8), SHAPE, AFFINE, order=3))
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert float(rows["sub-B01", "sharp", "whole"]["gain_db"]) == pytest.approx(0, abs=1e-4)


def test_an_input_on_the_grid_of_the_reference_is_the_baseline(folder: Folder, references: Path, tmp_path: Path):
    noisy = anatomy("sub-B01") + np.random.default_rng(5).normal(0, 20, SHAPE)
    save(Path(folder.row("sub-B01")["image"]), noisy)
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = {key[1:]: row for key, row in rows_of(tmp_path / "out").items() if key[0] == "sub-B01"}
    assert {image for image, _ in rows} == {"input", "sharp"}
    base, found = (float(rows[image, "whole"]["psnr_db"]) for image in ("input", "sharp"))
    assert base == pytest.approx(psnr(noisy.astype(np.float32), anatomy("sub-B01")), abs=1e-4)
    assert float(rows["sharp", "whole"]["gain_db"]) == pytest.approx(found - base, abs=2e-6)


def test_a_perfect_prediction_has_no_psnr_and_says_so(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-B01", anatomy("sub-B01"))
    evaluate_quality(folder.done(), references, tmp_path / "out")
    row = rows_of(tmp_path / "out")["sub-B01", "sharp", "whole"]
    assert (row["status"], row["psnr_db"], row["gain_db"]) == ("ok", "", "")
    assert row["message"] == "identical to the reference, so without a PSNR"
    assert [float(row[name]) for name in ("ssim", "correlation", "gms", "gmsd")] == pytest.approx([1, 1, 1, 0])


def test_a_prediction_on_another_grid_is_interpolated_and_says_so(folder: Folder, references: Path, tmp_path: Path):
    shape, affine = resampled_grid(SHAPE, AFFINE, (1, 1, 0.75))
    usual = np.pad(folder.usual("sub-B01"), 8, mode="edge")
    folder.put("sub-B01", resample(usual, shifted(AFFINE, -8), shape, affine, order=3), affine)
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert rows["sub-B01", "sharp", "whole"]["message"] == (
        "the prediction lies on another grid and was interpolated by a cubic spline"
    )
    assert rows["sub-B02", "sharp", "whole"]["message"] == rows["sub-B01", "linear", "whole"]["message"] == ""
    assert float(rows["sub-B01", "sharp", "structures"]["gain_db"]) > 0


def test_all_methods_are_compared_where_prediction_and_input_show_something(
    folder: Folder, references: Path, tmp_path: Path
):
    folder.put("sub-B01", folder.usual("sub-B01")[..., 1:], along_z(1))
    save(Path(folder.row("sub-B01")["image"]), thick(anatomy("sub-B01"))[:-1], THICK_AFFINE)
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = {key[1:]: row for key, row in rows_of(tmp_path / "out").items() if key[0] == "sub-B01"}
    assert {int(rows[image, "whole"]["voxels"]) for image in (*SMOOTH, "sharp")} == {25 * 28 * 23}
    mask = cortex("sub-B01")[:-1, :, 1:]
    expected = psnr(folder.usual("sub-B01")[:-1, :, 1:], anatomy("sub-B01")[:-1, :, 1:], mask=mask)
    assert float(rows["sharp", "structures"]["psnr_db"]) == pytest.approx(expected, abs=1e-4)
    assert rows["sharp", "whole"]["message"].startswith("compared where prediction and input show anything: ")


def along_z(voxels: int) -> np.ndarray:
    moved = AFFINE.copy()
    moved[2, 3] += voxels
    return moved


def test_without_structures_the_foreground_is_the_region(folder: Folder, references: Path, tmp_path: Path):
    for file in references.rglob("*_mask.nii.gz"):
        file.unlink()
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert {region for _, _, region in rows} == {"whole", "foreground"}
    head = (anatomy("sub-B01") > 0).sum()
    assert int(rows["sub-B01", "sharp", "foreground"]["voxels"]) == pytest.approx(head, rel=0.03)
    whole, inside = (float(rows["sub-B01", "sharp", region]["psnr_db"]) for region in ("whole", "foreground"))
    assert inside < whole  # air is easy


def no_prediction(folder: Folder, references: Path) -> None:
    (folder.path / "sub-B01/sub-B01_sharp.nii.gz").unlink()


def failed(folder: Folder, references: Path) -> None:
    folder.row("sub-B01").update(status="failed", message="sub-B01.nii.gz: is truncated", images={})


def no_image(folder: Folder, references: Path) -> None:
    folder.row("sub-B01")["images"] = {}


def no_reference_image(folder: Folder, references: Path) -> None:
    (references / "sub-B01/anat/sub-B01_T2w.nii.gz").unlink()


def no_case(folder: Folder, references: Path) -> None:
    (references / "sub-B01").rename(references / "sub-B09")


def elsewhere(folder: Folder, references: Path) -> None:
    folder.put("sub-B01", folder.usual("sub-B01"), along_z(10))


def truncated(folder: Folder, references: Path) -> None:
    file = references / "sub-B01/anat/sub-B01_T2w.nii.gz"
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
    spoil: Callable, status: str, message: str, folder: Folder, references: Path, tmp_path: Path
):
    spoil(folder, references)
    result = evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    row = rows["sub-B01", "sharp", ""]
    assert row["status"] == status and message in row["message"]
    assert row["psnr_db"] == "" and {key for key in rows if key[0] == "sub-B01"} == {("sub-B01", "sharp", "")}
    assert rows["sub-B02", "sharp", "whole"]["status"] == "ok" and result.scored == 1
    assert f"sub-B01: {status}" in result.describe()
    assert f"sub-B01 ({status})" in (tmp_path / "out" / "report.html").read_text()


def test_without_its_input_a_prediction_is_scored_alone(folder: Folder, references: Path, tmp_path: Path):
    folder.row("sub-B01")["image"] = str(tmp_path / "gone.nii.gz")
    evaluate_quality(folder.done(), references, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    missing = rows["sub-B01", "cubic spline", ""]
    assert missing["status"] == "no input" and "gone.nii.gz: does not exist" in missing["message"]
    found = rows["sub-B01", "sharp", "whole"]
    assert (found["status"], found["gain_db"]) == ("ok", "") and float(found["psnr_db"]) > 20


def test_a_case_of_another_name_is_found_by_its_subject(folder: Folder, references: Path, tmp_path: Path):
    folder.row("sub-B01")["case"] = "sub-B01_acq-thick_T2w"
    result = evaluate_quality(folder.done(), references, tmp_path / "out")
    assert result.scored == 2


def test_structures_are_scored_too(folder: Folder, references: Path, tmp_path: Path):
    folder.put_mask("sub-B01", cortex("sub-B01"))
    shape, affine = resampled_grid(SHAPE, AFFINE, (0.5, 0.5, 0.5))
    folder.put_mask("sub-B02", cortex("sub-B02").repeat(2, 0).repeat(2, 1).repeat(2, 2), affine)
    assert shape == tuple(2 * n for n in SHAPE)
    result = evaluate_quality(folder.done(), references, tmp_path / "out")
    same, finer = result.structures
    assert (same.dice, same.hd95_mm, same.message) == (1, 0, "")
    assert finer.dice == 1 and "the prediction lies on another grid" in finer.message
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        assert [row["dice"] for row in csv.DictReader(file)] == ["1.0", "1.0"]


def test_without_common_structures_there_is_no_table_of_them(folder: Folder, references: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.csv").write_text("of an earlier evaluation")
    evaluate_quality(folder.done(), references, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["quality.csv", "quality.json", "report.html"]


def test_a_reference_of_the_kind_of_the_inputs_is_taken_or_the_one_that_is_asked_for(
    folder: Folder, references: Path, tmp_path: Path
):
    for name in CASES:
        save(references / name / "anat" / f"{name}_T1w.nii.gz", 1000 - anatomy(name))
        image = Path(folder.row(name)["image"])
        folder.row(name)["image"] = str(image.rename(image.with_name(f"{name}_acq-thick_T2w.nii.gz")))
    alike = evaluate_quality(folder.done(), references, tmp_path / "out")
    assert min(row.correlation or 0 for row in alike.images) > 0.3
    other = evaluate_quality(folder.path, references, tmp_path / "out", suffix="T1w")
    assert max(row.correlation or 0 for row in other.images) < 0


def test_predictions_without_images_are_refused(folder: Folder, references: Path, tmp_path: Path):
    folder.content["images"] = []
    for row in folder.content["cases"]:
        row["images"] = {}
    with pytest.raises(FileError, match="holds no predicted images; predict with a network that gives images"):
        evaluate_quality(folder.done(), references, tmp_path / "out")
    with pytest.raises(CohortError, match="does not exist"):
        evaluate_quality(Folder(tmp_path / "others").done(), tmp_path / "nowhere", tmp_path / "out")


def test_inputs_stay_as_they_are_and_the_same_inputs_give_the_same_bytes(
    folder: Folder, references: Path, tmp_path: Path, drawn: None
):
    folder.put_mask("sub-B01", cortex("sub-B01"))
    folder.done()
    before = hashes(tmp_path)
    for name in ("one", "two"):
        evaluate_quality(folder.path, references, tmp_path / name, date="2025-01-02 03:04")
    assert before.items() <= hashes(tmp_path).items()
    assert list(hashes(tmp_path / "one").values()) == list(hashes(tmp_path / "two").values())


def test_the_json_defines_what_it_holds(folder: Folder, references: Path, tmp_path: Path):
    evaluate_quality(folder.done(), references, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert "maximum of the whole reference" in content["definitions"]["psnr_db"]
    measured = set(content["summary"][0]) - {"image", "kind", "region", "cases"}
    assert measured <= set(content["definitions"])
    assert len(content["rows"]) == len(rows_of(tmp_path / "out"))


def test_the_report_shows_the_smallest_gain_first_and_no_folder(
    folder: Folder, references: Path, tmp_path: Path, drawn: None
):
    folder.put("sub-B02", gaussian_filter(anatomy("sub-B02"), 2))
    folder.content["cases"].append({**folder.row("sub-B01"), "case": "sub-B03", "subject": "sub-B03", "images": {}})
    folder.row("sub-B03").update(status="failed", message=f"{tmp_path}/x/sub-B03.nii.gz: is truncated")
    evaluate_quality(folder.done(), references, tmp_path / "out", date="2025-01-02 03:04")
    html = (tmp_path / "out" / "report.html").read_text()
    assert re.findall(r"<article>\s*<header><h3>([^<]*)", html) == ["sub-B03", "sub-B02", "sub-B01"]
    assert html.count("data:image/png;base64,") == 2
    assert str(tmp_path) not in html and "/home/someone" not in html
    assert "sub-B03.nii.gz: is truncated" in html and "brain/2025-01-02/best.ckpt" in html
    assert not re.search(r"https?://", html)


def test_the_command_names_the_gain_and_the_report(folder: Folder, references: Path, tmp_path: Path):
    folder.done()
    result = command("predictions=predictions", f"references={references}", "out=here/out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert re.search(r"sharp, structures: PSNR \d+\.\d\d dB, \+\d+\.\d\d dB, SSIM 0\.\d{3} over 2", result.stdout)
    assert result.stdout.strip().endswith("report: here/out/report.html")


def test_the_command_fails_only_when_nothing_could_be_scored(folder: Folder, references: Path, tmp_path: Path):
    for row in folder.content["cases"]:
        row.update(status="failed", message="scan.nii.gz: is truncated")
    words = [f"predictions={folder.done()}", f"references={references}", f"out={tmp_path / 'out'}"]
    with pytest.raises(AnklesegError, match="quality.csv: nothing could be scored: scan.nii.gz: is truncated; see its"):
        main(compose("evaluate", ["recipe=quality", *words]))
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predictions=a"], "references is missing; add references=…"),
        (
            ["predictions={a: b}", "references=c"],
            "recipe=quality takes one folder of predictions; give the out= of ankleseg.predict",
        ),
    ],
)
def test_a_command_that_lacks_something_says_what(words: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        main(compose("evaluate", ["recipe=quality", "out=out", *words]))
    assert str(error.value) == said
