"""Formats next door are read; what is not read is called by its true name, with a command that helps."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of, counting

from ankleseg.errors import FileError
from ankleseg.volumes import check_image, read_header, read_mask, read_volume, require_file

AFFINE = affine_of("PSR")


def nifti() -> bytes:
    return nib.Nifti1Image(counting(), AFFINE).to_bytes()


@for_all("kind", [nib.Nifti1Pair, nib.Nifti2Pair, nib.Spm2AnalyzeImage, nib.AnalyzeImage])
@for_all("given", ["a.img", "a.hdr"])
def test_pairs_are_read_as_nibabel_reads_them(kind, given, tmp_path):
    nib.save(kind(counting(), np.diag([-1.0, 1, 1.5, 1])), tmp_path / "a.img")
    volume, other = read_volume(tmp_path / given, dtype=None), nib.load(tmp_path / "a.img")
    np.testing.assert_array_equal(volume.data, np.asarray(other.dataobj))
    np.testing.assert_allclose(volume.affine, other.affine, atol=1e-6)
    says = "".join(finding.problem for finding in check_image(tmp_path / given))
    assert ("does not say how it lies" in says) == (kind is nib.AnalyzeImage)


@for_all("missing", ["hdr", "img"])
def test_a_pair_without_its_other_file_is_told(missing, tmp_path):
    nib.save(nib.Nifti1Pair(counting(), AFFINE), tmp_path / "a.img")
    (tmp_path / f"a.{missing}").unlink()
    with pytest.raises(FileError, match=f"lacks the other file of its pair, a.{missing}; copy it beside"):
        read_header(tmp_path / f"a.{'img' if missing == 'hdr' else 'hdr'}")


@for_all("shape", [(5, 6, 4), (5, 6, 4, 3)])
@for_all("name", ["a.mgz", "a.mgh"])
def test_freesurfer_volumes_are_read_as_nibabel_reads_them(name, shape, tmp_path):
    nib.save(nib.MGHImage(counting(shape), AFFINE.astype(np.float32)), tmp_path / name)
    volume = read_volume(tmp_path / name, dtype=None, dimensions=len(shape))
    np.testing.assert_array_equal(volume.data, counting(shape))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.data.dtype.isnative
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
    with pytest.raises(FileError, match=f"{name}: is truncated"):
        read_volume(tmp_path / name, dimensions=len(shape))


def detached(folder: Path, voxels: str = "a.raw") -> list[Path]:
    (folder / "a.raw").write_bytes(counting().tobytes(order="F"))
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 5 6 4\nElementType = MET_SHORT\nElementSpacing = 1 1 1.5\n"
    meta += f"Offset = 16 18 -15\nElementByteOrderMSB = False\nElementDataFile = {voxels}\n"
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 6 4\n"
    nrrd += "space directions: (1,0,0) (0,1,0) (0,0,1.5)\nendian: little\nencoding: raw\nspace origin: (16,18,-15)\n"
    (folder / "a.mhd").write_text(meta)
    (folder / "a.nhdr").write_text(nrrd + f"data file: {voxels}\n")
    return [folder / "a.mhd", folder / "a.nhdr"]


def test_headers_with_their_voxels_beside_are_read(tmp_path):
    for path in detached(tmp_path):
        volume = read_volume(path, dtype=None)
        np.testing.assert_array_equal(volume.data, counting())
        np.testing.assert_allclose(volume.affine, [[-1, 0, 0, -16], [0, -1, 0, -18], [0, 0, 1.5, -15], [0, 0, 0, 1]])
    for path in detached(tmp_path, "b.raw"):
        with pytest.raises(FileError, match="keeps its voxels in b.raw, which is missing; copy it beside"):
            read_header(path)


@for_all("voxels", ["../a.raw", "/etc/passwd", "sub/a.raw", "LIST", "a%03d.raw 1 4 1"])
def test_voxels_elsewhere_or_spread_are_refused(voxels, tmp_path):
    for path in detached(tmp_path, voxels):
        with pytest.raises(FileError, match="(another folder|several files).*; convert it to one .nii.gz file"):
            read_header(path)


def test_an_nrrd_of_frames_has_time_last_and_one_of_colours_is_refused(tmp_path):
    frames = counting((3, 5, 6, 4))
    head = "NRRD0004\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: 3 5 6 4\n"
    head += "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: {} domain domain domain\n"
    head += "endian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    path = tmp_path / "a.seq.nrrd"
    path.write_bytes(head.format("list").encode() + frames.tobytes(order="F"))
    np.testing.assert_array_equal(read_volume(path, dtype=None, dimensions=4).data, np.moveaxis(frames, 0, -1))
    path.write_bytes(head.format("vector").encode() + frames.tobytes(order="F"))
    with pytest.raises(FileError, match="stores 3 numbers a voxel"):
        read_header(path)
    path.write_bytes(head.format("time").encode() + frames.tobytes(order="F"))
    with pytest.raises(FileError, match="axis without a direction.*write list for that axis in the line kinds"):
        read_header(path)


def test_lengths_in_other_units_become_mm(tmp_path):
    mhd, nhdr = detached(tmp_path)
    nhdr.write_text(nhdr.read_text().replace("sizes:", 'space units: "um" "um" "um"\nsizes:'))
    np.testing.assert_allclose(read_header(nhdr).spacing, [1e-3, 1e-3, 1.5e-3])
    assert "geometry in um, which is converted" in "".join(r.problem for r in read_header(nhdr).remarks)
    assert "does not say how it lies; the axes LPS are assumed" in "".join(r.problem for r in read_header(mhd).remarks)


def packed(kind: str) -> bytes:
    store = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(store, "w") as archive:
            archive.writestr("a.nii", nifti())
    else:
        with tarfile.open(fileobj=store, mode="w") as archive:
            member = tarfile.TarInfo("a.nii")
            member.size = len(nifti())
            archive.addfile(member, io.BytesIO(nifti()))
    return store.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
ANNEX = b"/annex/objects/SHA256E-s12--00.nii.gz\n"
FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "without ending": ("scan", gzip.compress(nifti()), "is a compressed NIfTI file; rename it to scan.nii.gz"),
    "plain without ending": ("scan", nifti(), "is a NIfTI file that is not compressed; rename it to scan.nii"),
    "blank in its name": ("my scan.gz", gzip.compress(nifti()), "rename it to 'my scan'.nii.gz"),
    "twice": (
        "a.nii.gz",
        gzip.compress(gzip.compress(nifti())),
        "is compressed twice, .*: gunzip < .*/a.nii.gz > .*/a-once",
    ),
    "bzip2": ("a.nii.bz2", bz2.compress(nifti()), "is compressed by bzip2; unpack it by bunzip2 --keep .*/a.nii.bz2"),
    "xz": ("a.nii.xz", lzma.compress(nifti()), "is compressed by xz; unpack it by unxz --keep .*/a.nii.xz"),
    "zip": ("a.nii", packed("zip"), "is a zip archive, .*; unpack it by unzip .*/a.nii"),
    "tar": ("a.nii.gz", gzip.compress(packed("tar")), "is a tar archive in gzip, .*; unpack it by tar xf .*/a.nii.gz"),
    "nrrd": ("a.nii", b"NRRD0004\n" * 99, "is an NRRD file, whatever its name says; rename it to a.nrrd"),
    "meta": ("a.nii", b"ObjectType = Image\n" * 99, "is a MetaImage file, .*; rename it to a.mha"),
    "png": ("a.png", b"\x89PNG\r\n" * 99, "is a PNG picture"),
    "minc": ("a.mnc", b"\x89HDF\r\n" * 99, "is an HDF5 file.*mnc2nii .*/a.mnc .*/a.nii"),
    "matlab": ("a.mat", b"MATLAB 5.0 MAT-file" * 99, "is a MATLAB file"),
    "par": ("a.par", b"# === DATA DESCRIPTION FILE ====" * 99, "is a Philips PAR header.*dcm2niix -z y"),
    "web page": ("a.nii.gz", b"<!DOCTYPE html><html>" * 99, "is a web page or XML, .*; download the scan itself"),
    "macOS": ("._a.nii.gz", b"\0\5\x16\7" * 200, "is a companion file that macOS makes"),
    "lfs": ("a.nii.gz", POINTER, "was not downloaded: it is a pointer of Git LFS; run git lfs pull"),
    "annex": ("a b.nii.gz", ANNEX, "was not downloaded: it is a pointer of git-annex; run datalad get '.*/a b.nii.gz'"),
    "annex in DICOM": ("a.dcm", ANNEX, "was not downloaded: it is a pointer of git-annex"),
    "noise": ("a.nii", bytes(range(1, 250)) * 9, "is of no format that is read"),
}


@for_all("case", FOREIGN)
def test_a_foreign_file_is_called_by_its_true_name(case, tmp_path):
    name, content, message = FOREIGN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError, match=message) as caught:
        read_volume(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)


def test_a_link_into_an_annex_that_leads_nowhere_was_not_downloaded(tmp_path):
    link = tmp_path / "a.nii.gz"
    link.symlink_to("../.git/annex/objects/aa/bb/SHA256E-s12--00.nii.gz/SHA256E-s12--00.nii.gz")
    with pytest.raises(FileError, match="was not downloaded: it is a pointer of git-annex; run datalad get"):
        require_file(link)
    link.unlink()
    link.symlink_to("gone.nii.gz")
    with pytest.raises(FileError, match="is a link to gone.nii.gz, which does not exist; copy the file itself"):
        require_file(link)


@for_all("name", ["pair.img", "scan.raw"])
@for_all("link", [False, True])
def test_voxels_beside_a_header_that_were_not_downloaded_are_told(name, link, tmp_path):
    header = detached(tmp_path, "scan.raw")[0]
    if name == "pair.img":
        header = tmp_path / "pair.hdr"
        nib.save(nib.Nifti1Pair(np.zeros((4, 3, 2), np.int16), np.eye(4)), header)
    voxels = tmp_path / name
    voxels.unlink(missing_ok=True)
    voxels.symlink_to(".git/annex/objects/key") if link else voxels.write_bytes(POINTER)
    with pytest.raises(FileError, match=f"{name}: was not downloaded"):
        read_volume(header)


def test_a_segmentation_that_was_not_downloaded_is_told(tmp_path):
    (tmp_path / "a.seg.nrrd").write_bytes(POINTER)
    with pytest.raises(FileError, match="was not downloaded"):
        read_mask(tmp_path / "a.seg.nrrd", value="talus")


@for_all("ending", [".mhd", ".nhdr"])
def test_endings_may_be_in_capitals(ending, tmp_path):
    path = next(file for file in detached(tmp_path) if file.suffix == ending)
    capitals = path.rename(path.with_suffix(ending.upper()))
    again = path.with_suffix(ending)
    again.write_bytes(capitals.read_bytes())
    np.testing.assert_array_equal(read_volume(capitals).data, read_volume(again).data)
    np.testing.assert_array_equal(read_header(capitals).affine, read_header(again).affine)
