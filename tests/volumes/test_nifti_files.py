"""Good NIfTI files in all their dialects, and one clear line for each bad one."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of, counting

from ankleseg.errors import FileError
from ankleseg.volumes import available_memory, read_header, read_volume, write_volume
from ankleseg.volumes import files as volume_files


def test_slope_and_intercept_are_applied(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(counting() * 0.5 + 3, affine_of("PSR"), header)
    nib.save(image, tmp_path / "a.nii.gz")
    assert read_header(tmp_path / "a.nii.gz").dtype == np.int16
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.data.dtype == np.float32
    np.testing.assert_allclose(volume.data, counting() * 0.5 + 3, atol=1e-2)
    np.testing.assert_array_equal(volume.data, nib.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32))


@for_all("kind", [nib.Nifti1Image, nib.Nifti2Image])
@for_all("endianness", ["<", ">"])
def test_both_versions_and_byte_orders_are_read(kind, endianness, tmp_path):
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(endianness))
    nib.save(kind(counting(), affine_of("LIA"), header), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz", dtype=None)
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data, counting())
    np.testing.assert_allclose(volume.affine, affine_of("LIA"), atol=1e-6)


def test_a_trailing_axis_of_length_one_is_dropped(tmp_path):
    nib.save(nib.Nifti1Image(counting((5, 6, 4, 1)), np.eye(4)), tmp_path / "a.nii")
    assert read_header(tmp_path / "a.nii").shape == (5, 6, 4)
    assert read_volume(tmp_path / "a.nii").data.shape == (5, 6, 4)


def test_a_slice_axis_of_length_one_is_kept(tmp_path):
    nib.save(nib.Nifti1Image(counting((5, 6, 1)), np.eye(4)), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").data.shape == (5, 6, 1)


def test_float_masks_read_as_whole_numbers(tmp_path):
    write_volume(tmp_path / "a.nii.gz", (counting() % 2).astype(np.float64), np.eye(4))
    assert read_volume(tmp_path / "a.nii.gz", dtype=np.uint8).data.sum() == counting().size // 2


def test_values_that_a_type_cannot_hold_are_refused_not_wrapped(tmp_path):
    path = write_volume(tmp_path / "a.nii.gz", counting() + 250, np.eye(4))
    with pytest.raises(FileError, match=r"a\.nii\.gz: holds values from 250 to 369 that are not all uint8 numbers"):
        read_volume(path, dtype=np.uint8)


def test_a_header_is_read_without_the_voxels(tmp_path):
    path = write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).random((64, 64, 64)), affine_of("PSR"))
    path.write_bytes(path.read_bytes()[:4000])  # what is left is the header and some voxels
    header = read_header(path)
    assert header.shape == (64, 64, 64)
    assert header.format == "nifti"
    np.testing.assert_allclose(header.spacing, [0.5, 0.75, 2.0])


def test_real_scans_read_as_nibabel_reads_them(shared_data):
    scans = [*shared_data.glob("cord/small*.nii.gz"), *shared_data.glob("super_resolution/*.nii.gz")]
    scans += [shared_data / "ankle/lower_leg_mri.nii.gz", shared_data / "tumour/gli1_seg.nii.gz"]
    assert len(scans) > 8
    for scan in scans:
        volume, other = read_volume(scan, dtype=None), nib.load(scan)
        np.testing.assert_array_equal(volume.affine, other.affine)
        np.testing.assert_array_equal(volume.data, np.asarray(other.dataobj).squeeze())


def good(path: Path, data: np.ndarray | None = None) -> bytes:
    """Bytes of a good file; noise, so that it does not compress away."""
    noise = np.random.default_rng(0).random((16, 16, 16)) if data is None else data
    return write_volume(path, noise, np.eye(4)).read_bytes()


def with_fields(**fields: object) -> Callable[[Path], None]:
    """A maker of files whose header says what is given."""

    def make(path: Path) -> None:
        image = nib.Nifti1Image(counting(), np.eye(4))
        image.set_qform(np.eye(4), 1)
        image.set_sform(np.eye(4), int(fields.pop("sform_code", 1)))  # type: ignore[call-overload]
        raw = bytearray(image.to_bytes())
        header = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        raw[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else bytes(raw))

    return make


def truncated(path: Path) -> None:
    path.write_bytes(good(path)[: 20_000 if path.suffix == ".gz" else 30_000])


def broken_checksum(path: Path) -> None:
    content = bytearray(good(path))
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))


def broken_middle(path: Path) -> None:
    content = bytearray(good(path))
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(bytes(content))


def holding(value: float, count: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        data = np.zeros((4, 4, 4), np.float32)
        data.flat[:count] = value
        write_volume(path, data, np.eye(4))

    return make


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.nii.gz", lambda path: None, "does not exist; correct the path, or copy the file"),
    "zero bytes": ("a.nii.gz", lambda path: path.touch(), r"is empty \(0 bytes\); copy the file again"),
    "folder": ("a.nii", lambda path: path.mkdir(), r"cannot be read \(Is a directory\); check the file and its disk"),
    "truncated gzip": ("a.nii.gz", truncated, "is truncated: its compressed data end early; copy the file again"),
    "truncated": ("a.nii", truncated, "is truncated or its header is wrong: it declares 32.8 kB of voxels"),
    "ends in the header": ("a.nii", lambda path: path.write_bytes(good(path)[:200]), "ends within the header"),
    "broken checksum": ("a.nii.gz", broken_checksum, "is damaged: its compressed data do not pass their check"),
    "broken middle": ("a.nii.gz", broken_middle, "is (damaged|truncated): its compressed data"),
    "text": ("a.nii", lambda path: path.write_text("not a scan\n" * 100), "is a text file, whatever its name"),
    "text in gzip": ("a.nii.gz", lambda p: p.write_bytes(gzip.compress(b"no scan " * 99)), "is a text file"),
    "compressed twice": (
        "a.nii.gz",
        lambda path: path.write_bytes(gzip.compress(good(path))),
        r"is compressed twice, .*; unpack it once: gunzip < .*/a.nii.gz > .*/a-once.nii.gz",
    ),
    "not compressed": (
        "a.nii.gz",
        lambda path: path.write_bytes(good(path.with_name("b.nii"))),
        "is a NIfTI file that is not compressed, whatever its name says; rename it to a.nii",
    ),
    "compressed": (
        "a.nii",
        lambda path: path.write_bytes(good(path.with_name("b.nii.gz"))),
        "is a compressed NIfTI file, whatever its name says; rename it to a.nii.gz",
    ),
    "unknown ending": ("a.jpg", lambda path: path.write_text("x"), "is a text file; give .nii"),
    "five axes": ("a.nii", lambda path: good(path, np.zeros((4, 4, 4, 2, 3))), r"has 5 dimensions \(4×4×4×2×3\)"),
    "four axes": ("a.nii", lambda path: good(path, np.zeros((4, 4, 4, 2))), "has 4 dimensions .* split it into"),
    "two axes": ("a.nii", with_fields(dim=[2, 12, 10, 1, 1, 1, 1, 1]), "has 2 dimensions .* give the whole scan"),
    "NaN": ("a.nii.gz", holding(np.nan, 3), "holds 3 NaN or infinite voxels; replace them"),
    "infinity": ("a.nii.gz", holding(-np.inf, 5), "holds 5 NaN or infinite voxels"),
    "terabytes": ("a.nii", with_fields(dim=[3, 20000, 20000, 20000, 1, 1, 1, 1]), "declares 16.0 TB of voxels"),
    "compressed terabytes": (
        "a.nii.gz",
        with_fields(dim=[3, 20000, 20000, 20000, 1, 1, 1, 1]),
        "declares 16.0 TB of voxels, and a file of .* cannot hold them",
    ),
    "negative axis": ("a.nii", with_fields(dim=[3, -5, 6, 4, 1, 1, 1, 1]), "declares the impossible dimensions"),
    "no axis": ("a.nii", with_fields(dim=[0, 5, 6, 4, 1, 1, 1, 1]), "declares the impossible dimensions"),
    "voxels before the header": ("a.nii", with_fields(vox_offset=-8), "declares that its voxels start at byte -8"),
    "voxels nowhere": ("a.nii", with_fields(vox_offset=np.nan), "declares that its voxels start at byte nan"),
    "voxels far away": ("a.nii.gz", with_fields(vox_offset=1e18), "is truncated or its header is wrong"),
    "colours": ("a.nii", with_fields(datatype=128, bitpix=24), "stores voxels of NIfTI type 128, not real"),
    "unknown type": ("a.nii", with_fields(datatype=77), "stores voxels of NIfTI type 77"),
    "NaN scaling": ("a.nii", with_fields(scl_slope=2, scl_inter=np.nan), "scales its values by NaN"),
}  # fmt: skip


@for_all("case", BAD_FILES)
def test_a_bad_file_gives_one_line_with_file_problem_and_mend(case, tmp_path):
    name, make, message = BAD_FILES[case]
    path = tmp_path / name
    make(path)
    with pytest.raises(FileError, match=message) as caught:
        read_volume(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert caught.value.mend


def test_more_voxels_than_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    path = write_volume(tmp_path / "a.nii.gz", np.zeros((100, 100, 100), np.int16), np.eye(4))
    monkeypatch.setattr("ankleseg.volumes.memory.available_memory", lambda: 5_000_000)
    monkeypatch.setattr(volume_files, "_read_voxels", lambda *arguments: pytest.fail("it was read"))
    with pytest.raises(FileError, match="needs 6.0 MB of memory and 5.0 MB are free"):
        read_volume(path)


def test_free_memory_is_what_the_machine_or_the_container_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr("ankleseg.volumes.memory.CONTROL_GROUP", tmp_path)
    machine = available_memory()
    assert machine > 10**7
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    (tmp_path / "memory.current").write_text("9000\n")
    (tmp_path / "memory.max").write_text("10000\n")
    assert available_memory() == 1300
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > 10**7


def test_a_gzip_of_several_members_is_read(tmp_path):
    plain = good(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").data, read_volume(tmp_path / "a.nii").data)


def test_a_header_that_lies_about_its_length_does_not_hang(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(struct.pack("<i", 348) + bytes(400))
    with pytest.raises(FileError, match="is the header of a NIfTI or Analyze pair, whatever its name says"):
        read_header(path)
