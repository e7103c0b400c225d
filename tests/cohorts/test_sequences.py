"""Dynamic sequences of a cohort, their sidecars, and cohorts that are judged case by case."""

from __future__ import annotations

from pathlib import Path

import pytest
from laws import for_all

from ankleseg.cohorts import Case, Cohort, SequenceHeader, load_cohort, read_sidecar
from ankleseg.errors import CohortError, FileError


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "table.csv").write_text(text)
    return tmp_path / "table.csv"


def test_the_sequences_of_a_bids_folder_are_found_by_their_suffix(touch) -> None:
    root = touch("sub-C01/anat/sub-C01_T1w.nii.gz").parents[2]
    active = touch("sub-C01/dyn/sub-C01_task-active_dynamic.nii.gz")
    passive = touch("sub-C01/dyn/sub-C01_task-passive_dynamic.nii")
    touch("sub-C01/dyn/sub-C01_task-active_dynamic.json")
    touch("sub-C01/dyn/sub-C01_task-active_bold.nii.gz")
    cohort = load_cohort(root)
    assert cohort.cases[0].sequences == {"sub-C01_task-active": active, "sub-C01_task-passive": passive}
    assert cohort.describe() == "1 case of 1 subject; 2 dynamic sequences; no structures"


def test_the_sequences_of_a_session_are_its_own(touch) -> None:
    for session in ("ses-a", "ses-b"):
        root = touch(f"sub-01/{session}/anat/sub-01_{session}_T1w.nii.gz").parents[3]
    found = touch("sub-01/ses-b/dyn/sub-01_ses-b_task-active_dynamic.nii.gz")
    assert [case.sequences for case in load_cohort(root).cases] == [{}, {"sub-01_ses-b_task-active": found}]


