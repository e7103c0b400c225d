"""The geometry of a NIfTI header: the best sound source counts, and no two disagree silently."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from laws import for_all
from volume_grids import GRIDS, affine_of, counting

from ankleseg.errors import FileError
from ankleseg.volumes import Verdict, check_image, read_header, read_volume, write_volume

SFORM = affine_of("PSR")
QFORM = affine_of("LIA")
SIZES = [1.0, 0.5, 0.75, 2.0, 0, 0, 0, 0]  # of both


def write(path: Path, sform: int = 1, qform: int = 1, **fields: object) -> Path:
    """A scan with the given codes, and header fields that are wrong."""
    data = fields.pop("data", counting())
    image = nib.Nifti1Image(data, SFORM)
    image.set_sform(SFORM, 1)
    image.set_qform(QFORM, 1)
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(raw[:348]), check=False)
    header["sform_code"], header["qform_code"] = sform, qform
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    path.write_bytes(bytes(raw))
    return path


def problems(path: Path, verdict: Verdict | None = None) -> list[str]:
    return [f.problem for f in check_image(path) if verdict is None or f.verdict is verdict]


NAN_ROW = {"srow_y": [np.nan, 0, 0, 0]}
FLAT_ROW = {"srow_y": [1, 0, 0, 0], "srow_x": [1, 0, 0, 0]}


@for_all("broken", [NAN_ROW, FLAT_ROW, {"srow_x": 0, "srow_y": 0, "srow_z": 0}])
def test_a_broken_sform_leaves_the_qform(broken, tmp_path):
    path = write(tmp_path / "a.nii", **broken)
    header = read_header(path)
    np.testing.assert_allclose(header.affine, QFORM, atol=1e-5)
    assert (header.qform_code, header.sform_code) == (1, 0)
    (problem,) = problems(path, Verdict.SUSPECT)
    assert problem.startswith("its sform is passed over: it holds a")


@for_all("broken", [{"quatern_b": 9}, {"quatern_c": np.nan}, {"qoffset_x": np.inf}])
def test_a_broken_qform_leaves_the_sform(broken, tmp_path):
    path = write(tmp_path / "a.nii", **broken)
    np.testing.assert_allclose(read_header(path).affine, SFORM, atol=1e-6)
    assert "its qform is passed over" in "".join(problems(path, Verdict.SUSPECT))


def test_without_a_sound_affine_the_voxel_sizes_count_as_nibabel_takes_them(tmp_path):
    path = write(tmp_path / "a.nii", quatern_b=9, **NAN_ROW)
    expected = nib.load(write(tmp_path / "b.nii", sform=0, qform=0)).affine
    np.testing.assert_array_equal(read_header(path).affine, expected)
    assert len(problems(path, Verdict.SUSPECT)) == 2
    assert "does not say how it lies" in "".join(problems(path))


def test_a_quaternion_that_rounding_made_longer_than_1_is_a_rotation(tmp_path):
    path = write(tmp_path / "a.nii", sform=0, quatern_b=0.0, quatern_c=1.0000008, quatern_d=0.0005)
    with pytest.raises(ValueError, match="w2 should be positive"):
        nib.load(path)
    rotation = read_header(path).affine[:3, :3] / [0.5, 0.75, 2.0]
    np.testing.assert_allclose(np.abs(rotation), np.eye(3), atol=2e-3)
    assert "b² + c² + d² = 1.00000" in "".join(problems(path, Verdict.OK))


@for_all("code", [0, 1])
def test_negative_voxel_sizes_count_without_their_sign(code, tmp_path):
    negative = [-1, -0.5, 0.75, -2, 0, 0, 0, 0]
    sound = read_header(write(tmp_path / "b.nii", sform=0, qform=code, pixdim=[-1, *SIZES[1:]]))
    path = write(tmp_path / "a.nii", sform=0, qform=code, pixdim=negative)
    np.testing.assert_array_equal(read_header(path).affine, sound.affine)
    assert "declares voxels of -0.5 × 0.75 × -2 mm; they are taken without their signs" in problems(path)
    beside = write(tmp_path / "c.nii", pixdim=negative)
    np.testing.assert_allclose(read_header(beside).affine, SFORM, atol=1e-6)


@for_all("size", [0.0, np.nan])
def test_a_missing_voxel_size_is_no_matter_beside_a_sform_and_refused_without(size, tmp_path):
    sizes = [1, 0.5, size, 2, 0, 0, 0, 0]
    np.testing.assert_allclose(read_header(write(tmp_path / "a.nii", pixdim=sizes)).affine, SFORM, atol=1e-6)
    for code in (0, 1):
        with pytest.raises(FileError, match=r"a\.nii: declares voxels of 0.5 × (0|nan) × 2 mm; correct the voxel size"):
            read_header(write(tmp_path / "a.nii", sform=0, qform=code, pixdim=sizes))


@for_all("code", [0, 1])
def test_one_slice_without_a_thickness_gets_1_mm_and_a_remark(code, tmp_path):
    sizes = [1, 0.5, 0.75, 0, 0, 0, 0, 0]
    path = write(tmp_path / "a.nii", sform=0, qform=code, pixdim=sizes, data=counting((5, 6, 1)))
    np.testing.assert_allclose(read_header(path).spacing, [0.5, 0.75, 1.0], atol=1e-6)
    assert "1 mm is assumed along the axis of one voxel" in "".join(problems(path))


def test_voxel_sizes_that_disagree_with_the_sform_are_suspect_above_one_percent(tmp_path):
    path = write(tmp_path / "a.nii", qform=0, pixdim=[1, 0.3, 0.3, 3, 0, 0, 0, 0])
    np.testing.assert_allclose(read_header(path).affine, SFORM, atol=1e-6)
    (problem,) = problems(path, Verdict.SUSPECT)
    assert (
        "voxels of 0.5 × 0.75 × 2 mm by its sform and of 0.3 × 0.3 × 3 mm by its pixdim; the sform is used" in problem
    )
    assert problem.endswith("makes volumes 2.78 times those of the pixdim")
    near = write(tmp_path / "b.nii", qform=0, pixdim=[1, 0.504, 0.75, 2, 0, 0, 0, 0])
    assert problems(near) == []


@for_all(("code", "factor"), [(1, 1e3), (3, 1e-3)])
@for_all("source", [{"sform": 1}, {"sform": 0}, {"sform": 0, "qform": 0}])
def test_metres_and_micrometres_become_mm(code, factor, source, tmp_path):
    in_mm = read_header(write(tmp_path / "a.nii", **source))
    rescaled = {"pixdim": [-1, *(np.array(SIZES[1:4]) / factor), 0, 0, 0, 0], "xyzt_units": code}
    for name, row in zip(("srow_x", "srow_y", "srow_z"), SFORM[:3], strict=True):
        rescaled[name] = row / factor
    for name, value in zip(("qoffset_x", "qoffset_y", "qoffset_z"), QFORM[:3, 3], strict=True):
        rescaled[name] = value / factor
    qfac = nib.load(tmp_path / "a.nii").header["pixdim"][0]
    path = write(tmp_path / "b.nii", **source, **{**rescaled, "pixdim": [qfac, *rescaled["pixdim"][1:]]})
    np.testing.assert_allclose(read_header(path).affine, in_mm.affine, rtol=1e-5, atol=1e-5)
    assert "in mm its voxels are 0.5 × 0.75 × 2" in "".join(problems(path, Verdict.OK))


def test_voxels_of_impossible_size_are_suspect(tmp_path):
    path = write(tmp_path / "a.nii", sform=0, qform=0, pixdim=[1, 500, 500, 2000, 0, 0, 0, 0])  # micrometres, called mm
    assert "which no scanner for people produces" in "".join(problems(path, Verdict.SUSPECT))


@for_all(
    ("dim", "shape"),
    [
        ([4, 5, 6, 4, 1], (5, 6, 4)),
        ([4, 5, 6, 4, 0], (5, 6, 4)),
        ([5, 5, 6, 2, 1, 2], (5, 6, 2, 2)),
        ([5, 5, 6, 2, 0, 2], (5, 6, 2, 2)),
        ([7, 5, 6, 2, 1, 2, 1, 1], (5, 6, 2, 2)),
        ([4, 5, 6, 1, 4], (5, 6, 1, 4)),
        ([3, 5, 6, 4, 0, 0, 0, 0], (5, 6, 4)),
    ],
)
def test_axes_of_one_are_dropped_beyond_the_third_and_zeros_there_are_ones(dim, shape, tmp_path):
    path = write(tmp_path / "a.nii", dim=[*dim, *[0] * (8 - len(dim))])
    assert read_header(path).shape == shape
    data = read_volume(path, dtype=None, dimensions=len(shape)).data
    np.testing.assert_array_equal(data, counting().reshape(shape, order="F"))


def test_the_components_of_vectors_are_no_frames(tmp_path):
    path = write(tmp_path / "a.nii", dim=[5, 5, 6, 2, 1, 2, 1, 1], intent_code=1007)
    with pytest.raises(FileError, match="has 5 dimensions .5×6×2×1×2., 4 are needed"):
        read_volume(path, dimensions=4)


@for_all("grid", GRIDS)
def test_a_sound_header_reads_as_nibabel_reads_it(grid, tmp_path):
    image = nib.Nifti1Image(counting(), GRIDS[grid])
    image.set_sform(None, 0)
    image.set_qform(GRIDS[grid], 1)
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_header(tmp_path / "a.nii").affine, nib.load(tmp_path / "a.nii").affine)


@for_all(("code", "meant"), [(9, 2), (-1, 0)])
def test_a_result_can_be_written_like_a_file_whose_code_means_nothing(code, meant, tmp_path):
    header = read_header(write(tmp_path / "a.nii", sform=code))
    assert (header.qform_code, header.sform_code) == (1, meant)
    assert f"has the sform code {code}, which means nothing and is taken as {meant}" in problems(header.path)
    result = write_volume(tmp_path / "b.nii", counting(), header.affine, like=header)
    np.testing.assert_allclose(nib.load(result).affine, header.affine, atol=1e-5)


def test_negative_voxel_sizes_are_told_beside_a_sound_sform(tmp_path):
    path = write(tmp_path / "a.nii", pixdim=[1, -0.5, 0.75, 2, 0, 0, 0, 0])
    np.testing.assert_allclose(read_header(path).affine, SFORM, atol=1e-6)
    assert "declares voxels of -0.5 × 0.75 × 2 mm; they are taken without their signs" in problems(path)


def test_one_slice_without_thickness_takes_that_of_its_sform_in_results_too(tmp_path):
    path = write(tmp_path / "a.nii", data=counting()[:, :, :1], pixdim=[1, 0.5, 0.75, 0, 0, 0, 0, 0])
    header = read_header(path)
    result = write_volume(tmp_path / "b.nii", read_volume(path).data, header.affine, like=header)
    np.testing.assert_allclose(nib.load(result).header.get_zooms(), header.spacing)
