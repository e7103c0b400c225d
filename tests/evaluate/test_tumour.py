"""Regions are scored voxel by voxel and lesion by lesion, whoever predicted them and by whatever label values."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.config import compose
from ankleseg.errors import AnklesegError, FileError
from ankleseg.evaluate.__main__ import main
from ankleseg.evaluate.brats_labels import REGIONS, read_tumour_predictions
from ankleseg.evaluate.predictions import MaskFile
from ankleseg.evaluate.tumour import evaluate_tumour
from ankleseg.volumes import write_volume

SHAPE = (40, 30, 20)
VALUES = {"whole_tumour": (1, 2, 3), "tumour_core": (1, 3), "enhancing_tumour": (3,)}


def tumour(shift: int = 0, *, satellite: bool = False) -> np.ndarray:
    """Oedema around an enhancing rim around necrosis; a satellite of oedema of 64 voxels far away."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for value, margin in ((2, 0), (3, 2), (1, 4)):
        labels[4 + margin + shift : 18 - margin + shift, 4 + margin : 18 - margin, 2 + margin : 16 - margin] = value
    if satellite:
        labels[32:36, 22:26, 8:12] = 2
    return labels


def save(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, labels, np.diag([1.0, 1.0, 1.0, 1.0]))


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Two cases, the second with a satellite."""
    rows = ["case,image_flair,labels,value_whole_tumour,value_tumour_core,value_enhancing_tumour"]
    for number in (1, 2):
        save(tmp_path / f"truth/g{number}_seg.nii.gz", tumour(satellite=number == 2))
        save(tmp_path / f"truth/g{number}_flair.nii.gz", tumour().astype(np.float32))
        rows.append(f"g{number},g{number}_flair.nii.gz,g{number}_seg.nii.gz,1+2+3,1+3,3")
    (tmp_path / "truth/table.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "truth/table.csv"


def rows_of(file: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(file, newline="") as opened:
        return {(row["predictions"], row["case"], row["region"]): row for row in csv.DictReader(opened)}


@for_all(
    ("names", "old"),
    [
        (("g1.nii.gz", "g2.nii.gz"), False),
        (("g1_seg.nii.gz", "g2_seg.nii.gz"), True),
        (("g1/g1-seg.nii.gz", "g2/g2-seg.nii.gz"), False),
    ],
)
def test_label_maps_are_read_by_their_names_and_by_either_value_of_enhancing(
    names: tuple[str, str], old: bool, tmp_path: Path
):
    for name in names:
        save(tmp_path / name, np.where(tumour() == 3, 4, tumour()) if old else tumour())
        save((tmp_path / name).parent / "g1-t1c.nii.gz", tumour()) if "seg" in name else None
    found = read_tumour_predictions(tmp_path)
    assert (found.structures, [case.name for case in found.cases]) == (REGIONS, ["g1", "g2"])
    enhancing = 4 if old else 3
    values = (1, 2, enhancing), (1, enhancing), (enhancing,)
    assert list(found.cases[0].masks.values()) == [MaskFile(tmp_path / names[0], value) for value in values]


def test_labels_that_may_mean_anything_are_not_scored(references: Path, tmp_path: Path):
    both = tumour()
    both[0, 0, 0] = 4
    save(tmp_path / "out/g1_seg.nii.gz", both)
    save(tmp_path / "out/g2-seg.nii.gz", tumour(satellite=True))
    result = evaluate_tumour(tmp_path / "out", references, tmp_path / "scores")
    told = next(row for row in result.tumour if row.case == "g1")
    assert told.status == "unreadable" and told.message.startswith(
        f"{tmp_path / 'out/g1_seg.nii.gz'}: holds the labels 1, 2, 3, 4: expected 1 necrosis, 2 oedema and 3 enhancing"
    )
    assert {row.dice for row in result.tumour if row.case == "g2"} == {1.0}
    save(tmp_path / "newer/g1-seg.nii.gz", both)
    result = evaluate_tumour(tmp_path / "newer", references, tmp_path / "scores")
    assert {row.dice for row in result.tumour if row.case == "g1"} == {1.0}, "a resection cavity is in no region"


def test_a_folder_without_label_maps_is_refused(tmp_path: Path):
    with pytest.raises(FileError, match="is not a folder of predictions"):
        read_tumour_predictions(tmp_path / "none")
    with pytest.raises(FileError, match="holds neither predictions.json"):
        read_tumour_predictions(tmp_path)


def study(references: Path, tmp_path: Path) -> dict[str, Path]:
    """A good and an empty prediction; the good one is moved by a voxel and misses the satellite."""
    folders = {"moved": tmp_path / "moved", "empty": tmp_path / "empty"}
    for case in ("g1", "g2"):
        save(folders["moved"] / f"{case}.nii.gz", tumour(shift=1))
        save(folders["empty"] / f"{case}.nii.gz", np.zeros(SHAPE, np.uint8))
    return folders


def test_lesions_count_alone_and_accuracy_is_told_beside_that_of_nothing(references: Path, tmp_path: Path):
    result = evaluate_tumour(study(references, tmp_path), references, tmp_path / "out", date="2026-01-02 03:04")
    rows = rows_of(tmp_path / "out/tumour.csv")
    one, two = (rows["moved", case, "whole_tumour"] for case in ("g1", "g2"))
    assert float(one["dice"]) == float(one["lesion_dice"]) == pytest.approx(13 / 14)
    assert float(two["lesion_dice"]) == pytest.approx(13 / 14 / 2) and float(two["lesion_hd95_mm"]) == (1 + 374) / 2
    assert (two["lesions"], two["found"], two["missed"], two["invented"]) == ("2", "1", "1", "0")
    nothing = rows["empty", "g1", "whole_tumour"]
    share = 1 - 14**3 / np.prod(SHAPE)
    assert float(nothing["accuracy"]) == float(nothing["empty_accuracy"]) == pytest.approx(share, abs=1e-6)
    assert (nothing["dice"], nothing["sensitivity"], nothing["specificity"]) == ("0.0", "0.0", "1.0")
    labels = rows["moved", "g1", "all labels"]
    assert float(labels["accuracy"]) == pytest.approx(np.mean(tumour(1) == tumour()), abs=1e-6)
    with open(tmp_path / "out/lesions.csv", newline="") as file:
        findings = [row["finding"] for row in csv.DictReader(file) if row["predictions"] == "moved"]
    assert sorted(findings) == ["found"] * 6 + ["missed"]
    assert "moved whole_tumour: Dice 0.9" in result.describe() and "(1 missed, 0 invented)" in result.describe()
    mean = 100 * (share - 64 / 2 / np.prod(SHAPE))  # of both cases
    assert f"accuracy {mean:.2f} % (of an empty mask {mean:.2f} %)" in result.describe()


@pytest.mark.usefixtures("drawn")
def test_the_report_begins_with_regions_and_lesions_and_shows_the_cases(references: Path, tmp_path: Path):
    folders = study(references, tmp_path)
    compared = {"moved": folders["moved"], "nothing": folders["empty"]}
    result = evaluate_tumour(compared, references, tmp_path / "out", date="2026-01-02 03:04")
    html = (tmp_path / "out/report.html").read_text()
    headings = re.findall("<h2[^>]*>([^<]*)", html)
    assert headings[:2] == ["Regions and lesions", "Why an accuracy says nothing"] and headings[-1] == "All lesions"
    assert html.count("<article>") == 2 and html.count("data:image/png;base64,") == 2 + 2
    assert "Summary" not in headings, "regions and lesions tell it"
    facts = dict(re.findall("<dt>([^<]*)</dt><dd>([^<]*)</dd>", html))
    assert (facts["Predictions"], facts["Protocol"]) == ("moved, nothing (folder empty)", "volumes")
    assert "The figures, the cases and all scores below are those of moved." in html
    content = json.loads((tmp_path / "out/tumour.json").read_text(), parse_constant=pytest.fail)
    assert len(content["rows"]) == len(result.tumour) == 2 * 2 * 4
    assert (content["dilation"], content["least_mm3"]) == (3, 50)
    assert str(tmp_path) not in html


@pytest.mark.usefixtures("drawn")
@for_all(("channels", "shown"), [(("t1", "flair", "t2"), "flair"), (("t1", "t1ce"), "t1ce"), (("t1",), "")])
def test_the_picture_shows_flair_or_the_last_channel_and_says_so(
    channels: tuple[str, ...], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn: list[np.ndarray] = []
    monkeypatch.setattr("ankleseg.evaluate.page.mosaic", lambda image, *_: drawn.append(image) or b"")
    save(tmp_path / "truth/g1_seg.nii.gz", tumour())
    save(tmp_path / "moved/g1.nii.gz", tumour(shift=1))
    for number, channel in enumerate(channels):
        save(tmp_path / f"truth/g1_{channel}.nii.gz", np.full(SHAPE, number, np.float32))
    head = [*(f"image_{channel}" for channel in channels), "labels", "value_whole_tumour"]
    row = [*(f"g1_{channel}.nii.gz" for channel in channels), "g1_seg.nii.gz", "1+2+3"]
    (tmp_path / "truth/table.csv").write_text(f"case,{','.join(head)}\ng1,{','.join(row)}\n")
    evaluate_tumour(tmp_path / "moved", tmp_path / "truth/table.csv", tmp_path / "out", structures=["whole_tumour"])
    assert [image.max() for image in drawn] == [channels.index(shown) if shown else 0]
    assert re.findall("<figcaption>(Channel[^<]*)", (tmp_path / "out/report.html").read_text()) == (
        [f"Channel: {shown}."] if shown else []
    )


@pytest.mark.usefixtures("quick")
def test_the_command_takes_the_rules_and_fails_where_nothing_is_scored(references: Path, tmp_path: Path, capsys):
    folders = study(references, tmp_path)
    asked = ["recipe=tumour", f"references={references}", f"out={tmp_path / 'out'}"]
    main(compose("evaluate", [*asked, f"predictions={folders['moved']}", "evaluate.least_mm3=64"]))
    assert "moved whole_tumour: Dice 0.9" in capsys.readouterr().out
    row = rows_of(tmp_path / "out/tumour.csv")["moved", "g2", "whole_tumour"]
    assert (row["missed"], row["left_out"]) == ("0", "1")
    save(tmp_path / "others/x.nii.gz", tumour())
    with pytest.raises(AnklesegError, match="nothing could be scored: the references hold no case x"):
        main(compose("evaluate", ["recipe=tumour", f"references={references}", f"out={tmp_path / 'none'}",
                                  f"predictions={tmp_path / 'others'}"]))  # fmt: skip
