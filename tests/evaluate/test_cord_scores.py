"""A cord is scored by its mask, its ends, its centreline and its area in each slice, predictions side by side."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.config import compose
from ankleseg.errors import AnklesegError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.cord import evaluate_cord
from ankleseg.evaluate.cord_scores import CordScore
from ankleseg.volumes import write_volume
from ankleseg.volumes.geometry import reorient

DOWN = np.diag([1.0, 1.0, -2.0, 1.0])  # slices of 2 mm, the highest first
SHAPE = (24, 26, 20)


def cord(first: int = 4, last: int = 16, *, radius: float = 4.0, behind: int = 0) -> np.ndarray:
    """A straight cord through the slices `first` to `last` − 1, moved backwards by so many voxels."""
    x, y = np.meshgrid(np.arange(SHAPE[0]) - 11, np.arange(SHAPE[1]) - 13 + behind, indexing="ij")
    mask = np.zeros(SHAPE, np.uint8)
    mask[..., first:last] = (x**2 + y**2 <= radius**2)[..., None]
    return mask


def save(path: Path, mask: np.ndarray, codes: str = "RAI") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, *reorient(mask, DOWN, codes))
    return path


def references(folder: Path, mask: np.ndarray, codes: str = "RAI") -> Path:
    save(folder / "s1_t2.nii.gz", mask.astype(np.float32) + 1, codes)
    save(folder / "s1_cord.nii.gz", mask, codes)
    (folder / "table.csv").write_text("case,image,mask_cord\ns1,s1_t2.nii.gz,s1_cord.nii.gz\n")
    return folder / "table.csv"


def predicted(folder: Path, mask: np.ndarray, codes: str = "RAI") -> Path:
    save(folder / "s1_label-cord_mask.nii.gz", mask, codes)
    return folder


@pytest.fixture(autouse=True)
def fast(request: pytest.FixtureRequest, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("ankleseg.evaluate.cord_page._pictures", lambda *_: [])


def scored(tmp_path: Path, prediction: np.ndarray, reference: np.ndarray, codes: str = "RAI") -> CordScore:
    table = references(tmp_path / "truth", reference, codes)
    result = evaluate_cord(predicted(tmp_path / "found", prediction, codes), table, tmp_path / "out")
    (row,) = result.cord
    return row


def slices_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "cord_slices.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_cord_is_perfect_against_itself(tmp_path: Path):
    row = scored(tmp_path, cord(), cord())
    assert (row.status, row.finding, row.dice, row.hd95_mm) == ("ok", "found", 1.0, 0.0)
    assert row.lower_end_mm == row.upper_end_mm == row.centreline_largest_mm == row.area_error_size_percent == 0
    assert row.centreline_within_1_5_mm == row.area_within_5_percent == 1.0
    assert (row.slices, row.slices_missed, row.slices_beyond) == (12, 0, 0)
    assert row.area_mm2 == row.reference_area_mm2 == pytest.approx(float(cord().sum()) / 12)


@for_all("codes", ["RAI", "LPS", "PSR", "SLA", "AIL"])
def test_each_error_is_told_on_its_own_however_the_scan_is_stored(codes: str, tmp_path: Path):
    moved = scored(tmp_path / "moved", cord(behind=2), cord(), codes)
    assert moved.centreline_median_mm == pytest.approx(2) and moved.area_error_size_percent == pytest.approx(0)
    assert (moved.centreline_within_1_5_mm, moved.centreline_within_5_mm) == (0, 1)
    thin = scored(tmp_path / "thin", cord(radius=3), cord(), codes)
    expected = 100 * (cord(radius=3).sum() / cord().sum() - 1)
    assert thin.area_error_percent == pytest.approx(expected) and thin.area_error_size_percent == pytest.approx(
        -expected
    )
    assert thin.centreline_largest_mm == pytest.approx(0) and thin.area_within_5_percent == 0
    short = scored(tmp_path / "short", cord(3, 13), cord(), codes)  # slice 3 lies above the reference
    assert (short.upper_end_mm, short.lower_end_mm) == (pytest.approx(2), pytest.approx(-6))
    assert (short.slices, short.slices_missed, short.slices_beyond) == (12, 3, 1)
    assert short.area_error_percent == pytest.approx(-25) and short.area_within_5_percent == 0.75
    assert short.centreline_within_5_mm == 0.75 and short.centreline_largest_mm == pytest.approx(0)


def test_slices_run_from_below_and_a_hole_is_a_slice_of_no_area(tmp_path: Path):
    hole = cord(3, 16)
    hole[..., 9] = 0
    scored(tmp_path, hole, cord())
    rows = slices_of(tmp_path / "out")
    assert [int(row["slice"]) for row in rows] == list(range(15, 2, -1))
    assert [row["along_mm"] for row in rows] == [*(str(2.0 * n) for n in range(12)), ""]
    assert [row["area_error_percent"] for row in rows] == ["0.0"] * 6 + ["-100.0"] + ["0.0"] * 5 + [""]
    assert (rows[6]["area_mm2"], rows[6]["right_left_mm"], rows[6]["reference_solidity"]) == ("0.0", "", "1.0")
    assert float(rows[0]["right_left_mm"]) == pytest.approx(8, rel=0.05)


def test_empty_masks_cannot_flatter(tmp_path: Path):
    nothing = np.zeros(SHAPE, np.uint8)
    both = scored(tmp_path / "both", nothing, nothing)
    assert (both.finding, both.dice, both.area_error_percent, both.centreline_within_5_mm) == (
        "both empty",
        *[None] * 3,
    )
    missed = scored(tmp_path / "missed", nothing, cord())
    assert (missed.finding, missed.dice, missed.area_error_percent, missed.slices_missed) == ("missed", 0, -100, 12)
    assert (missed.centreline_within_5_mm, missed.centreline_largest_mm, missed.area_within_5_percent) == (0, None, 0)
    assert missed.hd95_mm == pytest.approx(np.linalg.norm([23, 25, 38]), rel=0.1)
    invented = scored(tmp_path / "invented", cord(), nothing)
    assert (invented.finding, invented.dice, invented.area_error_percent) == ("invented", 0, None)
    assert (invented.slices, invented.slices_beyond, invented.centreline_median_mm) == (0, 12, None)


def test_the_centreline_that_was_segmented_along_is_the_one_compared(tmp_path: Path):
    table = references(tmp_path / "truth", cord())
    folder = predicted(tmp_path / "found", cord())
    centre = DOWN @ [11, 13, 0, 1]
    points = [[centre[0] + 3, centre[1], -2.0 * slice] for slice in range(20)]
    (folder / "line.csv").write_text("x_mm,y_mm,z_mm\n" + "".join(f"{x},{y},{z}\n" for x, y, z in points))
    row = {"case": "s1", "status": "ok", "masks": {"cord": "s1_label-cord_mask.nii.gz"}, "centreline": "line.csv"}
    (folder / "predictions.json").write_text(json.dumps({"structures": ["cord"], "mode": "tiles", "cases": [row]}))
    (found,) = evaluate_cord(folder, table, tmp_path / "out").cord
    assert found.centreline_from == "file" and found.centreline_median_mm == pytest.approx(3)
    assert (found.lower_end_mm, found.dice) == (0, 1), "the ends are those of the mask"
    (folder / "line.csv").write_text("no points\n")
    result = evaluate_cord(folder, table, tmp_path / "out")
    assert result.cord[0].status == "unreadable" and "line.csv: holds no points" in result.cord[0].message
    assert result.scored == 0


def test_centrelines_of_a_phantom_are_compared_with_the_exact_one(tmp_path: Path):
    root = tmp_path / "phantom"
    save(root / "sub-N01/anat/sub-N01_T2w.nii.gz", cord().astype(np.float32) + 1)
    save(root / "derivatives/manual/sub-N01/anat/sub-N01_label-cord_mask.nii.gz", cord())
    truth = root / "derivatives/truth/sub-N01/cord/sub-N01_centreline.csv"
    truth.parent.mkdir(parents=True)
    x, y, _, _ = DOWN @ [11, 13, 0, 1]
    truth.write_text("x,y,z,area\n" + "".join(f"{x},{y - 1.25},{-2.0 * number},50\n" for number in range(4, 16)))
    found = predicted(tmp_path / "found", cord())
    (found / "s1_label-cord_mask.nii.gz").rename(found / "sub-N01_label-cord_mask.nii.gz")
    (row,) = evaluate_cord(found, root, tmp_path / "out").cord
    assert (row.dice, row.centreline_from, row.centreline_to) == (1, "mask", "truth")
    assert row.centreline_median_mm == pytest.approx(1.25) and row.centreline_within_1_5_mm == 1
    assert row.lower_end_mm == 0, "the ends are those of the mask"


@pytest.mark.usefixtures("drawn")
def test_predictions_stand_side_by_side_in_tables_curves_and_pictures(tmp_path: Path):
    table = references(tmp_path / "truth", cord())
    folders = {"automatic": cord(behind=2), "exact": cord()}
    given = {name: predicted(tmp_path / name, mask) for name, mask in folders.items()}
    result = evaluate_cord(given, table, tmp_path / "out", date="2026-01-02 03:04")
    first, second = result.describe().splitlines()[:2]
    assert re.fullmatch(r"automatic cord: Dice 0\.\d+ over 1, centreline 2\.00 mm \(median\), area in .* 0\.0 %", first)
    assert second.startswith("exact cord: Dice 1.000 over 1, centreline 0.00 mm")
    html = (tmp_path / "out/report.html").read_text()
    headings = re.findall("<h2[^>]*>([^<]*)", html)
    assert headings[:3] == ["The cord", "Side by side", "Along the cord"] and headings[-1] == "All cords"
    assert html.count("data:image/png;base64,") == 2 + 2 + 1  # of the cord, figures, axial slices
    assert str(tmp_path) not in html
    content = json.loads((tmp_path / "out/cord.json").read_text(), parse_constant=pytest.fail)
    assert [row["predictions"] for row in content["rows"]] == ["automatic", "exact"]
    assert content["summary"][0]["centreline_median_mm"]["mean"] == pytest.approx(2)
    assert {row["predictions"] for row in slices_of(tmp_path / "out")} == {"automatic", "exact"}


def test_the_command_scores_and_fails_where_nothing_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = references(tmp_path / "truth", cord())
    folder = predicted(tmp_path / "found", cord())
    asked = ["recipe=cord", f"references={table}", f"predictions={folder}"]
    main(compose("evaluate", [*asked, f"out={tmp_path / 'out'}"]))
    assert "found cord: Dice 1.000 over 1" in capsys.readouterr().out
    save(folder / "s1_label-cord_mask.nii.gz", cord()[1:])
    with pytest.raises(AnklesegError, match="cord.csv: nothing could be scored: .* lies on another grid than"):
        main(compose("evaluate", [*asked, f"out={tmp_path / 'out'}"]))
