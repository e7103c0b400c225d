"""NRRD and MetaImage files: the same world as NIfTI, and the same distrust."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import GRIDS, counting

from ankleseg.errors import FileError
from ankleseg.volumes import read_header, read_volume, write_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
KINDS = ("a.nrrd", "a.mha")


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray, compressed: bool = True) -> Path:
    """Write (X, Y, Z) voxels through ITK, whose world is LPS."""
    import itk

    image = itk.image_from_array(np.ascontiguousarray(data.T))
    size = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(size.tolist())
    image.SetDirection(itk.matrix_from_array(LPS_FROM_RAS @ affine[:3, :3] / size))
    image.SetOrigin((LPS_FROM_RAS @ affine[:3, 3]).tolist())
    itk.imwrite(image, str(path), compression=compressed)
    return path


@for_all("name", KINDS)
@for_all("grid", ["RAS", "LPS", "PSR", "LIA", "oblique PSR", "oblique LAS, left-handed"])
def test_voxels_and_affine_are_those_that_were_written(name, grid, tmp_path):
    path = write_itk(tmp_path / name, counting(), GRIDS[grid])
    volume = read_volume(path, dtype=None)
    np.testing.assert_array_equal(volume.data, counting())
    np.testing.assert_allclose(volume.affine, GRIDS[grid], atol=1e-9)
    assert (volume.header.format, volume.header.dtype) == (path.suffix[1:], np.int16)


def test_an_nrrd_file_may_name_another_world(tmp_path):
    path = write_itk(tmp_path / "a.nrrd", counting(), GRIDS["PSR"], compressed=False)
    content = path.read_bytes()
    assert b"left-posterior-superior" in content
    path.write_bytes(content.replace(b"left-posterior-superior", b"right-anterior-superior"))
    turned = np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRIDS["PSR"]
    np.testing.assert_allclose(read_volume(path).affine, turned, atol=1e-9)


@for_all("name", KINDS)
def test_a_result_for_such_an_input_is_nifti_in_its_place(name, tmp_path):
    scan = read_volume(write_itk(tmp_path / name, counting(), GRIDS["oblique PSR"]))
    written = nib.load(write_volume(tmp_path / "mask.nii.gz", scan.data > 50, scan.affine, like=scan.header))
    np.testing.assert_allclose(written.affine, GRIDS["oblique PSR"], atol=1e-5)
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 1)


def test_a_sequence_is_read_with_time_last(tmp_path):
    import itk

    data = counting((5, 6, 4, 3))
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(data.T)), str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha", dimensions=4).data, data)
    with pytest.raises(FileError, match=r"a\.mha: has 4 dimensions \(5×6×4×3\), 3 are needed; split it"):
        read_volume(tmp_path / "a.mha")


@for_all("name", KINDS)
@for_all("compressed", [True, False])
def test_a_truncated_file_is_refused(name, compressed, tmp_path):
    noise = np.random.default_rng(0).integers(0, 9999, (20, 20, 20)).astype(np.int16)
    path = write_itk(tmp_path / name, noise, np.eye(4), compressed)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(FileError, match=f"{name}: is truncated.*; copy the file again"):
        read_volume(path)


def test_a_truncated_stream_of_the_declared_length_is_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 9999, (20, 20, 20)).astype(np.int16)
    path = write_itk(tmp_path / "a.mha", noise, np.eye(4))
    before, length, after = re.split(rb"(?<=CompressedDataSize = )(\d+)", path.read_bytes())
    path.write_bytes(before + str(int(length) - 500).encode() + after[:-500])
    with pytest.raises(FileError, match=r"a\.mha: is truncated: its compressed data end early; copy the file again"):
        read_volume(path)


@for_all("name", KINDS)
def test_a_broken_checksum_is_refused(name, tmp_path):
    noise = np.random.default_rng(0).integers(0, 9999, (20, 20, 20)).astype(np.int16)
    path = write_itk(tmp_path / name, noise, np.eye(4))
    content = bytearray(path.read_bytes())
    content[-6 if name.endswith("nrrd") else -2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(FileError, match=f"{name}: is (truncated or )?damaged"):
        read_volume(path)


@for_all("name", KINDS)
def test_a_text_file_is_refused(name, tmp_path):
    (tmp_path / name).write_text("hello\n")
    with pytest.raises(FileError, match=f"{name}: is a text file, whatever its name says"):
        read_header(tmp_path / name)


@for_all("name", KINDS)
def test_voxels_in_another_file_are_refused(name, tmp_path):
    path = write_itk(tmp_path / name, counting(), np.eye(4), compressed=False)
    content = path.read_bytes().replace(b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd")
    path.write_bytes(content.replace(b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"))
    with pytest.raises(FileError, match=f"{name}: keeps its voxels in another folder .*/etc/passwd"):
        read_volume(path)


@for_all("name", KINDS)
def test_a_declared_terabyte_is_refused(name, tmp_path):
    path = write_itk(tmp_path / name, counting(), np.eye(4), compressed=False)
    content = path.read_bytes().replace(b"DimSize = 5 6 4", b"DimSize = 20000 20000 20000")
    path.write_bytes(content.replace(b"sizes: 5 6 4", b"sizes: 20000 20000 20000"))
    said = "is truncated or its header is wrong: it declares 16.0 TB of voxels, and a file of .* cannot hold them"
    with pytest.raises(FileError, match=f"{name}: {said}"):
        read_volume(path)


def test_colours_are_refused(tmp_path):
    import itk

    colours = itk.image_from_array(np.zeros((4, 5, 6, 3), np.uint8), is_vector=True)
    itk.imwrite(colours, str(tmp_path / "a.mha"))
    with pytest.raises(FileError, match=r"a\.mha: stores 3 numbers a voxel"):
        read_header(tmp_path / "a.mha")


def test_nan_is_refused(tmp_path):
    data = np.zeros((4, 4, 4), np.float32)
    data[0, 0, :2] = np.nan
    with pytest.raises(FileError, match=r"a\.mha: holds 2 NaN or infinite voxels"):
        read_volume(write_itk(tmp_path / "a.mha", data, np.eye(4)))
