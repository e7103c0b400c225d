"""The geometry promise, and that a killed writer leaves the old file or the new one."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import textwrap
import time

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import GRIDS, affine_of, counting

from ankleseg.errors import FileError
from ankleseg.files import replace_file
from ankleseg.volumes import read_header, read_volume, write_volume

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def itk_reading(path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z), and in RAS+ mm: the matrix and the origin as ITK sees them."""
    import itk

    image = itk.imread(str(path))
    matrix = np.asarray(itk.array_from_matrix(image.GetDirection())) * np.asarray(image.GetSpacing())
    return itk.array_from_image(image).T, LPS_FROM_RAS @ matrix, LPS_FROM_RAS @ np.asarray(image.GetOrigin())


@for_all("grid", GRIDS)
def test_voxels_affine_and_codes_survive_in_two_readers(grid, tmp_path):
    data, affine = counting(), GRIDS[grid]
    source = nib.Nifti1Image(data, affine)
    source.set_sform(affine, 2)
    source.set_qform(affine, 1)
    nib.save(source, tmp_path / "input.nii.gz")

    scan = read_volume(tmp_path / "input.nii.gz", dtype=None)
    written = write_volume(tmp_path / "output.nii.gz", scan.data, scan.affine, like=scan.header)

    again = nib.load(written)
    np.testing.assert_array_equal(again.dataobj, data)
    np.testing.assert_allclose(again.affine, affine, atol=1e-5)
    np.testing.assert_array_equal(again.get_sform(), nib.load(tmp_path / "input.nii.gz").get_sform())
    np.testing.assert_allclose(again.get_qform(), nib.load(tmp_path / "input.nii.gz").get_qform(), atol=1e-5)
    assert (int(again.header["qform_code"]), int(again.header["sform_code"])) == (1, 2)
    voxels, matrix, origin = itk_reading(written)
    np.testing.assert_array_equal(voxels, data)
    np.testing.assert_allclose(matrix, affine[:3, :3], atol=1e-5)
    np.testing.assert_allclose(origin, affine[:3, 3], atol=1e-5)


@for_all("codes", [(0, 0), (1, 0), (0, 2), (4, 3)])
def test_every_pair_of_codes_is_kept(codes, tmp_path):
    source = nib.Nifti1Image(counting(), None)
    source.set_qform(affine_of("PSR"), codes[0])
    source.set_sform(affine_of("PSR"), codes[1])
    nib.save(source, tmp_path / "in.nii")
    scan = read_volume(tmp_path / "in.nii", dtype=None)
    written = write_volume(tmp_path / "out.nii", scan.data, scan.affine, like=scan.header)
    header = read_header(written)
    assert (header.qform_code, header.sform_code) == codes
    np.testing.assert_allclose(header.affine, nib.load(tmp_path / "in.nii").affine, atol=1e-6)


def test_a_qform_that_differs_from_the_sform_is_kept_too(tmp_path):
    source = nib.Nifti1Image(counting(), affine_of("RAS"))
    source.set_sform(affine_of("RAS"), 2)
    source.set_qform(affine_of("PSR", oblique=True), 1)
    nib.save(source, tmp_path / "in.nii.gz")
    scan = read_volume(tmp_path / "in.nii.gz")
    written = nib.load(write_volume(tmp_path / "out.nii.gz", scan.data, scan.affine, like=scan.header))
    np.testing.assert_allclose(written.get_qform(), affine_of("PSR", oblique=True), atol=1e-4)
    np.testing.assert_allclose(written.get_sform(), affine_of("RAS"), atol=1e-6)


def test_another_grid_gets_its_own_affine_with_the_codes_of_the_input(tmp_path):
    source = nib.Nifti1Image(counting(), affine_of("RAS"))
    source.set_sform(affine_of("RAS"), 2)
    source.set_qform(affine_of("PSR"), 1)
    nib.save(source, tmp_path / "in.nii.gz")
    like = read_header(tmp_path / "in.nii.gz")
    header = read_header(write_volume(tmp_path / "out.nii.gz", counting((9, 9, 9)), affine_of("LIA"), like=like))
    assert (header.qform_code, header.sform_code) == (1, 2)
    np.testing.assert_allclose(header.qform, affine_of("LIA"), atol=1e-5)
    np.testing.assert_allclose(header.sform, affine_of("LIA"), atol=1e-5)


def test_another_grid_is_never_written_without_its_affine(tmp_path):
    """With both codes 0, readers would make up where it lies."""
    nib.save(nib.Nifti1Image(counting(), None), tmp_path / "in.nii.gz")
    like = read_header(tmp_path / "in.nii.gz")
    assert (like.qform_code, like.sform_code) == (0, 0)
    header = read_header(write_volume(tmp_path / "out.nii.gz", counting((9, 9, 9)), affine_of("LIA"), like=like))
    assert (header.qform_code, header.sform_code) == (0, 1)
    np.testing.assert_allclose(header.affine, affine_of("LIA"), atol=1e-5)


