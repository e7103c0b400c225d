"""Damaged DICOM: refused in one line that names the file, or read with the geometry unchanged; never a traceback."""

from __future__ import annotations

import random
import shutil
import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from dicom_exports import SHAPE, grid_affine, voxels, write_classic, write_enhanced
from laws import for_all
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ankleseg.errors import AnklesegError, FileError
from ankleseg.volumes import read_header, read_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

DAMAGES = {
    "cut": lambda content, place, some: content[:place],
    "bit": lambda content, place, some: content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :],
    "noise": lambda content, place, some: content[:place] + some.randbytes(40) + content[place + 40 :],
    "zeros": lambda content, place, some: content[:place] + bytes(60) + content[place + 60 :],
    "lost": lambda content, place, some: content[:place] + content[place + 30 :],
}


@for_all("damage", DAMAGES)
def test_a_damaged_slice_is_told_or_leaves_the_geometry_as_it_is(damage, tmp_path):
    some = random.Random(damage)
    names = [file.name for file in write_classic(tmp_path / "good", voxels())]
    refused = 0
    for trial in range(8):
        folder = tmp_path / f"{trial}"
        shutil.copytree(tmp_path / "good", folder)
        file = folder / some.choice(names)
        content = file.read_bytes()
        file.write_bytes(DAMAGES[damage](content, some.randrange(len(content)), some))
        try:
            volume = read_volume(folder)
        except AnklesegError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
            refused += 1
            continue
        assert volume.data.shape == SHAPE
        np.testing.assert_allclose(volume.affine, grid_affine(), atol=0.05)
    assert refused


@for_all("damage", DAMAGES)
def test_a_damaged_enhanced_file_costs_one_line(damage, tmp_path):
    some = random.Random(damage)
    refused = 0
    content = write_enhanced(tmp_path / "good", voxels(2)).read_bytes()
    for trial in range(8):
        file = tmp_path / f"{trial}"
        file.write_bytes(DAMAGES[damage](content, some.randrange(len(content)), some))
        try:
            header = read_header(file)
            read_volume(file, dimensions=len(header.shape))
        except AnklesegError as error:
            assert "\n" not in str(error) and str(file) in str(error)
            refused += 1
    assert refused


def test_a_damaged_file_beside_the_slices_is_not_passed_over(tmp_path):
    files = write_classic(tmp_path / "series", voxels())
    last = files[-1]  # at the end of the stack, where no gap would show it
    content = last.read_bytes()
    for broken, message in (
        (b"", "is empty"),
        (bytes(600), "is not a DICOM file, whatever its name says; copy the file again, or take it out"),
        (content[:100], "is not a DICOM file"),
        (content[:300], "is truncated or damaged"),
        (content[:-1], "is truncated: it holds 69 bytes of 70 bytes of pixels"),
    ):
        last.write_bytes(broken)
        with pytest.raises(FileError, match=rf"series/{last.name}: {message}"):
            read_header(tmp_path / "series")
    last.unlink()
    last.symlink_to("nowhere")
    with pytest.raises(
        FileError, match=rf"{last.name}: is a link to nowhere, which does not exist; copy the file itself"
    ):
        read_header(tmp_path / "series")
    last.unlink()
    for file in files:
        file.unlink(missing_ok=True)
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n")
        with pytest.raises(FileError, match=r"IM\d{4}: was not downloaded: .*; run git lfs pull"):
            read_header(tmp_path / "series")


def test_a_slice_whose_series_was_damaged_is_not_passed_over(tmp_path):
    files = write_classic(tmp_path, voxels())
    made = pydicom.dcmread(files[-1])
    made.SeriesInstanceUID = "1.2.7.1"
    made.save_as(files[-1])
    with pytest.raises(FileError, match=rf"holds {files[-1].name}, a slice in line with the others that names another"):
        read_header(tmp_path)
    made.SeriesInstanceUID = "1.2.3.1"
    del made.ImagePositionPatient
    made.save_as(files[-1])
    with pytest.raises(FileError, match=rf"{files[-1].name}: is a picture without position, and should be a slice"):
        read_header(tmp_path)


def test_a_length_that_no_file_has_reserves_no_memory(tmp_path):
    files = write_classic(tmp_path, voxels())
    content = files[0].read_bytes()
    place = content.index(b"\x08\x00\x60\x00CS")  # modality: a text of 4 GB
    files[0].write_bytes(
        content[:place] + b"\x08\x00\x60\x00UT\0\0" + struct.pack("<L", 0xFFFFFFF0) + content[place + 8 :]
    )
    tracemalloc.start()
    with pytest.raises(FileError, match=rf"{files[0].name}: is truncated or damaged"):
        read_header(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_file_that_unpacks_to_any_size_is_refused(tmp_path):
    files = write_classic(tmp_path, voxels())
    made = pydicom.dcmread(files[0])
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.save_as(files[0])
    with pytest.raises(FileError, match=r"is compressed as a whole \(deflated\); export it without compression"):
        read_header(tmp_path)


def test_rows_that_are_too_few_in_every_slice_are_remarked(tmp_path):
    for file in write_classic(tmp_path, voxels()):
        made = pydicom.dcmread(file)
        made.Rows -= 2
        made.save_as(file)
    header = read_header(tmp_path)
    assert header.shape == (SHAPE[0], SHAPE[1] - 2, SHAPE[2])
    (remark,) = (remark for remark in header.remarks if "more than their rows and columns declare" in remark.problem)
    assert remark.suspect
