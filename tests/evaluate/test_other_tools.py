"""What nnU-Net and TotalSegmentator write is scored as it lies; what has no partner is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.evaluate import evaluate
from ankleseg.evaluate.predictions import MaskFile, read_predictions
from ankleseg.volumes import write_volume

LABELS = {"labels": {"background": 0, "talus": 1, "tibia": 2}, "file_ending": ".nii.gz"}


def write(path: Path, value: int = 1) -> Path:
    data = np.zeros((4, 4, 4), np.uint8)
    data[1:3, 1:3, 1:3] = value
    write_volume(path, data, np.eye(4))
    return path


def nnunet(folder: Path, names: str, labels: dict = LABELS) -> Path:
    for name in names.split():
        write(folder / f"{name}.nii.gz")
    (folder / "._a.nii.gz").write_bytes(b"mac")
    (folder / "dataset.json").write_text(json.dumps(labels), encoding="utf-8-sig")
    (folder / "plans.json").write_text("{}")
    return folder


def test_a_label_map_of_nnunet_is_a_case(tmp_path: Path) -> None:
    found = read_predictions(nnunet(tmp_path, "a b"))
    assert (found.structures, [case.name for case in found.cases]) == (("talus", "tibia"), ["a", "b"])
    file = tmp_path / "a.nii.gz"
    assert found.cases[0].masks == {"talus": MaskFile(file, 1), "tibia": MaskFile(file, 2)}


def test_regions_of_nnunet_are_read_by_their_values(tmp_path: Path) -> None:
    found = read_predictions(nnunet(tmp_path, "a", {"labels": {"background": 0, "whole": [2, 1], "core": 2}}))
    file = tmp_path / "a.nii.gz"
    assert found.cases[0].masks == {"whole": MaskFile(file, (1, 2)), "core": MaskFile(file, 2)}


@for_all("inside", ["", "segmentations"])
def test_a_folder_of_totalsegmentator_is_a_case(inside: str, tmp_path: Path) -> None:
    for case in ("s1", "s2"):
        masks = [write(tmp_path / case / inside / f"{name}.nii.gz") for name in ("talus", "tibia")]
        write(tmp_path / case / "ct.nii.gz")
    found = read_predictions(tmp_path)
    assert [case.name for case in found.cases] == ["s1", "s2"]
    assert found.cases[1].masks == {"talus": MaskFile(masks[0]), "tibia": MaskFile(masks[1])}


def test_a_folder_of_files_without_names_is_refused_with_what_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz")
    with pytest.raises(FileError, match=r"holds neither .*nnU-Net.* nor folders CASE with files STRUCTURE\.nii\.gz"):
        read_predictions(tmp_path)


def test_names_without_partner_are_said_and_the_others_scored(tmp_path: Path, caplog) -> None:
    for name in "a b".split():
        write(tmp_path / "references" / f"{name}.nii.gz")
    rows = ["subject,image,mask_talus", *(f"{name},{name}.nii.gz,{name}.nii.gz" for name in "ab")]
    table = tmp_path / "references" / "table.csv"
    table.write_text("\n".join(rows))
    result = evaluate(nnunet(tmp_path / "out", "a x"), table, tmp_path / "evaluation")
    assert {(row.case, row.status): row.dice for row in result.scores} == {
        ("a", "ok"): 1.0,
        ("x", "no reference"): None,
        ("b", "no prediction"): None,
    }
    assert "the references have no case x; name predictions as their cases, which are a, b" in caplog.text
    assert "the references have no structure tibia: not scored; add its masks" in caplog.text


def test_predictions_may_be_named_after_the_images_and_are_compared_on_them(tmp_path: Path, caplog) -> None:
    study, out = tmp_path / "study", tmp_path / "out"
    for contrast, shift in (("T1w", 1), ("T2w", 0)):
        write(study / "sub-01" / "anat" / f"sub-01_{contrast}.nii.gz")
        file = study / "derivatives" / "manual" / "sub-01" / "anat" / f"sub-01_{contrast}_label-talus_mask.nii.gz"
        mask = np.zeros((4, 4, 4), np.uint8)
        mask[1 + shift : 3 + shift, 1:3, 1:3] = 1
        write_volume(file, mask, np.eye(4))
    result = evaluate(nnunet(out, "sub-01_T1w"), study, tmp_path / "first")
    assert [(row.case, row.structure, row.dice) for row in result.scores][:1] == [("sub-01", "talus", 0.5)]
    manifest = {"structures": ["talus"], "mode": "tiles", "cases": []}
    row = {"case": "sub-01", "status": "ok", "masks": {"talus": str(write(out / "t.nii.gz"))}}
    manifest["cases"] = [row | {"image": str(study / "sub-01" / "anat" / "sub-01_T2w.nii.gz")}]
    (out / "predictions.json").write_text(json.dumps(manifest))
    assert [score.dice for score in evaluate(out, study, tmp_path / "second").scores] == [1.0]
    assert "compares" not in caplog.text
    assert [score.dice for score in evaluate(out, study, tmp_path / "third", suffix="T1w").scores] == [0.5]
    assert "compares sub-01_T2w.nii.gz with sub-01_T1w.nii.gz; choose by suffix and select" in caplog.text


def test_a_session_of_several_images_is_told_where_it_cannot_be_scored(tmp_path: Path) -> None:
    for run in (1, 2):
        name = f"sub-01_run-{run}"
        write(tmp_path / "study" / "sub-01" / "anat" / f"{name}_T1w.nii.gz")
        masks = tmp_path / "study" / "derivatives" / "manual" / "sub-01" / "anat"
        write(masks / f"{name}_label-talus_mask.nii.gz")
    result = evaluate(nnunet(tmp_path / "out", "sub-01"), tmp_path / "study", tmp_path / "evaluation")
    assert {row.status for row in result.scores} == {"no reference"}
    assert result.scores[0].message.endswith("they differ in run (1, 2); choose one, e.g. by select.run=1")