def test_the_sequences_of_a_table_have_a_column_each(touch, tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii", "a_walk.nii"):
        touch(name)
    cohort = load_cohort(table(tmp_path, "subject,image,dynamic_walk,dynamic_run\na,a.nii,a_walk.nii,\nb,b.nii,n/a,\n"))
    assert [case.sequences for case in cohort.cases] == [{"a_walk": tmp_path / "a_walk.nii"}, {}]


def test_a_sequence_that_does_not_exist_is_refused_where_all_is_needed(touch, tmp_path: Path) -> None:
    touch("a.nii")
    path = table(tmp_path, "subject,image,dynamic_walk\na,a.nii,b.nii\n")
    with pytest.raises(CohortError, match=r"b\.nii: does not exist, and should be the sequence a_walk of case a"):
        load_cohort(path)
    assert load_cohort(path, strict=False).cases[0].sequences == {"a_walk": tmp_path / "b.nii"}


def test_a_sequence_of_two_subjects_would_leak(touch, tmp_path: Path) -> None:
    for name in ("a.nii", "b.nii", "walk.nii"):
        touch(name)
    path = table(tmp_path, "subject,image,dynamic_walk\na,a.nii,walk.nii\nb,b.nii,walk.nii\n")
    with pytest.raises(CohortError, match=r"walk\.nii: is the image of two subjects, a and b, and would leak"):
        load_cohort(path, strict=False)


def test_what_a_sidecar_says_is_read(tmp_path: Path) -> None:
    sequence = tmp_path / "sub-C01_task-active_dynamic.nii.gz"
    assert read_sidecar(sequence) == SequenceHeader()
    sidecar = tmp_path / "sub-C01_task-active_dynamic.json"
    sidecar.write_text('{"SliceThickness": 6, "SpacingBetweenSlices": 8.0, "RepetitionTime": 1.2, "Manufacturer": "x"}')
    assert read_sidecar(sequence) == SequenceHeader(thickness_mm=6.0, spacing_mm=8.0, seconds=1.2)
    sidecar.write_text('{"SliceThickness": null}')
    assert read_sidecar(sequence) == SequenceHeader()


@for_all(
    ("text", "problem"),
    [
        ("{", "cannot be read as JSON"),
        ("[6]", "is not a JSON object; correct the file, or remove it"),
        ('{"SliceThickness": "6 mm"}', "gives SliceThickness as '6 mm'; write a positive number, or leave it out"),
        ('{"RepetitionTime": 0}', "gives RepetitionTime as 0; write a positive number"),
        ('{"SpacingBetweenSlices": NaN}', "gives SpacingBetweenSlices as nan"),
        ('{"SliceThickness": true}', "gives SliceThickness as True"),
    ],
)
def test_a_sidecar_that_says_nonsense_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a_dynamic.json").write_text(text)
    with pytest.raises(FileError, match=rf"a_dynamic\.json: {problem}"):
        read_sidecar(tmp_path / "a_dynamic.nii")


class TestNotStrict:
    """A command that judges every case is not stopped by one."""

    def test_a_missing_file_stays_named(self, touch, tmp_path: Path) -> None:
        touch("b.nii")
        cohort = load_cohort(table(tmp_path, "subject,image,mask_talus\na,a.nii,m.nii\nb,b.nii,\n"), strict=False)
        assert [case.problem for case in cohort.cases] == [None, None]
        assert cohort.cases[0].images == (tmp_path / "a.nii",)

    def test_what_is_wrong_with_a_row_is_the_problem_of_its_case(self, touch, tmp_path: Path) -> None:
        touch("b.nii")
        text = "subject,image,side,group\na,,left,x\nb,b.nii,right,y\nc,b.nii,both,z\n"
        first, second, third = load_cohort(table(tmp_path, text), strict=False).cases
        assert str(first.problem).endswith("gives no image for case a; fill it, or leave the case out")
        assert (first.images, first.group, second.problem) == ((), "x", None)
        assert "gives c the side 'both'" in str(third.problem)

    def test_what_is_wrong_with_a_session_is_the_problem_of_its_case(self, touch) -> None:
        touch("sub-01/anat/sub-01_T1w.nii.gz")
        touch("sub-02/dyn/sub-02_task-a_dynamic.nii.gz")
        touch("sub-03/anat/sub-03_run-1_T1w.nii.gz")
        root = touch("sub-03/anat/sub-03_run-2_T1w.nii.gz").parents[2]
        (root / "participants.tsv").write_text("participant_id\tgroup\nsub-01\tx\nsub-02\ty\nsub-09\tz\n")
        told = {case.name: str(case.problem) for case in load_cohort(root, strict=False).cases}
        assert told["sub-01"] == "None"
        assert told["sub-02"].endswith(
            "sub-02/anat: holds no image; add the static scan of this visit, or give its sequences in a table (columns "
            "image and dynamic_<name>) beside the scan of another visit"
        )
        assert "holds 2 T1w images where one is needed" in told["sub-03"]
        assert told["sub-09"].endswith(
            "sub-09: does not exist; copy its scans, or remove its row from participants.tsv"
        )

    def test_a_structure_that_one_case_lacks_is_not_asked_of_the_others(self, touch, tmp_path: Path) -> None:
        for name in ("a.nii", "b.nii", "m.nii"):
            touch(name)
        path = table(tmp_path, "subject,image,mask_talus\na,a.nii,m.nii\nb,b.nii,\n")
        cohort = load_cohort(path, structures=["talus"], strict=False)
        assert [sorted(case.references) for case in cohort.cases] == [["talus"], []]
        with pytest.raises(CohortError, match="has no structure 'tallus'"):
            load_cohort(path, structures=["tallus"], strict=False)

    def test_a_table_that_contradicts_itself_is_still_refused(self, touch, tmp_path: Path) -> None:
        touch("a.nii")
        with pytest.raises(CohortError, match="has 2 cases named a"):
            load_cohort(table(tmp_path, "subject,image\na,a.nii\na,a.nii\n"), strict=False)


def test_a_sequence_is_named_without_slashes() -> None:
    case = Case("a", "a", {"image": Path("a.nii")}, sequences={"a/b": Path("b.nii")})
    with pytest.raises(CohortError, match="uses the name 'a/b'"):
        Cohort(Path("cohort"), (case,))
