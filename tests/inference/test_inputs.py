"""A scan, a folder, a table: what a user gives becomes cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ankleseg.errors import CohortError, FileError
from ankleseg.inference import cases_of
from ankleseg.volumes import write_volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, np.zeros((3, 3, 3), np.int16), np.eye(4))
    return tmp_path


def test_a_scan_and_a_folder_of_scans(folder: Path):
    (one,) = cases_of(folder / "a.nii.gz", side="left")
    assert one.name == "a" and one.images == (folder / "a.nii.gz",) and one.side == "left"
    assert [case.name for case in cases_of(folder)] == ["a", "b"]


def test_a_table_and_a_selection(tiny_table: Path):
    assert len(cases_of(tiny_table)) == 4
    assert [case.subject for case in cases_of(tiny_table, subjects=["s1", "s3"])] == ["s1", "s3"]
    with pytest.raises(CohortError, match="has no group 'equinus'; known are: none"):
        cases_of(tiny_table, group="equinus")
    with pytest.raises(
        CohortError, match="none of its 4 cases is selected; its groups are None, its .first. subjects "
    ):
        cases_of(tiny_table, subjects=[])


def test_several_groups_may_be_asked_for_and_a_label_that_is_missing_stops_nothing(folder: Path):
    table = folder / "table.csv"
    table.write_text("subject,image,group\n1,a.nii.gz,1.0\n2,b.nii.gz,02\n")
    assert [[case.subject for case in cases_of(table, group=group)] for group in (1, "2", ["1", 2])] == [
        ["1"],
        ["2"],
        ["1", "2"],
    ]
    training = [{"image": "a.nii.gz", "label": "nowhere.nii.gz"}]
    (folder / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "x"}, "training": training}))
    assert [case.images for case in cases_of(folder)] == [(folder / "a.nii.gz",)]


def test_an_acquisition_of_a_bids_folder(tmp_path: Path):
    for name in ("sub-1_T2w", "sub-1_acq-thick_T2w"):
        write_volume(tmp_path / "sub-1" / "anat" / f"{name}.nii.gz", np.zeros((3, 3, 3), np.int16), np.eye(4))
    for acquisition, expected in ((None, "sub-1_T2w.nii.gz"), ("thick", "sub-1_acq-thick_T2w.nii.gz")):
        (case,) = cases_of(tmp_path, suffix="T2w", acquisition=acquisition)
        assert case.name == "sub-1" and case.images[0].name == expected


def test_what_cannot_be_predicted_is_told(tmp_path: Path, folder: Path):
    with pytest.raises(FileError, match="nowhere: does not exist; correct the path, or copy the file"):
        cases_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="empty: holds no image; give a folder of NIfTI, NRRD, MHA or DICOM files"):
        cases_of(tmp_path / "empty")
    with pytest.raises(CohortError, match="side 'up' is unknown; choose left or right"):
        cases_of(folder, side="up")


def test_two_scans_of_one_name_are_refused(folder: Path):
    write_volume(folder / "a.nii", np.ones((3, 3, 3), np.int16), np.eye(4))
    with pytest.raises(CohortError, match=r"a\.nii\.gz: has the same name as a\.nii; rename one of the two"):
        cases_of(folder)


@pytest.mark.parametrize(
    ("name", "subject"),
    [("sub-E01_run-1_T1w.nii.gz", "sub-E01"), ("sub-E01.nii.gz", "sub-E01"), ("sub-E 1_T1w.nii", "sub-E 1_T1w")],
)
def test_the_name_of_a_bids_file_tells_its_subject(tmp_path: Path, name: str, subject: str):
    (tmp_path / name).touch()
    (case,) = cases_of(tmp_path / name)
    assert case.subject == subject
