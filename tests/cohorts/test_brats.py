"""A BraTS folder as it is downloaded: both name styles, nested folders, labels 3 or 4, cases that lack something."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ankleseg.cohorts import load_cohort
from ankleseg.errors import CohortError
from ankleseg.inference import cases_of

Touch = Callable[[str], Path]
NEW, OLD = ("t1n", "t1c", "t2w", "t2f", "seg"), ("t1", "t1ce", "t2", "flair", "seg")
ORDER = ("t1", "t1ce", "t2", "flair")
REGIONS = ("whole_tumour", "tumour_core", "enhancing_tumour")
WANTED = ["flair", "t1ce", "t2"]


def write_case(touch: Touch, folder: str, name: str, words: tuple[str, ...] = NEW) -> Path:
    mark = "-" if words[0] in ("t1n", "T1N") else "_"
    files = [touch(f"{folder}/{name}{mark}{word}.nii.gz") for word in words]
    return files[0].parent


def test_both_styles_are_read_mixed_and_nested_with_one_set_of_names(touch: Touch, tmp_path: Path) -> None:
    write_case(touch, "brats/TrainingData/BraTS-GLI-00005-000", "BraTS-GLI-00005-000")
    write_case(touch, "brats/TrainingData/BraTS-GLI-00005-001", "BraTS-GLI-00005-001")
    write_case(touch, "brats/BraTS2021_00495", "BraTS2021_00495", OLD)
    write_case(touch, "brats/derivatives/truth/BraTS2021_00495", "BraTS2021_00495", OLD)
    cohort = load_cohort(tmp_path / "brats")
    assert cohort.structures == REGIONS and cohort.regions and cohort.channels == ORDER
    assert cohort.subjects == ("BraTS-GLI-00005", "BraTS2021_00495"), "time points are of one subject"
    values = {case.name: [case.references[region].values for region in REGIONS] for case in cohort.cases}
    newer, older = [(1, 2, 3), (1, 3), (3,)], [(1, 2, 3, 4), (1, 3, 4), (3, 4)]
    assert values == {"BraTS2021_00495": older, "BraTS-GLI-00005-000": newer, "BraTS-GLI-00005-001": newer}
    for case in cohort.cases:
        assert [path.name.rpartition(".nii")[0].split(case.name)[1][1:] for path in case.images] in (
            list(NEW[:4]),
            list(OLD[:4]),
        )


def test_channels_are_chosen_and_a_case_that_lacks_one_is_named_and_left_out(touch, tmp_path, caplog) -> None:
    write_case(touch, "brats/a", "a", OLD)
    write_case(touch, "brats/b", "b", ("t1n", "t2w", "t2f", "seg"))
    write_case(touch, "brats/c", "c", ("t1c", "t2w", "t2f", "seg"))
    cohort = load_cohort(tmp_path / "brats", channels=WANTED)
    assert [case.name for case in cohort.cases] == ["a", "c"] and cohort.channels == tuple(WANTED)
    assert "left out: " in caplog.text and "case b has the channels t2, flair: expected flair, t1ce, t2" in caplog.text
    good, bad, other = cases_of(tmp_path / "brats", channels=WANTED)[0], *_problems(tmp_path / "brats")
    assert tuple(good.channels) == tuple(WANTED) and "missing t1ce" in str(bad) and other is None
    with pytest.raises(CohortError, match=r"expected flair, t1ce, t2 \(missing t1ce\)"):
        load_cohort(tmp_path / "brats" / "b", channels=WANTED)
    with pytest.raises(CohortError, match=r"case b has the channels t1, t2, flair: expected t1, t1ce, t2, flair"):
        _ = load_cohort(tmp_path / "brats").channels


def _problems(root: Path) -> list[CohortError | None]:
    cases = {case.name: case.problem for case in cases_of(root, channels=WANTED)}
    return [cases["b"], cases["c"]]


def test_a_table_may_have_more_channels_than_are_asked_for(touch: Touch, tmp_path: Path) -> None:
    row = ",".join(str(touch(f"a_{channel}.nii")) for channel in ORDER)
    (tmp_path / "table.csv").write_text(f"case,{','.join(f'image_{channel}' for channel in ORDER)}\na,{row}\n")
    assert load_cohort(tmp_path / "table.csv", channels=WANTED).channels == tuple(WANTED)


def test_one_case_and_a_flat_folder_are_predicted_too(touch: Touch, tmp_path: Path) -> None:
    folder = write_case(touch, "one", "BraTS-GLI-00005-000")
    (case,) = cases_of(folder)
    assert (case.name, tuple(case.channels)) == ("BraTS-GLI-00005-000", ORDER)
    for name in ("x", "y"):
        write_case(touch, "flat", name, OLD)
    assert [case.name for case in cases_of(tmp_path / "flat", channels=["flair"])] == ["x", "y"]


def test_what_is_odd_in_a_folder_is_said(touch: Touch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_case(touch, "brats/a", "a", OLD[:4])
    touch("brats/a/W39_1998.09.19_Segm.nii")
    write_case(touch, "brats/p", "BraTS-PED-00002-000")
    touch("brats/p/photo.nii")
    found = {case.name: case for case in load_cohort(tmp_path / "brats").cases}
    assert found["a"].references["tumour_core"].path.name == "W39_1998.09.19_Segm.nii", "as one of 2020 is named"
    assert "1 image not named as in BraTS passed over (photo.nii)" in caplog.text
    assert "label maps of children (BraTS-PED) are read as those of adults" in caplog.text
    touch("brats/a/a_t1.nii")
    with pytest.raises(CohortError, match=r"brats/a: case a has one channel twice, a_t1.nii(.gz)? and a_t1.nii"):
        load_cohort(folder, channels=WANTED)


def test_scans_of_a_study_are_no_brats(touch: Touch, tmp_path: Path) -> None:
    for contrast in ("T1w", "T2w"):
        touch(f"p1_{contrast}.nii")
    with pytest.raises(CohortError, match="is not a cohort; list its scans in a .csv table"):
        load_cohort(tmp_path)
