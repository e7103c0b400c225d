"""Several series, parts or echoes: told by name, and chosen at the end of the path."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_exports import SHAPE, voxels, write_classic
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.inference.inputs import cases_of
from ankleseg.volumes import read_header, read_volume, selection_suffix, without_selection
from ankleseg.volumes.selection import split_selection

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load


def mended(path) -> str:
    """The path that a message says to give instead."""
    with pytest.raises(FileError) as caught:
        read_header(path)
    assert caught.value.mend is not None
    return caught.value.mend.rpartition(" ")[2]


def write_echoes(folder, data):
    def elements(index, time):
        part, echo = divmod(time, 2)
        return {
            "EchoTime": (12, 80.5)[echo], "EchoNumbers": echo + 1, "AcquisitionNumber": 1,
            "ImageType": ["ORIGINAL", "PRIMARY", "MP"[part], "ND"],
        }  # fmt: skip

    write_classic(folder, data, elements=elements)


def test_echoes_are_offered_by_name_and_chosen_by_time_or_number(tmp_path):
    data = voxels(2)
    write_echoes(tmp_path / "pd", data)
    with pytest.raises(
        FileError, match=r"pd: holds 2 echoes of each slice: echo 1 \(TE 12 ms\), echo 2 \(TE 80\.5 ms\); choose one at"
    ):
        read_volume(tmp_path / "pd")
    for choice, wanted in (("echo=12", 0), ("echo=80.5", 1), ("echo=80.3ms", 1), ("echo=2", 1), ("ECHO=1", 0)):
        volume = read_volume(f"{tmp_path / 'pd'}#{choice}", dtype=None)
        np.testing.assert_array_equal(volume.data, data[..., wanted])
    assert read_header(mended(tmp_path / "pd")).shape == SHAPE
    assert read_header(mended(f"{tmp_path / 'pd'}#echo=40")).shape == SHAPE
    with pytest.raises(FileError, match=r"holds no echo '40', but echo 1 \(TE 12 ms\), echo 2"):
        read_header(f"{tmp_path / 'pd'}#echo=40")


def test_a_part_and_an_echo_are_chosen_together(tmp_path):
    data = voxels(4)
    write_echoes(tmp_path / "map", data)
    with pytest.raises(FileError, match="holds 2 kinds of images of each slice: (magnitude|phase), (magnitude|phase);"):
        read_header(tmp_path / "map")
    assert read_header(mended(mended(tmp_path / "map"))).shape == SHAPE
    for choice, wanted in (("part=magnitude&echo=80.5", 1), ("echo=1&part=phase", 2), ("part=P&echo=2", 3)):
        np.testing.assert_array_equal(read_volume(f"{tmp_path / 'map'}#{choice}", dtype=None).data, data[..., wanted])


def test_series_are_listed_and_chosen_by_number_description_or_identifier(tmp_path):
    data = voxels(2)
    for number, text in ((301, "T1 sag"), (402, "T2 ax")):
        folder = tmp_path / "study" / text
        write_classic(
            folder,
            data[..., number // 400],
            SeriesNumber=number,
            SeriesDescription=text,
            SeriesInstanceUID=f"1.2.{number}",
        )
    with pytest.raises(
        FileError,
        match=r"holds 2 DICOM series: 301 'T1 sag' \(MR, 6 slices\), 402 'T2 ax' \(MR, 6 slices\); choose one",
    ):
        read_volume(tmp_path / "study")
    assert mended(tmp_path / "study") == f"{tmp_path / 'study'}#series=301"
    for name, wanted in (("301", 0), ("t2 ax", 1), ("1.2.402", 1)):
        volume = read_volume(f"{tmp_path / 'study'}#series={name}", dtype=None)
        np.testing.assert_array_equal(volume.data, data[..., wanted])
        assert volume.header is not None and volume.header.remarks == ()
    with pytest.raises(FileError, match=r"holds no series '5', but 301 'T1 sag' .*; choose one of them, such as"):
        read_header(f"{tmp_path / 'study'}#series=5")
    slice_of = next((tmp_path / "study" / "T2 ax").iterdir())
    with pytest.raises(FileError, match="is one slice of a DICOM series; give the folder of the series: .*T2 ax$"):
        read_header(slice_of)


def test_patients_are_not_mixed(tmp_path):
    for patient in ("anna", "berta"):
        uid = f"1.2.{len(patient)}"
        write_classic(tmp_path / patient, voxels(), PatientID=patient, SeriesInstanceUID=uid)
    with pytest.raises(
        FileError, match=r"holds series of 2 patients \(anna, berta\): 1 'T1'.*; give the folder of one"
    ):
        read_header(tmp_path)
    assert read_header(mended(tmp_path)).shape == SHAPE


def test_a_choice_works_in_an_archive(tmp_path):
    data = voxels(2)
    write_echoes(tmp_path / "pd", data)
    archive = shutil.make_archive(str(tmp_path / "pd"), "zip", tmp_path, "pd")
    np.testing.assert_array_equal(read_volume(f"{archive}#echo=12", dtype=None).data, data[..., 0])


@for_all("choice", ["eco=1", "echo=", "echo=1&echo=2", "echo=1&slice=3"])
def test_a_choice_that_is_none_is_told(choice, tmp_path):
    with pytest.raises(
        FileError, match=r"invalid selection '.*': expected each of series, part, echo, frame at most once"
    ):
        read_header(f"{tmp_path}#{choice}")
    (tmp_path / "a.nii").write_text("text")
    with pytest.raises(
        FileError, match="is not a DICOM file, so nothing can be chosen in it; leave out the part from #"
    ):
        read_header(tmp_path / "a.nii#echo=1")
    with pytest.raises(FileError, match="nowhere#echo=1: does not exist"):
        read_header(tmp_path / "nowhere#echo=1")


def test_a_name_that_exists_is_no_choice(tmp_path):
    odd = tmp_path / "T1#echo=2"
    odd.mkdir()
    assert split_selection(odd) == (odd, {})
    assert without_selection(tmp_path / "b#echo=2") == tmp_path / "b"
    assert without_selection(tmp_path / "run #2") == tmp_path / "run #2"


def test_a_case_is_named_after_its_choice_in_letters_of_file_names(tmp_path):
    write_echoes(tmp_path / "pd", voxels(2))
    (case,) = cases_of(f"{tmp_path / 'pd'}#echo=80.5")
    assert case.name == "pd_echo-80-5"
    assert selection_suffix("a/b#series=T2 ax/fs&echo=3") == "_series-T2-ax-fs-echo-3"
    (case,) = cases_of(tmp_path)  # a folder of folders
    assert case.images == (tmp_path,)


def test_a_choice_of_what_is_not_named_is_told(tmp_path):
    write_classic(tmp_path / "a", voxels())
    with pytest.raises(FileError, match="holds no part 'phase', nothing that names the part; leave part= out"):
        read_header(f"{tmp_path / 'a'}#part=phase")


def test_parts_that_only_a_private_element_tells_are_told_apart(tmp_path):
    data = voxels(2)
    for number, file in enumerate(write_classic(tmp_path, data)):
        made = pydicom.dcmread(file)
        made.add_new(0x00430010, "LO", "GEMS_PARM_01")
        made.add_new(0x0043102F, "SS", number // SHAPE[2])
        made.save_as(file)
    with pytest.raises(FileError, match="holds 2 kinds of images of each slice: magnitude, phase; choose one at"):
        read_header(tmp_path)
    np.testing.assert_array_equal(read_volume(f"{tmp_path}#part=phase", dtype=None).data, data[..., 1])
