"""Dynamic series of single slices: sorted by what tells their times, whatever the files are called or numbered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_exports import SHAPE, classic_slice, grid_affine, position, save, voxels, write_classic
from laws import for_all

from ankleseg.errors import FileError
from ankleseg.motion.cleaning.sequences import read_sequence
from ankleseg.volumes import read_header, read_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

SLICES, TIMES = SHAPE[2], 4
NIGHT = ("20231231235958", "20240101000000")
INTERLEAVED = [0, 2, 4, 1, 3, 5]  # which slice is taken when


def taken(index: int, time: int) -> str:
    """When a slice is taken that a scanner takes one after the other, 0.2 s each."""
    seconds = 1.2 * time + 0.2 * INTERLEAVED[index]
    return f"1015{30 + seconds:09.6f}"


KINDS = {
    "temporal position": (lambda z, t: {"TemporalPositionIdentifier": t + 1, "TriggerTime": 120 * t}, 0.12),
    "temporal resolution": (lambda z, t: {"TemporalPositionIdentifier": t + 1, "TemporalResolution": 250}, 0.25),
    "trigger time": (lambda z, t: {"TriggerTime": 40 * t, "TemporalPositionIdentifier": 1}, 0.04),
    "trigger time of each slice": (lambda z, t: {"TriggerTime": 40 * t + z}, 0.04),
    "cine of two beats": (lambda z, t: {"TemporalPositionIdentifier": t // 2 + 1, "TriggerTime": 40 * (t % 2)}, 0.0),
    "acquisition time": (lambda z, t: {"AcquisitionDate": "20240101", "AcquisitionTime": f"1015{30 + 2 * t}.5"}, 2.0),
    "across midnight": (lambda z, t: {"AcquisitionDateTime": NIGHT[t // 2] + f".{t % 2}"}, 0.0),
    "acquisition number": (lambda z, t: {"AcquisitionNumber": t + 1, "AcquisitionTime": taken(z, t)}, 1.2),
    "acquisition time of each slice": (lambda z, t: {"AcquisitionTime": taken(z, t)}, 1.2),
    "content time": (lambda z, t: {"ContentTime": f"1015{30 + 2 * t}"}, 0.0),
    "number, time by time": (lambda z, t: {"InstanceNumber": t * SLICES + z + 1}, 0.0),
    "number, slice by slice": (lambda z, t: {"InstanceNumber": z * TIMES + t + 1}, 0.0),
}  # fmt: skip


@for_all("kind", KINDS)
def test_a_dynamic_series_is_sorted_by_what_tells_its_times(kind, tmp_path):
    elements, seconds = KINDS[kind]
    data = voxels(TIMES)
    write_classic(tmp_path / "dyn", data, elements=elements)
    header = read_header(tmp_path / "dyn")
    assert header.shape == (*SHAPE, TIMES)
    assert header.frame_time == pytest.approx(seconds, abs=1e-6)
    assert header.thickness_mm == 1.75
    np.testing.assert_allclose(header.affine, grid_affine(), atol=1e-5)
    np.testing.assert_array_equal(read_volume(tmp_path / "dyn", dtype=None, dimensions=4).data, data)
    said = any("how much time" in remark.problem for remark in header.remarks)
    assert said == (header.frame_time == 0)


def test_a_philips_begin_time_tells_the_time_between_frames(tmp_path):
    files = write_classic(tmp_path, voxels(TIMES), elements=lambda z, t: {"TemporalPositionIdentifier": t + 1})
    for file in files:
        made = pydicom.dcmread(file)
        made.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
        made.add_new(0x200510A0, "FL", 0.5 * made.TemporalPositionIdentifier)
        made.save_as(file)
    assert read_header(tmp_path).frame_time == pytest.approx(0.5)


def test_a_frame_that_lacks_slices_is_left_out_and_told(tmp_path):
    data = voxels(TIMES)
    files = write_classic(
        tmp_path, data, elements=lambda z, t: {"TemporalPositionIdentifier": t + 1, "TriggerTime": 9 * t}
    )
    for file in files[-2:]:
        file.unlink()
    header = read_header(tmp_path)
    assert (header.shape, header.frame_time) == ((*SHAPE, 3), pytest.approx(0.009))
    assert header.remarks[-1].problem == "1 of its 4 frames are incomplete and left out: frame 4 (4 of 6 slices)"
    np.testing.assert_array_equal(read_volume(tmp_path, dtype=None, dimensions=4).data, data[..., :3])
    files[SLICES].unlink()
    header = read_header(tmp_path)
    assert (header.shape, header.frame_time) == ((*SHAPE, 2), 0)
    assert "2 of its 4 frames are incomplete and left out: frame 2 (5 of 6 slices), 4" in header.remarks[0].problem


def test_a_lost_slice_never_shifts_the_times_of_the_others(tmp_path):
    files = write_classic(tmp_path, voxels(TIMES), elements=lambda z, t: {"AcquisitionTime": taken(z, t)})
    files[SLICES + 1].unlink()  # of the second time: the third would slip into its place
    with pytest.raises(FileError, match=r"holds several slices at one position \(IM.*\), and no time or number says"):
        read_header(tmp_path)


def test_shuffled_numbers_alone_are_no_order(tmp_path):
    write_classic(tmp_path, voxels(TIMES))
    with pytest.raises(FileError, match="no time or number says soundly which belong together"):
        read_header(tmp_path)


def test_frames_of_several_b_values_are_no_motion(tmp_path):
    write_classic(tmp_path, voxels(2), elements=lambda z, t: {"AcquisitionNumber": t + 1, "FlipAngle": 5 + t})
    header = read_header(tmp_path)
    assert header.frame_time == 0
    assert header.remarks[-1].problem == "its frames differ by flip angle, so they are no motion"


def test_a_cine_of_one_slice_has_its_thickness(tmp_path):
    for time in range(3):
        made = classic_slice(voxels()[:, :, time], 0, time + 1, TriggerTime=40 * time)
        save(made, tmp_path / f"{time}")
    header = read_header(tmp_path)
    assert header.shape == (*SHAPE[:2], 1, 3)
    np.testing.assert_allclose(header.spacing, [0.5, 0.75, 1.75], atol=1e-6)


def test_the_sequence_of_a_folder_brings_its_thickness_and_time(tmp_path):
    write_classic(tmp_path, voxels(TIMES), elements=KINDS["temporal position"][0])
    sequence, findings = read_sequence("walk", tmp_path, None)
    assert sequence is not None and findings == []
    assert (sequence.thickness_mm, sequence.sidecar.seconds) == (1.75, pytest.approx(0.12))


def test_voxels_are_read_without_reading_the_headers_again(tmp_path, monkeypatch):
    write_classic(tmp_path, voxels(TIMES), elements=KINDS["temporal position"][0])
    header = read_header(tmp_path)
    monkeypatch.setattr("ankleseg.volumes.dicom.read_export", None)
    assert read_volume(tmp_path, dimensions=4).data.shape == header.shape


def test_slices_aside_of_each_other_are_refused(tmp_path):
    tilted = [np.round(np.add(position(z), [0.3 * z, 0, 0]), 6).tolist() for z in range(SLICES)]
    write_classic(tmp_path / "tilt", voxels(), elements=lambda z, t: {"ImagePositionPatient": tilted[z]})
    with pytest.raises(FileError, match=r"has slices shifted against each other by \d\.\d° \(gantry tilt\); resample"):
        read_header(tmp_path / "tilt")
    write_classic(tmp_path / "ct", voxels(), Modality="CT", elements=lambda z, t: {"ImagePositionPatient": tilted[z]})
    with pytest.raises(FileError, match="dcm2niix straightens it"):
        read_header(tmp_path / "ct")
    bent = [np.round(np.add(position(z), [0.5 * (z == 2), 0, 0]), 6).tolist() for z in range(SLICES)]
    write_classic(tmp_path / "bent", voxels(), elements=lambda z, t: {"ImagePositionPatient": bent[z]})
    with pytest.raises(FileError, match="slices that do not lie in one line: up to 0.49 mm aside"):
        read_header(tmp_path / "bent")


def test_headers_are_told_apart_by_their_files(tmp_path: Path):
    files = write_classic(tmp_path, voxels())
    assert read_header(tmp_path).shape == SHAPE
    files[-1].unlink()
    assert read_header(tmp_path).shape == (*SHAPE[:2], SLICES - 1)


def test_a_sidecar_tells_the_time_that_dicom_does_not(tmp_path):
    write_classic(tmp_path / "DICOM", voxels(TIMES), elements=lambda z, t: {"TemporalPositionIdentifier": t + 1})
    path = Path(f"{tmp_path / 'DICOM'}#series=1")
    mend = read_header(path).remarks[-1].mend
    assert mend == "write the seconds as RepetitionTime into DICOM_series-1.json beside it where the time matters"
    (tmp_path / "DICOM_series-1.json").write_text('{"RepetitionTime": 0.35}')
    sequence, _ = read_sequence("walk", path, None)
    assert sequence is not None and sequence.sidecar.seconds == 0.35
