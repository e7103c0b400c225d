"""Poses as files of ITK and FLIRT: read back, hand-computed, and applied by ITK itself."""

from __future__ import annotations

from dataclasses import dataclass

import itk
import numpy as np
import pytest
from laws import for_all
from volume_grids import affine_of

from ankleseg.errors import FileError, GeometryError
from ankleseg.volumes import write_volume
from ankleseg.volumes.displacement_fields import write_displacement_field
from ankleseg.volumes.poses import exp_pose, invert_pose, rotation_about, transform, translation
from ankleseg.volumes.transforms import (
    flirt_from_pose,
    pose_from_flirt,
    read_flirt_matrix,
    read_itk_transform,
    write_flirt_matrix,
    write_itk_transform,
)

pytestmark = pytest.mark.xdist_group("itk")  # which takes seconds to load

POSE = exp_pose(np.array([0.3, -0.2, 0.5, 20.0, -35.0, 12.0]))
TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass
class Grid:
    shape: tuple[int, ...]
    affine: np.ndarray


STATIC = Grid((7, 9, 5), affine_of("PSR", (0.5, 0.75, 2.0), oblique=True))
FRAME = Grid((6, 4, 8, 15), affine_of("LAS", (1.0, 1.5, 2.5), oblique=True))


def itk_point(transform_, point: np.ndarray) -> np.ndarray:
    """A RAS point moved by a transform of ITK."""
    return np.array(transform_.TransformPoint((point * TO_LPS).tolist())) * TO_LPS


def test_itk_moves_a_point_of_the_frame_to_where_it_is_in_the_static_scan(tmp_path):
    path = write_itk_transform(tmp_path / "from-static_to-frame.tfm", POSE)
    read = itk.transformread(str(path))[0]
    point = np.array([12.0, -40.0, 7.5])
    np.testing.assert_allclose(itk_point(read, point), transform(invert_pose(POSE), point), atol=1e-9)


def test_an_itk_file_is_read_back_exactly(tmp_path):
    path = write_itk_transform(tmp_path / "pose.tfm", POSE)
    np.testing.assert_allclose(read_itk_transform(path), POSE, atol=1e-12)
    assert path.read_bytes() == write_itk_transform(tmp_path / "again.tfm", POSE).read_bytes()


@for_all("zyx", [False, True])
def test_an_euler_transform_that_itk_wrote_is_understood(tmp_path, zyx):
    euler = itk.Euler3DTransform[itk.D].New()
    euler.SetComputeZYX(zyx)
    euler.SetCenter([10.0, -20.0, 30.0])
    euler.SetParameters(itk.OptimizerParameters[itk.D]([0.4, -0.7, 1.1, 5.0, 6.0, -7.0]))
    itk.transformwrite([euler], str(tmp_path / "euler.tfm"))
    point = np.array([3.0, 14.0, -15.0])
    back = invert_pose(read_itk_transform(tmp_path / "euler.tfm"))
    np.testing.assert_allclose(transform(back, point), itk_point(euler, point), atol=1e-9)


def test_flirt_of_equal_grids_and_no_motion_is_identity_for_both_handednesses():
    for codes in ("LAS", "RAS"):
        grid = Grid((7, 9, 5), affine_of(codes, oblique=True))
        np.testing.assert_allclose(flirt_from_pose(np.eye(4), grid, grid), np.eye(4), atol=1e-12)


def test_flirt_by_hand():
    # Radiological (left-handed) static of 2 mm voxels: scaled voxels are (−x, y, z) in the world. Neurological frame of
    # 1 mm voxels, 11 wide: scaled voxels count x from the right end, (10 − x, y, z). A shift of the world by
    # (3, 5, 7) then turns (a, b, c), which is (−a, b, c) in the world, into (10 − (3 − a), b + 5, c + 7).
    static, frame = Grid((6, 6, 6), np.diag([-2.0, 2, 2, 1])), Grid((11, 12, 13), np.eye(4))
    expected = np.eye(4)
    expected[:3, 3] = [7.0, 5.0, 7.0]
    np.testing.assert_allclose(flirt_from_pose(translation((3, 5, 7)), static, frame), expected, atol=1e-12)
    # A quarter turn about z takes x to y: (−a, b) → (−b, −a), of which the frame counts 10 − (−b) = 10 + b and −a.
    turned = flirt_from_pose(rotation_about((0, 0, 1), 90), static, frame)
    np.testing.assert_allclose(turned @ [1.0, 2.0, 3.0, 1.0], [12.0, -1.0, 3.0, 1.0], atol=1e-12)


@for_all(("source", "target"), [(STATIC, FRAME), (FRAME, STATIC)])
def test_a_flirt_matrix_leads_from_voxel_to_voxel_as_the_pose_does(source, target):
    voxel = np.array([1.0, 2.0, 3.0])
    world = transform(POSE, source.affine[:3, :3] @ voxel + source.affine[:3, 3])
    expected = (np.linalg.inv(target.affine) @ [*world, 1])[:3]

    def scaled(voxels: np.ndarray, grid: Grid) -> np.ndarray:
        flipped = voxels.copy()
        if np.linalg.det(grid.affine[:3, :3]) > 0:
            flipped[0] = grid.shape[0] - 1 - flipped[0]
        return flipped * np.linalg.norm(grid.affine[:3, :3], axis=0)

    moved = flirt_from_pose(POSE, source, target) @ [*scaled(voxel, source), 1]
    np.testing.assert_allclose(moved[:3], scaled(expected, target), atol=1e-9)


