"""DICOM series: sorted by position in the world, and refused when they are not one volume."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of, rotation

from ankleseg.errors import FileError
from ankleseg.volumes import axis_codes, read_header, read_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

SPACING = (0.5, 0.75)
DISTANCE = 2.0
AXES = rotation(12, -7, 20)  # columns: along a row, along a column, along the slices; LPS


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
    long = kind in (b"OB", b"OW")
    length = b"\0\0" + struct.pack("<I", len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def numbers(values) -> bytes:
    return "\\".join(f"{value:.10g}" for value in np.ravel(values)).encode()


def dicom_slice(
    pixels: np.ndarray, origin: np.ndarray, *, series: str = "1", description: str = "T1", number=1
) -> bytes:
    """Bytes of a DICOM MR slice; pixels (rows, columns) int16, origin in LPS mm."""
    storage, transfer = b"1.2.840.10008.5.1.4.1.1.4", b"1.2.840.10008.1.2.1"
    uid = f"1.2.3.{series}.{number}".encode()
    meta = element(2, 1, b"OB", b"\0\1") + element(2, 2, b"UI", storage) + element(2, 3, b"UI", uid)
    meta += element(2, 0x10, b"UI", transfer)
    content = [
        element(8, 0x16, b"UI", storage), element(8, 0x18, b"UI", uid), element(8, 0x60, b"CS", b"MR"),
        element(8, 0x103E, b"LO", description.encode()), element(0x20, 0xD, b"UI", b"1.2.3"),
        element(0x20, 0xE, b"UI", f"1.2.3.{series}".encode()), element(0x20, 0x13, b"IS", str(number).encode()),
        element(0x20, 0x32, b"DS", numbers(origin)), element(0x20, 0x37, b"DS", numbers(AXES[:, :2].T)),
        element(0x28, 2, b"US", struct.pack("<H", 1)), element(0x28, 4, b"CS", b"MONOCHROME2"),
        element(0x28, 0x10, b"US", struct.pack("<H", pixels.shape[0])),
        element(0x28, 0x11, b"US", struct.pack("<H", pixels.shape[1])),
        element(0x28, 0x30, b"DS", numbers(SPACING[::-1])),
        *(element(0x28, tag, b"US", struct.pack("<H", value)) for tag, value in
          ((0x100, 16), (0x101, 16), (0x102, 15), (0x103, 1))),
        element(0x7FE0, 0x10, b"OW", pixels.astype("<i2").tobytes()),
    ]  # fmt: skip
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + b"".join(content)


def write_series(folder: Path, slices: int = 6, prefix: str = "", **options) -> tuple[np.ndarray, np.ndarray]:
    """Write a series whose file names run against its positions; return its voxels and its RAS+ affine."""
    folder.mkdir(exist_ok=True)
    data = np.random.default_rng(0).integers(-50, 1000, (7, 5, slices)).astype(np.int16)
    first = np.array([11.0, -20.0, 33.0])
    for index in range(slices):
        origin = first + index * DISTANCE * AXES[:, 2]
        content = dicom_slice(data[:, :, index].T, origin, number=index + 1, **options)
        (folder / f"{prefix}{slices - index:03d}.dcm").write_bytes(content)
    affine = np.eye(4)
    affine[:3, :3] = AXES * [*SPACING, DISTANCE]
    affine[:3, 3] = first
    return data, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"exported/{file.name}")
    return path


@for_all("packed", [False, True])
def test_slices_are_sorted_by_position_and_lie_where_the_scanner_put_them(packed, tmp_path):
    data, affine = write_series(tmp_path / "series")
    (tmp_path / "series" / "README.txt").write_text("not a slice")
    path = zipped(tmp_path / "series") if packed else tmp_path / "series"
    volume = read_volume(path, dtype=None)
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    assert volume.header.format == "dicom"
    assert volume.path == path
    header = read_header(path)
    assert (header.shape, header.dtype) == ((7, 5, 6), np.int16)


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path):
    write_series(tmp_path / "series")
    (tmp_path / "series" / "003.dcm").unlink()
    with pytest.raises(
        FileError, match=r"lacks slices: 1 missing, the first between 004.dcm and 002.dcm, 4.00 mm apart"
    ):
        read_volume(tmp_path / "series")


def test_two_slices_at_one_position_are_refused(tmp_path):
    write_series(tmp_path / "series")
    shutil.copy(tmp_path / "series" / "003.dcm", tmp_path / "series" / "again.dcm")
    with pytest.raises(
        FileError, match=r"holds the slice 003\.dcm a second time as again\.dcm; take one of the two out"
    ):
        read_volume(tmp_path / "series")


def test_a_slice_that_was_taken_again_is_no_second_frame(tmp_path):
    write_series(tmp_path / "series")
    again = dicom_slice(np.zeros((5, 7), np.int16), np.array([11.0, -20.0, 33.0]), number=7)
    (tmp_path / "series" / "again.dcm").write_bytes(again)
    with pytest.raises(
        FileError, match=r"holds several slices at one position \(006\.dcm and again\.dcm\), and no time"
    ):
        read_volume(tmp_path / "series")


def test_two_volumes_in_a_folder_are_named_and_refused(tmp_path):
    write_series(tmp_path / "series", prefix="a", series="1", description="T1 sag")
    write_series(tmp_path / "series", prefix="b", series="2", description="T2 ax", slices=5)
    with pytest.raises(
        FileError,
        match=r"holds 2 DICOM series: 'T1 sag' \(MR, 6 slices\), 'T2 ax' \(MR, 5 slices\); choose one at the end "
        r"of the path, such as .*series#series=1\.2\.3\.1$",
    ):
        read_volume(tmp_path / "series")


def test_scouts_beside_the_volume_are_passed_over(tmp_path):
    data, _ = write_series(tmp_path / "series", prefix="a")
    write_series(tmp_path / "series", prefix="b", series="9", description="scout", slices=3)
    np.testing.assert_array_equal(read_volume(tmp_path / "series").data, data)


def test_slices_of_different_size_are_refused(tmp_path):
    write_series(tmp_path / "series")
    larger = dicom_slice(np.zeros((9, 9), np.int16), np.array([11.0, -20.0, 33.0]) - DISTANCE * AXES[:, 2])
    (tmp_path / "series" / "larger.dcm").write_bytes(larger)
    with pytest.raises(FileError, match=r"mixes slices of \(9, 9\) and \(7, 5\) pixels"):
        read_volume(tmp_path / "series")


def test_one_slice_is_no_volume(tmp_path):
    write_series(tmp_path / "series", slices=1)
    with pytest.raises(FileError, match="holds one slice only; give the whole series"):
        read_volume(tmp_path / "series")
    with pytest.raises(
        FileError, match=r"001\.dcm: is one slice of a DICOM series; give the folder that holds its whole series"
    ):
        read_volume(tmp_path / "series" / "001.dcm")


def test_a_folder_without_slices_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(FileError, match="holds no DICOM slices; give the folder that holds the slices themselves"):
        read_volume(tmp_path)


@for_all("kept", [200, 600, -20])
def test_a_truncated_slice_is_refused(kept, tmp_path):
    write_series(tmp_path / "series")
    broken = tmp_path / "series" / "002.dcm"
    broken.write_bytes(broken.read_bytes()[:kept])
    with pytest.raises(FileError, match=r"002\.dcm: is "):
        read_volume(tmp_path / "series")


def test_a_real_series_reads_as_itk_reads_it(shared_data, tmp_path):
    import itk

    archive = shared_data / "dicom" / "t1_head_32slices.zip"
    volume = read_volume(archive, dtype=None)
    assert volume.data.shape == (274, 384, 32)
    assert axis_codes(volume.affine) == "LPS"
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path)
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(tmp_path))
    image = itk.imread(list(names.GetFileNames(names.GetSeriesUIDs()[0])))
    np.testing.assert_array_equal(volume.data, itk.array_from_image(image).T)
    matrix = np.asarray(itk.array_from_matrix(image.GetDirection())) * np.asarray(image.GetSpacing())
    corner = np.array(volume.data.shape) - 1
    ours = volume.affine[:3, :3] @ corner + volume.affine[:3, 3]
    theirs = np.diag([-1, -1, 1]) @ (matrix @ corner + np.asarray(image.GetOrigin()))
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_the_rotation_of_these_tests_is_one():
    np.testing.assert_allclose(AXES @ AXES.T, np.eye(3), atol=1e-12)
    assert axis_codes(affine_of("LPS", oblique=True)) == "LPS"
