"""Protocols: patches count as patches, protocols stand side by side, a broken list of predictions is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from segmentation_study import CASES, SHAPE, Folder, bone, rows_of

from ankleseg.errors import FileError
from ankleseg.evaluate import compare_protocols, evaluate, find_protocols, read_predictions
from ankleseg.evaluate.tables import ProtocolScore

pytestmark = pytest.mark.usefixtures("quick")


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


@for_all(
    ("content", "message"),
    [
        ("{", r"predictions.json: cannot be read as JSON \(.*\); run ankleseg.predict again"),
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