def test_a_flirt_file_is_read_back(tmp_path):
    path = write_flirt_matrix(tmp_path / "pose.mat", POSE, STATIC, FRAME)
    np.testing.assert_allclose(read_flirt_matrix(path, STATIC, FRAME), POSE, atol=1e-12)
    matrix = flirt_from_pose(POSE, STATIC, FRAME)
    rounded = "\n".join("  ".join(f"{number:.8f}" for number in row) + "  " for row in matrix) + "\n"
    path.write_text(rounded)
    read = read_flirt_matrix(path, STATIC, FRAME)
    np.testing.assert_allclose(read, POSE, atol=1e-5)
    np.testing.assert_allclose(read[:3, :3] @ read[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose_from_flirt(matrix, STATIC, FRAME), POSE, atol=1e-12)


def test_files_that_are_no_pose_are_refused_in_one_line(tmp_path):
    path = tmp_path / "wrong.tfm"
    cases = {
        "1 2 3\n": (lambda: read_itk_transform(path), "is not a text transform of ITK; save it as .tfm"),
        "1 0 0 0\n0 1 0 0\n0 0 1 0\n": (
            lambda: read_flirt_matrix(path, STATIC, FRAME),
            "does not hold four rows of four numbers; give the .mat file FLIRT wrote",
        ),
        "1 0 0 x\n": (lambda: read_flirt_matrix(path, STATIC, FRAME), "holds '1 0 0 x' where numbers belong"),
        "2 0 0 0\n0 2 0 0\n0 0 2 0\n0 0 0 1\n": (
            lambda: read_flirt_matrix(path, STATIC, FRAME),
            "scales, shears or mirrors",
        ),
    }
    for text, (read, message) in cases.items():
        path.write_text(text)
        with pytest.raises(FileError, match=f"wrong.tfm: {message}"):
            read()
    good = write_itk_transform(tmp_path / "good.tfm", POSE).read_text()
    path.write_text(good + good.partition("\n")[2])
    with pytest.raises(FileError, match="holds 2 transforms, one is needed"):
        read_itk_transform(path)
    path.write_text(good.replace("AffineTransform", "BSplineTransform"))
    with pytest.raises(FileError, match="holds a BSplineTransform_double_3_3, not a rigid or affine one"):
        read_itk_transform(path)
    with pytest.raises(GeometryError, match="expected a rigid pose"):
        write_itk_transform(tmp_path / "scaled.tfm", np.diag([2.0, 2, 2, 1]))
    with pytest.raises(FileError, match="name it .tfm"):
        write_itk_transform(tmp_path / "pose.mat", POSE)


def test_itk_reads_a_displacement_field_as_a_way_from_frame_to_static(tmp_path):
    shape, affine = (7, 8, 6), affine_of("PSR", (1.5, 2.0, 2.5), oblique=True)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    static_from_frame = exp_pose(np.array([0.1, 0.05, -0.08, 4.0, -3.0, 2.0]))
    displacement = transform(static_from_frame, points) - points
    path = write_displacement_field(tmp_path / "field.nii.gz", displacement, affine)

    field = itk.imread(str(path), itk.Vector[itk.F, 3])
    way = itk.DisplacementFieldTransform[itk.F, 3].New()
    way.SetDisplacementField(field)
    between = np.array([2.3, 4.6, 3.1])
    point = affine[:3, :3] @ between + affine[:3, 3]
    np.testing.assert_allclose(itk_point(way, point), transform(static_from_frame, point), atol=1e-4)
    assert path.read_bytes() == write_displacement_field(tmp_path / "b.nii.gz", displacement, affine).read_bytes()


def test_itk_resamples_a_volume_through_the_written_field(tmp_path):
    affine = affine_of("LAS", (1.0, 1.0, 2.0), oblique=True)
    volume = np.zeros((12, 12, 8), np.float32)
    volume[5, 6, 3] = 1.0
    write_volume(tmp_path / "static.nii.gz", volume, affine)
    # What the frame shows at a voxel lies two voxels further along the first axis in the static scan.
    displacement = np.broadcast_to(2 * affine[:3, 0], (*volume.shape, 3))
    write_displacement_field(tmp_path / "field.nii", displacement, affine)
    static = itk.imread(str(tmp_path / "static.nii.gz"), itk.F)
    field = itk.imread(str(tmp_path / "field.nii"), itk.Vector[itk.F, 3])
    warped = itk.array_from_image(
        itk.warp_image_filter(static, displacement_field=field, output_parameters_from_image=static)
    )
    assert np.unravel_index(warped.T.argmax(), volume.shape) == (3, 6, 3)
    assert warped.max() == pytest.approx(1.0, abs=1e-4)


def test_a_displacement_field_is_named_as_nifti(tmp_path):
    with pytest.raises(FileError, match="name it .nii.gz"):
        write_displacement_field(tmp_path / "field.mha", np.zeros((2, 2, 2, 3)), np.eye(4))
