"""The report on image quality stands alone, and the command names the gain and what is lacking."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from image_study import Folder, anatomy, cortex, rows_of
from laws import for_all
from scipy.ndimage import gaussian_filter

from ankleseg.config import compose
from ankleseg.errors import AnklesegError, ConfigError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.quality import evaluate_quality

pytestmark = pytest.mark.usefixtures("quick_images")


def hashes(folder: Path) -> dict[Path, str]:
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


def test_inputs_stay_as_they_are_and_the_same_inputs_give_the_same_bytes(
    restored: Folder, fine: Path, tmp_path: Path, drawn: None
):
    restored.put_mask("sub-B01", cortex("sub-B01"))
    restored.done()
    before = hashes(tmp_path)
    for name in ("one", "two"):
        evaluate_quality(restored.path, fine, tmp_path / name, date="2025-01-02 03:04")
    assert before.items() <= hashes(tmp_path).items()
    assert list(hashes(tmp_path / "one").values()) == list(hashes(tmp_path / "two").values())


def test_the_json_defines_what_it_holds(restored: Folder, fine: Path, tmp_path: Path):
    evaluate_quality(restored.done(), fine, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert "maximum of the whole reference" in content["definitions"]["psnr_db"]
    measured = set(content["summary"][0]) - {"image", "kind", "region", "cases"}
    assert measured <= set(content["definitions"])
    assert len(content["rows"]) == len(rows_of(tmp_path / "out"))


def test_the_report_shows_the_smallest_gain_first_and_no_folder(
    restored: Folder, fine: Path, tmp_path: Path, drawn: None
):
    restored.put("sub-B02", gaussian_filter(anatomy("sub-B02"), 2))
    restored.content["cases"].append({**restored.row("sub-B01"), "case": "sub-B03", "subject": "sub-B03", "images": {}})
    restored.row("sub-B03").update(status="failed", message=f"{tmp_path}/x/sub-B03.nii.gz: is truncated")
    evaluate_quality(restored.done(), fine, tmp_path / "out", date="2025-01-02 03:04")
    html = (tmp_path / "out" / "report.html").read_text()
    assert re.findall(r"<article>\s*<header><h3>([^<]*)", html) == ["sub-B03", "sub-B02", "sub-B01"]
    assert html.count("data:image/png;base64,") == 2
    assert str(tmp_path) not in html and "/home/someone" not in html
    assert "sub-B03.nii.gz: is truncated" in html and "brain/2025-01-02/best.ckpt" in html
    assert not re.search(r"https?://", html)


def test_the_command_names_the_gain_and_the_report(
    restored: Folder, fine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    restored.done()
    monkeypatch.chdir(tmp_path)
    main(compose("evaluate", ["recipe=quality", "predictions=predictions", f"references={fine}", "out=here/out"]))
    told = capsys.readouterr().out
    assert re.search(r"sharp, structures: PSNR \d+\.\d\d dB, \+\d+\.\d\d dB, SSIM 0\.\d{3} over 2", told)
    assert told.strip().endswith("report: here/out/report.html")


def test_the_command_fails_only_when_nothing_could_be_scored(restored: Folder, fine: Path, tmp_path: Path):
    for row in restored.content["cases"]:
        row.update(status="failed", message="scan.nii.gz: is truncated")
    words = [f"predictions={restored.done()}", f"references={fine}", f"out={tmp_path / 'out'}"]
    with pytest.raises(AnklesegError, match="quality.csv: nothing could be scored: scan.nii.gz: is truncated; see its"):
        main(compose("evaluate", ["recipe=quality", *words]))
    assert (tmp_path / "out" / "report.html").exists()


@for_all(
    ("words", "said"),
    [
        (["predictions=a"], "references is missing; add references=…"),
        (
            ["predictions={a: b}", "references=c"],
            "invalid predictions: recipe=quality expects one folder; give the out= of ankleseg.predict",
        ),
    ],
)
def test_a_command_that_lacks_something_says_what(words: list[str], said: str):
    with pytest.raises(ConfigError) as error:
        main(compose("evaluate", ["recipe=quality", "out=out", *words]))
    assert str(error.value) == said
