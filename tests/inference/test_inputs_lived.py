"""What people give to predict: folders with segmentations, channels of one case, names given as numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ankleseg.cohorts.words import is_segmentation
from ankleseg.errors import CohortError, FileError
from ankleseg.inference import cases_of

BRATS = {
    "2020": ("flair", "t1", "t1ce", "t2"),
    "2023": ("t1n", "t1c", "t2w", "t2f"),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (name, True)
            for name in "a_seg.nii a-seg.nii.gz W39_1998.09.19_Segm.nii a.seg.nrrd a_mask.nii a_dseg.nii".split()
        ),
        *(
            (name, True)
            for name in "a_label-talus_mask.nii a_labels.nii.gz a_label-SC_probability.nii mask.nii".split()
        ),
        *((name, True) for name in "a_T2w_seg-manual.nii.gz a_labels-disc.nii segmentation.nii.gz a_gmseg.nii".split()),
        *(
            (name, False)
            for name in "a.nii a_T1w.nii masked_brain.nii seg7_t1.nii sub-mask_T1w.nii a_segmented_t1.nii".split()
        ),
    ],
)
def test_a_segmentation_is_known_by_its_name(name, expected) -> None:
    assert is_segmentation(Path(name)) is expected


def test_segmentations_in_a_folder_are_passed_over_and_said(touch, tmp_path, caplog) -> None:
    for name in ("a.nii.gz", "a_seg.nii.gz", "._a.nii.gz", ".DS_Store"):
        touch(name)
    assert [case.name for case in cases_of(tmp_path)] == ["a"]
    assert "1 segmentation, by name, passed over (a_seg.nii.gz); rename what is a scan" in caplog.text


def test_a_segmentation_is_never_predicted_on(touch) -> None:
    with pytest.raises(FileError, match="a_seg.nii.gz: is a segmentation by its name, not a scan; give the scan, or"):
        cases_of(touch("a_seg.nii.gz"))
    with pytest.raises(FileError, match="labelsTr: holds segmentations only"):
        cases_of(touch("labelsTr/a.nii.gz").parent)


@pytest.mark.parametrize("year", BRATS)
@pytest.mark.parametrize("mark", "_-")
def test_the_channels_of_a_case_are_found_by_their_names_and_not_predicted_one_by_one(year, mark, touch) -> None:
    for channel in (*BRATS[year], "seg"):
        folder = touch(f"case_001/case_001{mark}{channel}.nii.gz").parent
    (case,) = cases_of(folder)
    assert (case.name, tuple(case.channels)) == ("case_001", ("t1", "t1ce", "t2", "flair"))


def test_contrasts_that_are_predicted_one_by_one_are_said(touch, tmp_path, caplog) -> None:
    for contrast in ("T1w", "T2w"):
        touch(f"p1_{contrast}.nii")
    assert [case.name for case in cases_of(tmp_path)] == ["p1_T1w", "p1_T2w"]
    assert "p1 has several contrasts (t1w, t2w), which are predicted one by one" in caplog.text


def test_the_channels_of_nnunet_are_one_case(touch, tmp_path) -> None:
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        touch(f"imagesTs/{name}.nii.gz")
    cases = cases_of(tmp_path / "imagesTs")
    assert [(case.name, [image.name for image in case.images]) for case in cases] == [
        (name, [f"{name}_0000.nii.gz", f"{name}_0001.nii.gz"]) for name in "ab"
    ]
    assert list(cases[0].channels) == ["0000", "0001"]
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {}}))
    assert [list(case.channels) for case in cases_of(tmp_path / "imagesTs")] == [["T1", "FLAIR"]] * 2


def test_a_file_of_several_channels_is_not_taken_for_a_sequence(touch, tmp_path) -> None:
    image = touch("imagesTs/b.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "FLAIR", "1": "T1w"}, "labels": {}}))
    for path in (image, image.parent):
        (case,) = cases_of(path)
        assert case.channels == {"FLAIR": Path(f"{image}#frame=0"), "T1w": Path(f"{image}#frame=1")}


def test_the_scans_for_prediction_of_a_dataset_are_listed(touch, tmp_path) -> None:
    for name in ("imagesTr/a_0000", "labelsTr/a", "imagesTs/b_0000"):
        touch(f"{name}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MRI"}, "labels": {"talus": 1}}))
    assert [case.name for case in cases_of(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("asked", [1, "1", "01", "sub-01", ["sub-01"], [1]])
def test_subjects_are_lists_of_names_that_match_as_a_whole(asked, touch, tmp_path) -> None:
    for subject in ("sub-01", "sub-12"):
        touch(f"{subject}/anat/{subject}_T1w.nii.gz")
    assert [case.subject for case in cases_of(tmp_path, subjects=asked)] == ["sub-01"]
    with pytest.raises(CohortError, match="has no subject 'sub-0123'; did you mean 'sub-12'"):
        cases_of(tmp_path, subjects="sub-0123")


def test_groups_may_be_numbers(touch, tmp_path) -> None:
    touch("a.nii")
    touch("b.nii")
    (tmp_path / "table.csv").write_text("subject,image,group\na,a.nii,1\nb,b.nii,2\n")
    assert [case.name for case in cases_of(tmp_path / "table.csv", group=1)] == ["a"]


def test_one_broken_case_does_not_stop_the_others(touch, tmp_path) -> None:
    for name in ("sub-1_T1w", "sub-2_run-1_T1w", "sub-2_run-2_T1w"):
        touch(f"{name[:5]}/anat/{name}.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-1\nsub-2\nsub-3\n")
    one, two = cases_of(tmp_path)
    assert one.problem is None and "by select.run=1" in str(two.problem)
    with pytest.raises(CohortError, match=r"holds 2 T1w images .* by select\.run=1$"):
        cases_of(tmp_path, subjects="sub-2")


def test_images_in_folders_below_are_told(touch, tmp_path) -> None:
    image = touch("a/b/scan.nii.gz")
    with pytest.raises(FileError, match=rf"holds no image itself; images are in {image.parent}; give one of these"):
        cases_of(tmp_path)
