"""Every layout gives the same cohort, and a mistake in one is named with its mend."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
from laws import for_all

from ankleseg.cohorts import Case, Cohort, Reference, load_cohort
from ankleseg.errors import CohortError

BONES = ("calcaneus", "talus", "tibia")


def bids(touch, subjects=("sub-C01", "sub-E01"), participants=True) -> Path:
    for subject in subjects:
        image = touch(f"{subject}/anat/{subject}_T1w.nii.gz")
        for bone in BONES:
            touch(f"derivatives/manual/{subject}/anat/{subject}_label-{bone}_mask.nii.gz")
    root = image.parents[2]
    if participants:
        rows = [f"{name}\t{'control' if 'C' in name else 'equinus'}\tL\t9.5" for name in subjects]
        (root / "participants.tsv").write_text("\n".join(["participant_id\tgroup\tside\tage", *rows]))
    return root


def table(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


class TestBids:
    def test_images_masks_groups_and_sides_are_found(self, touch):
        cohort = load_cohort(bids(touch))
        case = cohort.cases[0]
        assert (case.name, case.subject, case.group, case.side) == ("sub-C01", "sub-C01", "control", "left")
        assert [image.name for image in case.images] == ["sub-C01_T1w.nii.gz"]
        assert {name: reference.path.name for name, reference in case.references.items()} == {
            bone: f"sub-C01_label-{bone}_mask.nii.gz" for bone in BONES
        }
        assert cohort.structures == BONES
        assert cohort.groups == ("control", "equinus")

    def test_without_participants_there_are_no_groups(self, touch):
        cohort = load_cohort(bids(touch, participants=False))
        assert cohort.groups == ()
        assert {case.side for case in cohort.cases} == {None}

    def test_without_masks_the_scans_are_still_a_cohort(self, touch):
        root = touch("sub-01/anat/sub-01_T1w.nii.gz").parents[2]
        assert load_cohort(root).cases[0].references == {}
        with pytest.raises(CohortError, match="has no structure 'talus'; known are: none"):
            load_cohort(root, structures=["talus"])

    def test_sessions_are_cases_of_one_subject(self, touch):
        for session in ("ses-a", "ses-b"):
            image = touch(f"sub-01/{session}/anat/sub-01_{session}_T1w.nii.gz")
            touch(f"derivatives/manual/sub-01/{session}/anat/sub-01_{session}_label-talus_mask.nii.gz")
        cohort = load_cohort(image.parents[3])
        assert [case.name for case in cohort.cases] == ["sub-01_ses-a", "sub-01_ses-b"]
        assert cohort.subjects == ("sub-01",)
        assert "ses-b" in cohort.cases[1].references["talus"].path.name

    @pytest.mark.parametrize("place", ["sub-01/anat/sub-01_dseg.tsv", "dseg.tsv"])
    def test_a_label_map_with_its_table_is_read(self, place, touch):
        root = touch("sub-01/anat/sub-01_T1w.nii.gz").parents[2]
        labels = touch("derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz")
        touch(f"derivatives/manual/{place}").write_text("index\tname\n0\tbackground\n2\ttalus\n5\ttibia\n")
        case = load_cohort(root).cases[0]
        assert case.references == {"talus": Reference(labels, 2), "tibia": Reference(labels, 5)}
        assert case.masks == {labels: (2, 5)}

    def test_a_label_map_without_its_table_is_passed_over_and_said(self, touch, caplog):
        root = touch("sub-01/anat/sub-01_T1w.nii.gz").parents[2]
        touch("derivatives/manual/sub-01/anat/sub-01_dseg.nii.gz")
        cohort = load_cohort(root)
        (remark,) = cohort.remarks
        assert re.search(r"dseg\.nii\.gz: comes without a table .* is passed over; add sub-01_dseg\.tsv", remark)
        assert (cohort.structures, caplog.messages) == ((), [remark])

    def test_the_manual_mask_is_believed_and_other_pairs_are_refused(self, touch):
        root = bids(touch, subjects=("sub-C01",))
        touch("derivatives/automatic/sub-C01/anat/sub-C01_label-talus_mask.nii.gz")
        assert "manual" in load_cohort(root).cases[0].references["talus"].path.parts
        (root / "derivatives/manual").rename(root / "derivatives/rater")
        with pytest.raises(CohortError, match="has two segmentations of talus: derivatives/automatic.* and .*rater"):
            load_cohort(root)

    def test_one_of_several_images_is_chosen_by_its_suffix(self, touch):
        root = bids(touch, subjects=("sub-C01",))
        touch("sub-C01/anat/sub-C01_T2w.nii.gz")
        assert load_cohort(root).cases[0].images[0].name == "sub-C01_T1w.nii.gz"
        assert load_cohort(root, suffix="T2w").cases[0].images[0].name == "sub-C01_T2w.nii.gz"
        with pytest.raises(CohortError, match=r"holds no PDw image, but sub-C01_T1w.nii.gz, sub-C01_T2w"):
            load_cohort(root, suffix="PDw")

    def test_an_acquisition_is_taken_only_where_it_is_asked_for(self, touch):
        root = bids(touch, subjects=("sub-C01",))
        touch("sub-C01/anat/sub-C01_acq-thick_T1w.nii.gz")
        touch("sub-C01/anat/sub-C01_acq-thick_T2w.nii.gz")

        def taken(**asked: str) -> str:
            return load_cohort(root, **asked).cases[0].images[0].name.removeprefix("sub-C01_").removesuffix(".nii.gz")

        assert (taken(), taken(suffix="T1w")) == ("T1w", "T1w")
        assert (taken(acquisition="thick"), taken(suffix="T2w")) == ("acq-thick_T1w", "acq-thick_T2w")
        with pytest.raises(CohortError, match="holds no acq-te1 T1w image, but "):
            load_cohort(root, acquisition="te1")

    def test_two_acquisitions_and_no_plain_image_are_not_guessed_between(self, touch):
        touch("sub-01/anat/sub-01_acq-te1_T2w.nii.gz")
        root = touch("sub-01/anat/sub-01_acq-te2_T2w.nii.gz").parents[2]
        with pytest.raises(
            CohortError, match="holds 2 images .*; they differ in acq .te1, te2.; .* by cohort.select.acq=te1$"
        ):
            load_cohort(root)
        with pytest.raises(CohortError, match="choose one, e.g. by cohort.acquisition=te1$"):
            load_cohort(root, acquisition="te3")  # select.acq would contradict it
        assert load_cohort(root, acquisition="te2").cases[0].images[0].name == "sub-01_acq-te2_T2w.nii.gz"

    def test_the_name_of_a_structure_may_hold_underscores(self, touch):
        touch("sub-01/anat/sub-01_T1w.nii.gz")
        for name in ("left_cortex", "left_inner", "white_matter_desc-manual"):
            mask = touch(f"derivatives/manual/sub-01/anat/sub-01_label-{name}_mask.nii.gz")
        assert load_cohort(mask.parents[4]).structures == ("left_cortex", "left_inner", "white_matter")

    def test_a_subject_without_an_image_is_named(self, touch):
        root = bids(touch)
        (root / "sub-C01/anat/sub-C01_T1w.nii.gz").unlink()
        with pytest.raises(CohortError, match="sub-C01/anat: holds no image; add the scan, or remove"):
            load_cohort(root)

    def test_a_participants_table_without_its_key_is_refused(self, touch):
        root = bids(touch)
        (root / "participants.tsv").write_text("subject\tgroup\nsub-C01\tcontrol\n")
        with pytest.raises(CohortError, match=r"participants\.tsv: has no column participant_id"):
            load_cohort(root)


class TestTable:
    def test_masks_channels_groups_and_sides_are_found(self, touch, tmp_path):
        for name in ("a_t1.nii.gz", "a_t2.nii.gz", "masks/a.nii.gz", "b_t1.nii.gz", "b_t2.nii.gz"):
            touch(name)
        text = "subject,image_t1,image_t2,group,side,mask_talus\n"
        text += "a,a_t1.nii.gz,a_t2.nii.gz,control,Left,masks/a.nii.gz\n"
        text += "b,b_t1.nii.gz,b_t2.nii.gz,n/a,r,\n\n"
        cohort = load_cohort(table(tmp_path, text))
        first, second = cohort.cases
        assert first.images == (tmp_path / "a_t1.nii.gz", tmp_path / "a_t2.nii.gz")
        assert (first.group, first.side, second.group, second.side) == ("control", "left", None, "right")
        assert first.references == {"talus": Reference(tmp_path / "masks/a.nii.gz")}
        assert first.masks == {tmp_path / "masks/a.nii.gz": None}
        assert second.references == {}
        with pytest.raises(CohortError, match="has no mask of talus for case b; add it"):
            load_cohort(tmp_path / "table.csv", structures=["talus"])

    def test_a_label_map_has_a_column_for_each_value(self, touch, tmp_path):
        image, labels = touch("a.nii.gz"), touch("a_labels.nii.gz")
        text = f"subject,image,labels,value_talus,value_tibia\na,{image},a_labels.nii.gz,2,5\n"
        cohort = load_cohort(table(tmp_path, text), structures=["tibia"])
        assert cohort.structures == ("tibia",)
        assert cohort.cases[0].references == {"tibia": Reference(labels, 5)}

    @pytest.mark.parametrize(
        ("name", "separator", "start"), [("t.tsv", "\t", ""), ("t.csv", ";", ""), ("t.csv", ",", "\ufeff")]
    )
    def test_tabs_semicolons_and_byte_order_marks_are_understood(self, name, separator, start, touch, tmp_path):
        touch("a.nii.gz")
        text = start + separator.join(["subject", "image"]) + "\r\n" + separator.join(["a", "a.nii.gz"])
        assert load_cohort(table(tmp_path, text, name)).subjects == ("a",)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "subject,imgae\na,a.nii\n",
                "has an unknown column 'imgae'; did you mean 'image'\\? known are: subject, case",
            ),
            ("subject,image,colour\na,a.nii,red\n", "has an unknown column 'colour'; known are: subject, case, image"),
            ("image\na.nii\n", "has no column subject or case"),
            ("subject,group\na,control\n", "has no column image"),
            ("subject,image\n", "holds no rows; give it a header and one row a scan"),
            ("", "holds no rows"),
            ("subject,image\na,a.nii,more\n", "has 3 cells in row 2 and 2 columns; correct the row"),
            ("subject,image,image\na,a.nii,a.nii\n", "names a column twice"),
            (
                "subject,image\na,a.nii\na,b.nii\n",
                "has 2 cases named a; give each scan its own name in a column 'case'",
            ),
            ("subject,image\na,missing.nii\n", "missing.nii: does not exist, and should be the image of case a"),
            ("subject,image,mask_talus\na,a.nii,m.nii\n", "m.nii: does not exist, and should be the talus of case a"),
            ("subject,image,side\na,a.nii,both\n", "gives a the side 'both'; write left or right"),
            ("subject,image\n,a.nii\n", "has a row without subject or case"),
            ("subject,image\na,\n", "gives no image for case a; fill it"),
            ("subject,image_t1,image_t2\na,a.nii,\n", "gives no image_t2 for case a; fill it, or leave the case out"),
            ("subject,image,labels\na,a.nii,b.nii\n", "needs both a column labels and columns value_<structure>"),
            ("subject,image,value_talus\na,a.nii,1\n", "needs both a column labels and columns value_<structure>"),
            ("subject,image,labels,value_talus\na,a.nii,b.nii,x\n", "gives a the label value 'x' for talus"),
            ("subject,image\na/b,a.nii\n", "uses the name 'a/b'; name it without slashes"),
            ("subject,image,mask_x/y\na,a.nii,b.nii\n", "uses the name 'x/y'"),
            ("subject,image\na,a.nii\nb,a.nii\n", "a.nii: is the image of two subjects, a and b, and would leak"),
        ],
    )
    def test_a_mistake_is_told_in_one_line(self, text, message, touch, tmp_path):
        touch("a.nii")
        touch("b.nii")
        with pytest.raises(CohortError, match=message) as caught:
            load_cohort(table(tmp_path, text))
        assert "\n" not in str(caught.value)
        assert caught.value.mend

    def test_a_quoted_cell_may_hold_the_separator(self, touch, tmp_path):
        touch("scan, left.nii")
        cohort = load_cohort(table(tmp_path, 'subject,image\na,"scan, left.nii"\n'))
        assert cohort.cases[0].images == (tmp_path / "scan, left.nii",)

    def test_what_is_no_text_is_refused(self, tmp_path):
        (tmp_path / "table.csv").write_bytes(b"\x00\x01\x02\x03")
        with pytest.raises(CohortError, match=r"table\.csv: cannot be read as a table .*; save it as UTF-8 text"):
            load_cohort(tmp_path / "table.csv")


class TestDecathlon:
    def test_the_listed_scans_of_the_decathlon_are_found(self, touch, tmp_path):
        image, label = touch("imagesTr/ankle_001.nii.gz"), touch("labelsTr/ankle_001.nii.gz")
        description = {
            "labels": {"0": "background", "2": "tibia", "1": "talus"},
            "training": [{"image": "./imagesTr/ankle_001.nii.gz", "label": "./labelsTr/ankle_001.nii.gz"}],
        }
        (tmp_path / "dataset.json").write_text(json.dumps(description))
        for root in (tmp_path, tmp_path / "dataset.json"):
            cohort = load_cohort(root)
            assert cohort.structures == ("talus", "tibia")
            assert cohort.cases == (
                Case(
                    "ankle_001",
                    "ankle_001",
                    {"image": image},
                    {"tibia": Reference(label, 2), "talus": Reference(label, 1)},
                ),
            )

    def test_the_channels_of_nnunet_1_are_found(self, touch, tmp_path):
        channels = tuple(touch(f"imagesTr/a_{channel:04d}.nii.gz") for channel in range(2))
        touch("imagesTr/a_b_0000.nii.gz")
        touch("labelsTr/a.nii.gz")
        training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"1": "talus"}, "training": training}))
        assert load_cohort(tmp_path).cases[0].images == channels

    def test_the_folders_of_nnunet_2_are_found(self, touch, tmp_path):
        channels = tuple(touch(f"imagesTr/case_1_{channel:04d}.mha") for channel in range(2))
        label = touch("labelsTr/case_1.mha")
        description = {
            "channel_names": {"0": "T1", "1": "T2"},
            "labels": {"background": 0, "talus": 1},
            "file_ending": ".mha",
        }
        (tmp_path / "dataset.json").write_text(json.dumps(description))
        (case,) = load_cohort(tmp_path, structures=["talus"]).cases
        assert (case.name, case.images, case.references) == ("case_1", channels, {"talus": Reference(label, 1)})
        channels[1].unlink()
        with pytest.raises(
            CohortError, match=r"case_1_0001\.mha: does not exist, and should be the image of case case_1"
        ):
            load_cohort(tmp_path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "cannot be read as JSON"),
            ("[]", "has no 'labels'"),
            ('{"labels": {"foot": "a"}}', "gives the label 'foot' as 'a'; give every structure one whole number, or a"),
            ('{"labels": {"foot": [1, -2]}}', r"gives the label 'foot' as \[1, -2\]; give every structure one whole"),
            ('{"labels": {"foot": []}}', r"gives the label 'foot' as \[\]; give every structure one whole number"),
            ('{"labels": {"foot": [0, 1]}}', "'foot' as .*, with the background in it; leave out the 0"),
            ('{"labels": {"talus": 1}}', r"lists no training scans, and there are no labelsTr/\*\.nii\.gz"),
            (
                '{"labels": {"1": "talus"}, "training": [{"image": "a.nii"}]}',
                "lists the training scan .*; give it an im",
            ),
        ],
    )
    def test_a_mistake_is_told(self, text, message, tmp_path):
        (tmp_path / "dataset.json").write_text(text)
        with pytest.raises(CohortError, match=message):
            load_cohort(tmp_path)


def test_a_mistyped_structure_gets_a_suggestion(touch):
    with pytest.raises(
        CohortError, match="has no structure 'tallus'; did you mean 'talus'\\? known are: calcaneus, talus"
    ):
        load_cohort(bids(touch), structures=["tallus"])


def test_structures_come_in_the_order_asked_for(touch):
    cohort = load_cohort(bids(touch), structures=["tibia", "calcaneus"])
    assert cohort.structures == ("tibia", "calcaneus")
    assert set(cohort.cases[0].references) == {"tibia", "calcaneus"}


@for_all(("name", "message"), [("nowhere", "does not exist"), ("", "is not a cohort; give a folder of sub-")])
def test_what_is_no_cohort_is_told(name, message, tmp_path):
    with pytest.raises(CohortError, match=message):
        load_cohort(tmp_path / name)


def test_a_selection_holds_all_cases_of_its_subjects(ankles):
    selected = ankles.select(["sub-C03", "sub-E01"])
    assert [case.name for case in selected.cases] == ["sub-C03", "sub-E01", "sub-C03_ses-2"]
    with pytest.raises(CohortError, match="has no subject 'sub-C3'; did you mean 'sub-C03'\\?"):
        ankles.select(["sub-C3"])


def test_a_cohort_describes_itself_and_travels_between_processes(ankles, touch):
    assert ankles.describe() == "16 cases of 14 subjects; 7 control, 7 equinus; no structures"
    cohort = load_cohort(bids(touch))
    assert (
        cohort.describe() == "2 cases of 2 subjects; 1 control, 1 equinus; 2 left; structures calcaneus, talus, tibia"
    )
    assert pickle.loads(pickle.dumps(cohort)) == cohort


def test_a_cohort_without_cases_is_refused():
    with pytest.raises(CohortError, match="holds no cases"):
        Cohort(Path("empty"), ())