def test_a_sheared_affine_is_never_contradicted_by_a_qform(tmp_path):
    sheared = affine_of("RAS")
    sheared[0, 1] = 0.3
    header = read_header(write_volume(tmp_path / "out.nii.gz", counting(), sheared))
    assert (header.qform_code, header.sform_code) == (0, 1)
    np.testing.assert_allclose(header.affine, sheared, atol=1e-6)


@for_all("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_the_type_is_kept(dtype, tmp_path):
    path = write_volume(tmp_path / "a.nii.gz", counting().astype(dtype), np.eye(4))
    volume = read_volume(path, dtype=None)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.data, counting().astype(dtype))


@for_all(("given", "stored"), [(bool, np.uint8), (np.float16, np.float32), (np.int64, np.int32)])
def test_types_few_readers_know_become_common_ones(given, stored, tmp_path):
    path = write_volume(tmp_path / "a.nii.gz", (counting() % 2).astype(given), np.eye(4))
    assert read_header(path).dtype == stored
    np.testing.assert_array_equal(read_volume(path).data, counting() % 2)


def test_whole_numbers_beyond_32_bits_are_kept(tmp_path):
    data = counting().astype(np.int64) + 2**40
    np.testing.assert_array_equal(read_volume(write_volume(tmp_path / "a.nii", data, np.eye(4)), dtype=None).data, data)


def test_the_same_volume_gives_the_same_bytes_at_any_time_under_any_name(tmp_path, monkeypatch):
    first = write_volume(tmp_path / "a.nii.gz", counting(), np.eye(4)).read_bytes()
    monkeypatch.setattr("gzip.time.time", lambda: 1e9)  # gzip notes the time unless told not to
    assert write_volume(tmp_path / "b.nii.gz", counting(), np.eye(4)).read_bytes() == first


def test_a_sequence_of_volumes_is_written_and_read(tmp_path):
    path = write_volume(tmp_path / "dynamic.nii.gz", counting((5, 6, 4, 3)), affine_of("PSR"))
    volume = read_volume(path, dimensions=4, dtype=None)
    np.testing.assert_array_equal(volume.data, counting((5, 6, 4, 3)))


@for_all(("unit", "stored", "expected"), [("sec", 0.5, 0.5), ("msec", 500, 0.5), ("unknown", 0.5, 0)])
def test_a_sequence_keeps_the_time_between_its_frames(unit, stored, expected, tmp_path):
    source = nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4))
    source.header["pixdim"][4] = stored
    source.header.set_xyzt_units("mm", unit)
    nib.save(source, tmp_path / "input.nii.gz")
    header = read_header(tmp_path / "input.nii.gz")
    assert header.frame_time == expected
    write_volume(tmp_path / "result.nii.gz", np.zeros((3, 4, 5, 2), np.uint8), 2 * np.eye(4), like=header)
    assert read_header(tmp_path / "result.nii.gz").frame_time == expected
    write_volume(tmp_path / "single.nii.gz", np.zeros((3, 4, 5), np.uint8), np.eye(4), like=header)
    assert read_header(tmp_path / "single.nii.gz").frame_time == 0


def test_only_nifti_is_written(tmp_path):
    with pytest.raises(FileError, match=r"out\.mha: cannot be written in this format; name it \.nii\.gz"):
        write_volume(tmp_path / "out.mha", counting(), np.eye(4))


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"out\.nii\.gz: cannot be written \(.*\); check the folder"):
        write_volume(tmp_path / "file" / "out.nii.gz", counting(), np.eye(4))


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(target) as part:
        part.write_text("new")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with replace_file(target) as part:
        part.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@for_all("existed", [True, False])
def test_kill_9_while_writing_leaves_the_old_file_or_none(existed, tmp_path):
    target = tmp_path / "scan.nii.gz"
    if existed:
        write_volume(target, counting(), np.eye(4))
    before = target.read_bytes() if existed else None
    writer = textwrap.dedent("""
        import sys, numpy as np
        from ankleseg.volumes import write_volume
        noise = np.random.default_rng(0).random((256, 256, 200), dtype=np.float32)
        write_volume(sys.argv[1], noise, np.eye(4))
    """)
    process = subprocess.Popen([sys.executable, "-c", writer, str(target)])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(
            part.stat().st_size > 100_000 for part in tmp_path.glob("scan.nii.gz.part-*")
        ):
            assert process.poll() is None, "the writer ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(tmp_path.glob("scan.nii.gz.part-*")), "it was not killed in the middle of writing"
    assert (target.read_bytes() if target.exists() else None) == before
    assert [path.name for path in tmp_path.glob("*.nii.gz")] == (["scan.nii.gz"] if existed else [])
    write_volume(target, counting(), np.eye(4))
    np.testing.assert_array_equal(read_volume(target, dtype=None).data, counting())


def test_reading_never_modifies_the_input(tmp_path):
    path = write_volume(tmp_path / "a.nii.gz", counting(), np.eye(4))
    before = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns
    volume = read_volume(path)
    volume.data[:] = -1
    write_volume(tmp_path / "b.nii.gz", volume.data, volume.affine, like=volume.header)
    assert (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) == before
