"""Enhanced files: many frames in one, each with its own place and time."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from dicom_exports import SHAPE, grid_affine, voxels, write_enhanced
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.volumes import read_header, read_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load


@for_all("shared", [True, False])
@for_all("times", [1, 3])
@for_all("name", ["IM_0001.dcm", "IM_0001"])
def test_one_file_is_a_scan_or_a_sequence(times, shared, name, tmp_path):
    data = voxels(times)
    write_enhanced(tmp_path / name, data, shared=shared)
    for path in (tmp_path, tmp_path / name):
        volume = read_volume(path, dtype=None, dimensions=data.ndim)
        np.testing.assert_array_equal(volume.data, data)
        np.testing.assert_allclose(volume.affine, grid_affine(), atol=1e-5)
        assert volume.header is not None and volume.header.thickness_mm == 1.75


@for_all("told", [(1, 2, 3), (1, 1, 1)])
def test_files_of_one_time_each_are_a_sequence(told, tmp_path):
    data = voxels(3)
    for time in range(3):
        write_enhanced(tmp_path / f"{9 - time}", data[..., time], seed=time, times=[told[time]])
    np.testing.assert_array_equal(read_volume(tmp_path, dtype=None, dimensions=4).data, data)
    np.testing.assert_array_equal(read_volume(tmp_path / "8", dtype=None).data, data[..., 1])


def test_times_are_told_by_a_dimension_where_no_index_says_them(tmp_path):
    data = voxels(3)
    file = write_enhanced(tmp_path / "a", data)
    made = pydicom.dcmread(file)
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence[0].TemporalPositionIndex
    made.save_as(file)
    np.testing.assert_array_equal(read_volume(file, dtype=None, dimensions=4).data, data)


def test_the_scale_of_each_frame_is_applied(tmp_path):
    data = voxels(2)
    write_enhanced(tmp_path / "a", data, scales=[(1, 0), (0.5, -3)])
    volume = read_volume(tmp_path / "a", dtype=None, dimensions=4)
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data * [1, 0.5] + [0, -3])


def test_frames_that_are_not_described_are_refused(tmp_path):
    file = write_enhanced(tmp_path / "a.dcm", voxels())
    made = pydicom.dcmread(file)
    del made.PerFrameFunctionalGroupsSequence[3]
    made.save_as(file)
    with pytest.raises(FileError, match=r"a\.dcm: declares 6 frames and describes 5; copy the file again"):
        read_header(file)
    del made.PerFrameFunctionalGroupsSequence
    made.ImagePositionPatient = [0, 0, 0]
    made.save_as(file)
    with pytest.raises(FileError, match="holds 6 frames in one file and not the position of each"):
        read_header(file)


def test_a_header_is_read_without_reading_the_pixels(tmp_path, monkeypatch):
    write_enhanced(tmp_path / "a", voxels(3))
    monkeypatch.setattr("ankleseg.volumes.dicom.read_frames", None)
    assert read_header(tmp_path / "a").shape == (*SHAPE, 3)
