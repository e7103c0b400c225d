"""Channels have names, whatever a cohort is laid out as; their order never matters, a wrong one is told by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ankleseg.cohorts import Case, Cohort, in_order, load_cohort
from ankleseg.errors import CohortError, FileError
from ankleseg.volumes import check_case, read_header, read_volume, write_volume

Touch = Callable[[str], Path]
NNUNET = {"labels": {"background": 0, "talus": 1}, "file_ending": ".nii.gz"}


def case_of(*channels: str, name: str = "p1") -> Case:
    return Case(name, name, {channel: Path(f"{name}_{channel}.nii.gz") for channel in channels})


def test_every_order_is_brought_into_the_order_of_the_network() -> None:
    wanted = ("t1", "T1ce", "flair")
    for names in itertools.permutations(("T1", "t1ce", "flair")):
        case = in_order(case_of(*names), wanted)
        assert tuple(case.channels) == wanted
        assert [path.name.lower() for path in case.images] == [f"p1_{name.lower()}.nii.gz" for name in wanted]
    assert in_order(case, wanted) == case


def test_one_channel_is_that_of_a_network_of_one() -> None:
    case = in_order(case_of("image"), ("T1w",))
    assert case.channels == {"T1w": Path("p1_image.nii.gz")}


@pytest.mark.parametrize(
    ("have", "expected", "message"),
    [
        (
            ("t1", "flair"),
            ("flair", "t1ce"),
            r"has the channels t1, flair: expected flair, t1ce \(missing t1ce; unexpected t1\); "
            r"add the files, and list them in a table with the columns case,image_flair,image_t1ce$",
        ),
        (("t1",), ("t1", "t2"), r"has the channel t1: expected t1, t2 \(missing t2\); add the files, and list them in"),
        (
            ("t1", "t2"),
            ("t2",),
            r"expected t2 \(unexpected t1\); leave the others out, by a table with the columns case,image_t2$",
        ),
        (
            ("0000", "0001"),
            ("t1", "t2"),
            r"expected t1, t2 .*; numbers do not tell which channel is which: list the files in a table with "
            r"the columns case,image_t1,image_t2$",
        ),
        (("t1", "t2"), ("0000", "0001"), r"numbers do not tell .* columns case,image_0000,image_0001$"),
        ((), ("t1",), r"case p1 has the channels none: expected t1"),
    ],
)
def test_a_missing_or_another_channel_is_one_line_with_the_case(have, expected, message) -> None:
    with pytest.raises(CohortError, match=message) as caught:
        in_order(case_of(*have), expected)
    assert "\n" not in str(caught.value) and "p1" in str(caught.value)


def test_the_table_that_the_mend_names_fits_the_network(touch: Touch, tmp_path: Path) -> None:
    with pytest.raises(CohortError) as caught:
        in_order(case_of("0000", "0001"), ("t1", "flair"))
    columns = str(caught.value.mend).rpartition(" ")[2]
    files = [touch("a_0000.nii.gz").name, touch("a_0001.nii.gz").name]
    (tmp_path / "table.csv").write_text(f"{columns}\na,{','.join(files)}\n")
    (case,) = load_cohort(tmp_path / "table.csv").cases
    assert in_order(case, ("t1", "flair")) == case


def test_a_cohort_has_the_channels_that_all_its_cases_share() -> None:
    first = case_of("t1", "flair")
    cases = (Case("none", "none", {}), first, case_of("flair", "t1", name="p2"))
    cohort = Cohort(Path(), cases)
    assert cohort.channels == ("t1", "flair") and "channels t1, flair" in cohort.describe()
    mixed = Cohort(Path(), (*cases, case_of("t1", "t2", name="p3")))
    with pytest.raises(CohortError, match=r"case p3 has .*expected t1, flair \(missing flair; unexpected t2\)"):
        _ = mixed.channels
    one = [case_of("T1w"), case_of("T1w", name="p2"), case_of("dynamic", name="p3")]
    assert Cohort(Path(), tuple(one[:2])).channels == ("T1w",)
    assert Cohort(Path(), tuple(one)).channels == ("image",)
    with pytest.raises(CohortError, match="uses the name 'a/b'"):
        Cohort(Path(), (case_of("a/b"),))


class TestBids:
    def cohort(self, touch: Touch, *names: str) -> Path:
        for name in names:
            root = touch(f"sub-01/anat/sub-01_{name}.nii.gz").parents[2]
        return root

    def test_a_single_image_is_called_by_its_suffix(self, touch: Touch) -> None:
        root = self.cohort(touch, "T1w", "T2w")
        assert load_cohort(root).channels == ("T1w",)
        assert load_cohort(root, suffix="T2w").channels == load_cohort(root, suffix=["T2w"]).channels == ("T2w",)

    def test_several_suffixes_are_channels_in_their_order(self, touch: Touch) -> None:
        root = self.cohort(touch, "T1w", "ce-gad_T1w", "acq-thick_T2w", "FLAIR")
        asked = ["FLAIR", "ce-gad_T1w", "T2w", "T1w"]
        (case,) = load_cohort(root, suffix=asked, select={"ce": "none"}).cases
        assert {name: path.name for name, path in case.channels.items()} == {
            "FLAIR": "sub-01_FLAIR.nii.gz",
            "ce-gad_T1w": "sub-01_ce-gad_T1w.nii.gz",
            "T2w": "sub-01_acq-thick_T2w.nii.gz",
            "T1w": "sub-01_T1w.nii.gz",
        }
        assert list(case.channels) == asked

    def test_a_mask_of_any_channel_is_taken_and_that_of_the_first_is_believed(self, touch: Touch) -> None:
        root = self.cohort(touch, "T1w", "T2w", "PDw")
        place = "derivatives/manual/sub-01/anat/sub-01"
        for name in ("T1w_label-core", "T2w_label-core", "T2w_label-whole", "PDw_label-other"):
            touch(f"{place}_{name}_mask.nii.gz")
        cohort = load_cohort(root, suffix=["T2w", "T1w"])
        files = {name: reference.path.name for name, reference in cohort.cases[0].references.items()}
        assert files == {"core": "sub-01_T2w_label-core_mask.nii.gz", "whole": "sub-01_T2w_label-whole_mask.nii.gz"}
        assert any("other is not taken from sub-01_PDw_label-other" in remark for remark in cohort.remarks)

    def test_a_channel_that_is_not_there_is_told_and_costs_its_case_alone(self, touch: Touch) -> None:
        root = self.cohort(touch, "T1w", "T2w")
        touch("sub-02/anat/sub-02_T1w.nii.gz")
        with pytest.raises(
            CohortError, match=r"sub-02/anat: holds no T2w image, .*; add it, or leave T2w out of cohort\.suff"
        ):
            load_cohort(root, suffix=["T1w", "T2w"])
        first, second = load_cohort(root, suffix=["T1w", "T2w"], strict=False).cases
        assert list(first.channels) == ["T1w", "T2w"] and second.problem is not None and not second.channels
        with pytest.raises(CohortError, match=r"invalid suffixes T1w, t1w: expected each once; .*ce-gad_T1w"):
            load_cohort(root, suffix=["T1w", "t1w"])


def test_the_columns_of_a_table_name_the_channels(touch: Touch, tmp_path: Path) -> None:
    touch("a.nii")
    for columns, names in {"image": ["image"], "image_t1ce,image_FLAIR": ["t1ce", "FLAIR"]}.items():
        (tmp_path / "t.csv").write_text(f"case,{columns}\na{',a.nii' * len(names)}\n")
        assert list(load_cohort(tmp_path / "t.csv").cases[0].channels) == names


class TestDatasetJson:
    def loaded(self, folder: Path, told: dict) -> Cohort:
        (folder / "dataset.json").write_text(json.dumps(NNUNET | told))
        return load_cohort(folder)

    def test_numbered_files_have_the_names_that_are_told(self, touch: Touch, tmp_path: Path) -> None:
        for name in ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a"):
            touch(f"{name}.nii.gz")
        names = {"1": "FLAIR", "0": "T1"}
        listed = {"training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}]}
        for told in ({"channel_names": names}, {"modality": names, **listed}):
            (case,) = self.loaded(tmp_path, told).cases
            assert {name: path.name[:6] for name, path in case.channels.items()} == {"T1": "a_0000", "FLAIR": "a_0001"}
        for told in (listed, {"channel_names": {"0": "MR", "1": "mr"}}):
            assert self.loaded(tmp_path, told).channels == ("0000", "0001"), "no names that tell them apart"

    def test_the_volumes_of_one_file_are_channels_that_are_read_as_such(self, tmp_path: Path) -> None:
        stacked = np.random.default_rng(0).normal(size=(6, 5, 4, 3)).astype(np.float32)
        affine = np.diag([1.0, 2, 3, 1])
        image = write_volume(tmp_path / "imagesTr/a.nii.gz", stacked, affine)
        write_volume(tmp_path / "labelsTr/a.nii.gz", np.ones((6, 5, 4), np.uint8), affine)
        names = {"0": "FLAIR", "1": "T1w", "2": "T2w"}
        listed = {"training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}
        cohort = self.loaded(tmp_path, {"modality": names, **listed})
        (case,) = cohort.cases
        assert cohort.channels == ("FLAIR", "T1w", "T2w")
        for number, path in enumerate(case.images):
            volume = read_volume(path)
            assert volume.header is not None and volume.header.path == path == Path(f"{image}#frame={number}")
            assert read_header(path).shape == volume.header.shape == (6, 5, 4)
            assert np.array_equal(volume.data, stacked[..., number])
        assert check_case(case.name, case.images, case.masks).verdict == "ok"
        broken = replace(case, channels={"FLAIR": Path(f"{image}#frame=3")})
        with pytest.raises(FileError, match=r"has no frame 3, but 3 counted from 0"):
            read_header(broken.images[0])
        with pytest.raises(FileError, match=r"has 3 dimensions \(6×5×4\), 4 are needed to choose a frame"):
            read_volume(f"{tmp_path}/labelsTr/a.nii.gz#frame=0")
        with pytest.raises(FileError, match="invalid frame 'x': expected a whole number"):
            read_header(f"{image}#frame=x")
