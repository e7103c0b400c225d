"""The report stands alone, all files tell the same numbers, and the command names it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from segmentation_study import Folder, bone, rows_of

from ankleseg.config import compose
from ankleseg.errors import AnklesegError
from ankleseg.evaluate import evaluate
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.page import _without_folders

pytestmark = pytest.mark.usefixtures("quick")


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ankleseg.evaluate", *arguments], cwd=cwd, capture_output=True, text=True
    )


def test_all_files_tell_the_same_numbers(folder: Folder, references: Path, tmp_path: Path):
    folder.put("sub-E01", "talus", np.roll(bone("talus"), 1, axis=0))
    result = evaluate(folder.done(), references, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert content["rows"] == result.rows
    for row, (key, written) in zip(content["rows"], rows_of(tmp_path / "out").items(), strict=True):
        assert (row["case"], row["structure"]) == key
        assert {name: "" if value is None else str(value) for name, value in row.items()} == written
    assert content["summary"][0]["dice"]["n"] == 2


def test_what_a_prediction_says_of_itself_is_in_table_and_page(folder: Folder, references: Path, tmp_path: Path):
    evaluate(folder.done(), references, tmp_path / "without")
    assert "confidence" not in (tmp_path / "without" / "report.html").read_text()
    folder.put("sub-E01", "talus", np.roll(bone("talus"), 3, axis=0))
    for row in folder.content["cases"]:
        row["confidence"] = {name: {"status": "ok", "score": 0.9, "reason": ""} for name in ("talus", "tibia")}
    doubt = {"status": "suspect", "score": 0.7, "reason": "in several pieces"}
    folder.row("sub-E01")["confidence"]["talus"] = folder.row("sub-C01")["confidence"]["tibia"] = doubt
    evaluate(folder.done(), references, tmp_path / "out")
    row = rows_of(tmp_path / "out")["sub-E01", "talus"]
    names = ("confidence", "estimated_dice", "confidence_reason")
    assert [row[name] for name in names] == ["suspect", "0.7", "in several pieces"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "in several pieces" in page and "a Dice below 0.8 it called 1 suspect or failed, of the 7 others 1" in page


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


@for_all(
    ("message", "shown"),
    [
        ("/a/b/c.nii: is bad; copy it", "c.nii: is bad; copy it"),
        (
            "/a/b.nii: is on another grid than /c/d/e.nii (5 mm)",
            "b.nii: is on another grid than e.nii (5 mm)",
        ),
        ("C:\\a\\b.nii: is bad", "b.nii: is bad"),
        ("has 3/4 of its voxels", "has 3/4 of its voxels"),
        ("/home/A Name/b.nii: is bad", "b.nii: is bad"),
        ("reference: /home/A Name/b.nii: is bad", "reference: b.nii: is bad"),
        ("data/A_Name/b.nii: is not ('/srv/p/c.nii')", "b.nii: is not ('c.nii')"),
        ("differs by 3 mm/voxel, and/or more", "differs by 3 mm/voxel, and/or more"),
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


def test_the_command_fails_only_when_nothing_could_be_scored(
    folder: Folder, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for row in folder.content["cases"]:
        row.update(status="failed", message="scan.nii.gz: is truncated", masks={})
    folder.done()
    monkeypatch.chdir(tmp_path)
    words = [f"predictions={{tiles: {folder.path}}}", f"references={references}", "out=out"]
    with pytest.raises(AnklesegError, match="^out/metrics.csv: nothing could be scored: scan.nii.gz: is truncated"):
        main(compose("evaluate", words))
    assert {row["status"] for row in rows_of(tmp_path / "out").values()} == {"failed"}
    assert (tmp_path / "out" / "report.html").exists()
