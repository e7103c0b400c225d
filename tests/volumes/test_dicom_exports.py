"""What lies about in a scanner's export, and how its pixels are stored."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_exports import SHAPE, classic_slice, dataset, grid_affine, save, voxels, with_pixels, write_classic
from laws import for_all
from pydicom.uid import (
    ExplicitVRBigEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RawDataStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from ankleseg.errors import FileError
from ankleseg.volumes import read_header, read_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load


def reads(path, data) -> tuple[str, ...]:
    """Read a scan, compare it with its truth, and return what is remarked."""
    volume = read_volume(path, dtype=None)
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, grid_affine(), atol=1e-5)
    assert volume.header is not None
    return tuple(remark.problem for remark in volume.header.remarks)


def write_companions(folder) -> None:
    others = {"SeriesInstanceUID": "1.2.9", "SeriesDescription": None, "SeriesNumber": None}
    save(dataset(GrayscaleSoftcopyPresentationStateStorage, "1.9.1", **others), folder / "PS_1")
    save(dataset(RawDataStorage, "1.9.2", **others), folder / "XX_2")
    picture = dataset(SecondaryCaptureImageStorage, "1.9.3", **others)
    save(with_pixels(picture, np.zeros((4, 4), np.uint8)), folder / "SC_3")
    for name in (".DS_Store", "._IM0001", "Thumbs.db", "LIESMICH.TXT"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07 nothing")


@for_all("packed", [False, True])
def test_a_nested_export_is_read_and_what_is_no_slice_is_counted(packed, tmp_path):
    data = voxels()
    folder = tmp_path / "cd"
    write_classic(folder / "PAT" / "STU" / "SER", data, name="IM{:06d}")
    write_classic(folder / "PAT" / "STU" / "SURVEY", data[..., :3], SeriesInstanceUID="1.8", SeriesDescription="survey")
    write_companions(folder / "PAT" / "STU" / "SER")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(64))
    path = shutil.make_archive(str(folder), "zip", folder) if packed else folder
    scout, passed = reads(path, data)
    assert scout.endswith("passed over: 1 'survey' (MR, 3 slices)")
    said, _, kinds = passed.partition(": ")
    assert said == "7 of its 16 files hold no slices and are passed over"
    assert sorted(kinds.split(", ")) == [
        "1 picture without position", "1 presentation state", "1 raw data or registration", "4 × other file"
    ]  # fmt: skip


def test_an_export_without_slices_says_what_it_holds(tmp_path):
    write_companions(tmp_path)
    with pytest.raises(FileError, match="holds no DICOM slices, but 1 presentation state, 1 picture without"):
        read_header(tmp_path)


@for_all("syntax", [ImplicitVRLittleEndian, None])
def test_files_without_preamble_are_read(syntax, tmp_path):
    data = voxels()
    for file in write_classic(tmp_path, data, name="I{}"):
        made = pydicom.dcmread(file)
        implicit = syntax is not None
        del made.file_meta
        pydicom.dcmwrite(file, pydicom.Dataset(made), implicit_vr=implicit, little_endian=True)
        assert file.read_bytes()[:2] == b"\x08\0"
    assert reads(tmp_path, data) == ()


@for_all("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_transfer_syntaxes_are_read(syntax, tmp_path):
    data = voxels() - 2000
    for file in write_classic(tmp_path, data):
        made = pydicom.dcmread(file)
        if syntax == RLELossless:
            made.compress(RLELossless, generate_instance_uid=False)
        elif syntax == ExplicitVRBigEndian:
            made["PixelData"].VR = "OW"
            made.PixelData = made.pixel_array.astype(">i2").tobytes()
        made.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            file, made, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )  # fmt: skip
    assert reads(tmp_path, data) == ()


@for_all(("kind", "syntax"), [("JPEG2000", JPEG2000Lossless), ("JPEG", JPEGLosslessSV1)])
def test_lossless_pictures_are_read_or_refused_by_name(kind, syntax, tmp_path):
    import itk

    data = np.random.default_rng(0).normal(1000, 30, (48, 40, 4)).astype(np.int16)
    files = write_classic(tmp_path, data, RescaleSlope=2, RescaleIntercept=-5)
    for file in files:
        made = pydicom.dcmread(file)
        coder = itk.GDCMImageIO.New()
        coder.SetCompressor(kind)
        image = itk.image_from_array(made.pixel_array[None])
        itk.imwrite(image, str(tmp_path / "coded.dcm"), compression=True, imageio=coder)
        coded = pydicom.dcmread(tmp_path / "coded.dcm")
        made.file_meta.TransferSyntaxUID = coded.file_meta.TransferSyntaxUID
        made.PixelData = coded.PixelData
        made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
        made.save_as(file)
        assert made.file_meta.TransferSyntaxUID == syntax
    (tmp_path / "coded.dcm").unlink()
    assert reads(tmp_path, 2 * data - 5) == ()
    content = bytearray(files[1].read_bytes())
    middle = len(content) - 900
    content[middle : middle + 200] = bytes(200)
    files[1].write_bytes(content)
    if kind == "JPEG":  # a code whose damage cannot be hidden
        with pytest.raises(FileError, match=rf"{files[1].name}: has compressed pixels that cannot be decoded"):
            read_volume(tmp_path)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    made.save_as(files[0])
    with pytest.raises(FileError, match=rf"{files[0].name}: is compressed in a way that is not read \(MPEG2.*; export"):
        read_header(tmp_path)


def test_each_slice_has_its_own_slope(tmp_path):
    data = voxels()
    write_classic(tmp_path, data, elements=lambda z, t: {"RescaleSlope": 1 + z / 4, "RescaleIntercept": -z})
    reads(tmp_path, data * (1 + np.arange(SHAPE[2]) / 4) - np.arange(SHAPE[2]))
    assert read_header(tmp_path).dtype == np.float32
    write_classic(tmp_path / "ct", data, RescaleSlope=1, RescaleIntercept=-1024)
    assert read_header(tmp_path / "ct").dtype == np.int32
    reads(tmp_path / "ct", data.astype(np.int32) - 1024)


def test_slices_of_several_bit_depths_are_one_scan(tmp_path):
    data = np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)
    for index in range(SHAPE[2]):
        kind = (np.uint8, np.int16, np.uint16)[index % 3]
        save(classic_slice(data[:, :, index].astype(kind), index, index), tmp_path / f"{index}")
    assert reads(tmp_path, data) == ()


def test_bits_beyond_those_that_count_are_left_out(tmp_path):
    data = np.random.default_rng(0).integers(-2000, 2000, SHAPE).astype(np.int16)
    for index in range(SHAPE[2]):
        made = classic_slice((data[:, :, index] & 0xFFF | 0x3000).astype(np.int16), index, index)
        made.BitsStored, made.HighBit = 12, 11
        save(made, tmp_path / f"{index}")
    assert reads(tmp_path, data) == ()


def test_a_mosaic_is_named(tmp_path):
    write_classic(tmp_path, voxels(), ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    with pytest.raises(FileError, match=r"is a Siemens mosaic: .*; convert it: dcm2niix -z y -o \. "):
        read_header(tmp_path)


def test_colours_and_impossible_grids_are_refused(tmp_path):
    first = write_classic(tmp_path, voxels())[0]
    sound = first.read_bytes()
    for elements, message in (
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "holds an invalid orientation: expected perpendicular axes"),
        ({"PixelSpacing": [0, 1]}, "declares pixels of 1 × 0 mm"),
        ({"ImagePositionPatient": [0, 0]}, "holds 2 numbers as its position"),
        ({"BitsAllocated": 12}, "declares 16 bits in 12 a pixel"),
        ({"Rows": 60000, "Columns": 60000}, r"is truncated: it holds 70 bytes of 7\.2 GB of pixels"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "mixes slices of different orientation"),
        ({"PixelSpacing": [3, 3]}, "mixes slices of different pixel spacing"),
    ):
        made = pydicom.dcmread(first)
        for name, value in elements.items():
            setattr(made, name, value)
        made.save_as(first)
        with pytest.raises(FileError, match=message):
            read_header(tmp_path)
        first.write_bytes(sound)
    write_classic(tmp_path / "colours", voxels(), PhotometricInterpretation="RGB")
    for file in (tmp_path / "colours").iterdir():
        made = pydicom.dcmread(file)
        made.PhotometricInterpretation, made.SamplesPerPixel, made.PlanarConfiguration = "RGB", 3, 0
        made.PixelData = made.PixelData * 3
        made.save_as(file)
    with pytest.raises(FileError, match=r"stores 3 numbers a voxel \(colours or vectors\); give a scan with one"):
        read_header(tmp_path / "colours")


def test_an_index_names_its_folder(tmp_path):
    write_classic(tmp_path, voxels())
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(64))
    with pytest.raises(FileError, match=rf"DICOMDIR: is the index of a DICOM export.*; give its folder: {tmp_path}$"):
        read_header(tmp_path / "DICOMDIR")


def test_another_series_that_cannot_be_read_is_passed_over(tmp_path):
    data = voxels()
    write_classic(tmp_path, data)
    for file in write_classic(tmp_path, data, name="X{}", SeriesInstanceUID="1.2.7"):
        made = pydicom.dcmread(file)
        made.BitsAllocated = 64
        made.save_as(file)
    assert reads(tmp_path, data) == ("6 of its 12 files hold no slices and are passed over: 6 × unreadable file",)
    with pytest.raises(FileError, match=r"holds no series '1\.2\.7', but 1 'T1' \(MR, 6 slices\)"):
        read_header(f"{tmp_path}#series=1.2.7")
