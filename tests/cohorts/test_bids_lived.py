"""BIDS folders as people have them: rows a session, ids without sub-, several runs, masks of several images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bids_names import Touch, scans, taken

from ankleseg.cohorts import Explicit, HoldOutGroup, KFold, LeaveOneOut, load_cohort, load_dynamic, read_sidecar
from ankleseg.errors import CohortError, FileError


def mask(touch: Touch, name: str, place: str = "sub-01/anat", pipeline: str = "derivatives/labels") -> Path:
    return touch(f"study/{pipeline}/{place}/{name}.nii.gz")


def never_downloaded(file: Path, link: bool) -> None:
    """Make a pointer of Git LFS, or a link of git-annex that leads nowhere."""
    if link:
        file.symlink_to(".git/annex/objects/key")
    else:
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")


def people(root: Path, *rows: str, name: str = "participants.tsv", **options: str) -> None:
    (root / name).write_text("\n".join("\t".join(row.split()) for row in rows) + "\n", **options)


def told(root: Path, **asked) -> dict[str, tuple[str | None, str | None]]:
    return {case.name: (case.group, case.side) for case in load_cohort(root, **asked).cases}


class TestParticipants:
    def test_rows_that_say_the_same_in_other_words_agree(self, touch) -> None:
        root = scans(touch, "sub-01_ses-1_T1w", "sub-01_ses-2_T1w")
        people(root, "participant_id side group", "sub-01 L 1", "sub-01 left 1.0")
        assert told(root) == {"sub-01_ses-1": ("1", "left"), "sub-01_ses-2": ("1", "left")}

    @pytest.mark.parametrize("column", ["session_id", "session"])
    @pytest.mark.parametrize("first", ["ses-01", "01", "1", "SES-1"])
    def test_a_row_a_session_is_of_its_session(self, touch, column, first) -> None:
        root = scans(touch, "sub-01_ses-01_T1w", "sub-01_ses-02_T1w")
        people(root, f"participant_id {column} group side", f"sub-01 {first} before left", "sub-01 2 after right")
        assert told(root) == {"sub-01_ses-01": ("before", "left"), "sub-01_ses-02": ("after", "right")}

    def test_a_table_of_sessions_goes_before_that_of_participants(self, touch) -> None:
        root = scans(touch, "sub-01_ses-a_T1w", "sub-01_ses-b_T1w")
        people(root, "participant_id group side", "sub-01 control right")
        people(root, "session_id side", "ses-a left", "ses-b n/a", name="sub-01/sub-01_sessions.tsv")
        assert told(root) == {"sub-01_ses-a": ("control", "left"), "sub-01_ses-b": ("control", "right")}

    @pytest.mark.parametrize("other", ["right", "n/a"])
    def test_rows_that_contradict_each_other_are_refused_by_name(self, touch, other) -> None:
        root = scans(touch, "sub-01_ses-a_T1w", "sub-01_ses-b_T1w", "sub-02_T1w")
        people(root, "participant_id side", "sub-01 left", f"sub-01 {other}", "sub-02 left")
        with pytest.raises(
            CohortError, match=rf"gives sub-01 the sides left \(row 2\) and {other} \(row 3\); name .* session_id"
        ):
            load_cohort(root)
        problems = {case.name: case.problem is None for case in load_cohort(root, strict=False).cases}
        assert problems == {"sub-01_ses-a": False, "sub-01_ses-b": False, "sub-02": True}

    def test_rows_that_say_the_same_are_not(self, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        people(root, "participant_id side age", "sub-01 left 9", "sub-01 left 10")
        assert told(root) == {"sub-01": (None, "left")}

    @pytest.mark.parametrize(
        "names", ["01 02", "1 2", "SUB-01 Sub-02", "sub-1 sub-2", "1.0 2.0", "001 002", "sub01 sub_02"]
    )
    def test_names_are_matched_whatever_their_spelling(self, touch, names) -> None:
        root = scans(touch, "sub-01_T1w", "sub-02_T1w")
        one, two = names.split()
        people(root, "Participant_ID Group SIDE", f"{one} control L", f"{two} equinus R", encoding="utf-8-sig")
        assert told(root) == {"sub-01": ("control", "left"), "sub-02": ("equinus", "right")}
        assert load_cohort(root).remarks == ()

    def test_a_name_of_two_folders_is_refused_and_an_exact_one_is_not(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-1_T1w")
        people(root, "participant_id side", "01 left", "1 right")
        assert told(root) == {"sub-01": (None, "left"), "sub-1": (None, "right")}
        people(root, "participant_id side", "001 left")
        with pytest.raises(CohortError, match="has a row '001' that may be of sub-01, sub-1; write the names in full"):
            load_cohort(root)

    def test_rows_and_folders_without_partner_are_said_once(self, touch, caplog) -> None:
        root = scans(touch, "sub-01_T1w", "sub-02_ses-a_T1w")
        people(root, "participant_id session_id side", "sub-01 n/a left", "sub-02 b left", "sub-77 n/a left")
        remarks = load_cohort(root).remarks
        assert re.search("has no row for sub-02_ses-a: group and side are unknown, and nothing is mirrored", remarks[0])
        assert re.search("there is no folder for the rows sub-77; copy their scans", remarks[1])
        assert caplog.messages == list(remarks)

    def test_a_column_of_sides_by_another_name_is_said(self, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        people(root, "participant_id foot handedness", "sub-01 L R")
        (remark,) = load_cohort(root).remarks
        assert "its column 'foot' holds left and right, but sides are read from a column 'side'" in remark

    def test_groups_of_sessions_keep_subjects_together(self, touch) -> None:
        root = scans(touch, *(f"sub-{n}_ses-{s}_T1w" for n in range(1, 5) for s in "ab"))
        rows = [f"sub-{n} {s} {g}" for n in range(1, 5) for s, g in (("a", "before"), ("b", "after"))]
        people(root, "participant_id session_id group", *rows)
        cohort = load_cohort(root)
        assert cohort.describe().startswith("8 cases of 4 subjects; 4 after, 4 before")
        assert len(LeaveOneOut()(cohort).train) == 2 and len(KFold(folds=3)(cohort).test) == 2
        with pytest.raises(CohortError, match="puts subject sub-1 in the groups before and after; give a subject one"):
            HoldOutGroup(train="before", test="after")(cohort)

    def test_registered_sessions_keep_their_subject_and_side(self, touch) -> None:
        pose = {"frame": 0, "bone": "talus", "status": "ok", "frame_from_static": [[1, 0, 0, 0], [0, 1, 0, 0]]}
        pose["frame_from_static"] += [[0, 0, 1, 0], [0, 0, 0, 1]]
        for session in ("ses-a", "ses-b"):
            name = f"sub-01_{session}_task-x"
            poses = touch(f"motion/sub-01_{session}/dyn/{name}_poses.json")
            poses.write_text(json.dumps([pose]))
            touch(f"motion/sub-01_{session}/dyn/._{name}_poses.json")
            touch(f"motion/sub-01_{session}/dyn/{name}_label-talus_mask.nii.gz")
        people(poses.parents[2], "participant_id session_id side", "sub-01 a left", "sub-01 b right")
        cases = load_dynamic(poses.parents[2]).cases
        assert [(case.subject, case.side) for case in cases] == [("sub-01", "left"), ("sub-01", "right")]


class TestPlaces:
    def test_scans_beside_sessions_are_cases_too(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-01_ses-a_T1w")
        mask(touch, "sub-01_label-talus_mask")
        mask(touch, "sub-01_ses-a_label-talus_mask", "sub-01/ses-a/anat")
        found = {case.name: case.references["talus"].path.name for case in load_cohort(root).cases}
        assert found == {
            "sub-01": "sub-01_label-talus_mask.nii.gz",
            "sub-01_ses-a": "sub-01_ses-a_label-talus_mask.nii.gz",
        }

    def test_scans_outside_anat_are_read_and_said(self, touch) -> None:
        root = touch("study/sub-01/sub-01_T1w.nii.gz").parents[1]
        mask(touch, "sub-01_label-talus_mask", "sub-01", pipeline="derivatives")
        cohort = load_cohort(root)
        assert (taken(root), cohort.structures) == (["sub-01_T1w"], ("talus",))
        assert "sub-01 hold their scans outside a folder anat; they are read all the same" in cohort.remarks[0]

    def test_a_session_without_scans_of_the_anatomy_is_passed_over(self, touch) -> None:
        root = scans(touch, "sub-01_ses-a_T1w")
        touch("study/sub-01/ses-b/dwi/sub-01_ses-b_dwi.nii.gz")
        cohort = load_cohort(root)
        assert [case.name for case in cohort.cases] == ["sub-01_ses-a"]
        assert "sub-01/ses-b are passed over: there is no scan beside" in cohort.remarks[0]

    def test_hidden_companions_are_never_counted(self, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        mask(touch, "sub-01_label-talus_mask")
        for file in list(root.rglob("*.nii.gz")):
            file.with_name(f"._{file.name}").touch()
        (root / "sub-01" / ".DS_Store").touch()
        cohort = load_cohort(root)
        assert (taken(root), cohort.structures, cohort.remarks) == (["sub-01_T1w"], ("talus",), ())

    def test_what_was_never_downloaded_is_told(self, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        image = root / "sub-01/anat/sub-01_T1w.nii.gz"
        image.unlink()
        image.symlink_to("../../.git/annex/objects/aa/bb/key/key")
        with pytest.raises(CohortError, match=rf"was not downloaded: .*, and should be .*; run datalad get {image}"):
            load_cohort(root)

    @pytest.mark.parametrize("link", [False, True])
    @pytest.mark.parametrize("name", ["participants.tsv", "sub-01/sub-01_sessions.tsv", "derivatives/labels/dseg.tsv"])
    def test_tables_that_were_never_downloaded_are_told_and_not_taken_for_none(self, name, link, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        mask(touch, "sub-01_dseg")
        never_downloaded(root / name, link)
        with pytest.raises(CohortError, match=f"{name}: was not downloaded: .*; run (datalad get|git lfs pull)"):
            load_cohort(root)

    @pytest.mark.parametrize("link", [False, True])
    @pytest.mark.parametrize("name", ["table.csv", "study/dataset.json"])
    def test_cohorts_that_were_never_downloaded_are_told(self, name, link, tmp_path: Path) -> None:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        never_downloaded(file, link)
        with pytest.raises(CohortError, match=f"{name}: was not downloaded"):
            load_cohort(file if name.endswith("csv") else file.parent)

    @pytest.mark.parametrize("link", [False, True])
    def test_a_sidecar_that_was_never_downloaded_is_told(self, link, tmp_path: Path) -> None:
        never_downloaded(tmp_path / "walk.json", link)
        with pytest.raises(FileError, match="walk.json: was not downloaded"):
            read_sidecar(tmp_path / "walk.nii.gz")


class TestMasks:
    def test_cord_masks_are_read_by_label_whatever_the_suffix(self, touch) -> None:
        root = scans(touch, "sub-01_T2w")
        for name in ("label-SC_seg", "label-GM_mask", "gmseg", "lesion-manual", "seg", "seg-manual"):
            mask(touch, f"sub-01_T2w_{name}")
        for name in (
            "label-discs_dlabel",
            "labels-disc",
            "label-WM_probseg",
            "space-MNI152_label-SC_seg",
            "desc-brain_mask",
        ):
            mask(touch, f"sub-01_T2w_{name}")
        cohort = load_cohort(root)
        assert cohort.structures == ("GM", "SC", "gmseg", "lesion", "seg")
        assert cohort.cases[0].references["seg"].path.name == "sub-01_T2w_seg-manual.nii.gz"
        (remark,) = cohort.remarks
        assert remark.startswith(f"{root / 'derivatives' / 'labels'}: 5 files are passed over")

    def test_masks_are_those_of_the_chosen_image(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-01_run-1_T2w", "sub-01_run-2_T2w")
        names = ["sub-01_T1w_label-SC_seg", "sub-01_run-1_T2w_label-SC_seg", "sub-01_run-2_T2w_label-SC_seg"]
        for name in names:
            mask(touch, name)
        for asked, name in zip(
            ({}, {"suffix": "T2w", "select": {"run": 1}}, {"suffix": "T2w", "select": {"run": "02"}}),
            names,
            strict=True,
        ):
            (case,) = load_cohort(root, **asked).cases
            assert case.references["SC"].path.name == f"{name}.nii.gz"

    def test_a_mask_of_another_contrast_is_not_taken_and_said(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-01_T2w")
        mask(touch, "sub-01_T2w_label-SC_seg")
        cohort = load_cohort(root)
        assert cohort.structures == ()
        assert re.search(r"SC is not taken from .*; choose those images by cohort\.suffix=T2w$", cohort.remarks[0])

    def test_a_map_is_read_by_the_labels_of_its_sidecar(self, touch) -> None:
        root = scans(touch, "sub-01_T1w")
        labels = mask(touch, "sub-01_dseg")
        labels.with_name("sub-01_dseg.json").write_text(json.dumps({"LabelMap": {"0": "Background", "3": "talus"}}))
        assert load_cohort(root).cases[0].masks == {labels: (3,)}

    def test_derivatives_of_other_tools_cost_one_remark(self, touch) -> None:
        root = scans(touch, "sub-01_T1w", "sub-02_T1w")
        for subject in ("sub-01", "sub-02"):
            for name in (
                "desc-preproc_T1w",
                "desc-brain_mask",
                "label-GM_probseg",
                "space-MNI152NLin_res-2_desc-brain_mask",
            ):
                mask(touch, f"{subject}_{name}", f"{subject}/anat", "derivatives/fmriprep")
            mask(touch, f"{subject}_label-talus_mask", f"{subject}/anat", "derivatives/manual")
        cohort = load_cohort(root)
        assert (cohort.structures, len(cohort.remarks)) == (("talus",), 1)
        assert "fmriprep: 8 files are passed over" in cohort.remarks[0]


class TestSidecars:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
    def test_any_encoding_is_read(self, touch, encoding) -> None:
        sequence = touch("study/sub-01/dyn/sub-01_task-a_dynamic.nii.gz")
        text = json.dumps({"RepetitionTime": 0.4, "InstitutionName": "Hôpital"}, ensure_ascii=False)
        sequence.with_name("sub-01_task-a_dynamic.json").write_bytes(text.encode(encoding))
        assert read_sidecar(sequence).seconds == 0.4

    def test_the_closest_goes_first_for_each_key(self, touch) -> None:
        sequence = touch("study/sub-01/ses-1/dyn/sub-01_ses-1_task-a_dynamic.nii.gz")
        for name, content in (
            ("study/dynamic.json", {"RepetitionTime": 1, "SliceThickness": 1, "SpacingBetweenSlices": 1}),
            ("study/task-a_dynamic.json", {"RepetitionTime": 2, "SliceThickness": 2}),
            ("study/task-b_dynamic.json", {"RepetitionTime": 9}),
            ("study/sub-01/sub-01_task-a_dynamic.json", {"RepetitionTime": 3}),
            ("task-a_dynamic.json", {"RepetitionTime": 8}),
        ):
            touch(name).write_text(json.dumps(content))
        header = read_sidecar(sequence)
        assert (header.seconds, header.thickness_mm, header.spacing_mm) == (3, 2, 1)


def test_listed_subjects_may_be_numbers(touch) -> None:
    cohort = load_cohort(scans(touch, "sub-01_T1w", "sub-02_T1w"))
    assert Explicit(train=[1], test=["02"])(cohort).test == ("sub-02",)
    assert [case.name for case in cohort.select([2]).cases] == ["sub-02"]


def test_a_small_cohort_is_told_how_to_train_all_the_same(touch) -> None:
    cohort = load_cohort(scans(touch, "sub-01_T1w", "sub-02_T1w"))
    for split in (HoldOutGroup(), LeaveOneOut(), KFold(folds=3)):
        with pytest.raises(
            CohortError, match=r"has 2 subjects to share where 3 are needed; .*cohort\.split\.train=\[sub-01,sub-02\]"
        ):
            split(cohort)
    assert Explicit(train=["sub-01", "sub-02"])(cohort).validation == ()


def test_an_image_of_another_subject_is_refused(touch) -> None:
    image = touch("study/sub-01/anat/sub-02_T1w.nii.gz")
    with pytest.raises(CohortError, match="is named after sub-02 and lies in the folder of sub-01; move it"):
        load_cohort(image.parents[2])


def test_masks_where_no_scan_is_are_said(touch) -> None:
    root = scans(touch, "sub-01_ses-1_T1w")
    mask(touch, "sub-01_ses-1_label-talus_mask")
    (remark,) = load_cohort(root).remarks
    assert "sub-01/anat/sub-01_ses-1_label-talus_mask.nii.gz lie where no scan is and are passed over" in remark


def test_a_cohort_a_folder_below_is_named(touch) -> None:
    root = scans(touch, "sub-01_T1w")
    with pytest.raises(CohortError, match=f"is not a cohort; give the cohort in it: {root}"):
        load_cohort(root.parent)


def test_groups_that_differ_in_capitals_only_are_said(touch) -> None:
    root = scans(touch, "sub-1_T1w", "sub-2_T1w")
    people(root, "participant_id group", "1 control", "2 Control")
    assert "the groups Control and control differ in capitals only" in load_cohort(root).remarks[0]


def test_groups_may_be_numbers(touch) -> None:
    root = scans(touch, *(f"sub-{number}_T1w" for number in range(1, 5)))
    people(root, "participant_id group", *(f"{number} {number % 2}" for number in range(1, 5)))
    assert HoldOutGroup(train=1, test=0)(load_cohort(root)).test == ("sub-2", "sub-4")
