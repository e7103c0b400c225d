"""Laws of polyrigid blending: rigid in bones, smooth between them, the same wherever the world's origin is."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ankleseg.errors import GeometryError
from ankleseg.measures.deformation import folded_share, jacobian_determinant
from ankleseg.rigid.polyrigid import polyrigid_image, polyrigid_pullback
from ankleseg.rigid.residual import Residual
from ankleseg.rigid.static_bones import static_bones
from ankleseg.rigid.warping import warp
from ankleseg.volumes.poses import exp_pose, invert_pose, mean_pose, rotation_about, transform, translation

SHAPE, AFFINE = (64, 72, 24), np.diag([-1.0, 0.9, 2.0, 1.0])  # left-handed, voxels no cubes
AFFINE[:3, 3] = (30.0, -32.0, -22.0)
FINE_SHAPE, FINE = (150, 150, 40), np.diag([0.4, 0.4, 1.1, 1.0])
FINE[:3, 3] = (-30.0, -30.0, -20.0)


def points_of(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def boxes() -> dict[str, np.ndarray]:
    """Two blocks, one above the other, 4 mm apart."""
    x, y, z = np.moveaxis(points_of(SHAPE, AFFINE), -1, 0)
    beam = (np.abs(x) < 9) & (np.abs(z) < 9)
    return {"tibia": beam & (y > 2) & (y < 26), "talus": beam & (y < -2) & (y > -20)}


def poses(turn: float) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The leg moves, and the lower block turns about the x axis, as a joint does; and a pose of the whole."""
    leg = rotation_about((0.2, 1, 0.3), 9, (3, 0, 0)) @ translation((2, -3, 1))
    bones = {"tibia": leg, "talus": leg @ rotation_about((1, 0, 0), turn, (0, -12, 0))}
    return bones, mean_pose(np.stack(list(bones.values())))


def inside_bone(mask: np.ndarray, static_points: np.ndarray) -> np.ndarray:
    voxels = np.round((static_points - AFFINE[:3, 3]) / np.diag(AFFINE)[:3]).astype(int)
    there = ((voxels >= 0) & (voxels < SHAPE)).all(-1)
    result = np.zeros(there.shape, bool)
    result[there] = mask[tuple(voxels[there].T)]
    return result


@for_all("decay", ["rational", "logistic"])
def test_every_bone_moves_exactly_as_its_pose_says_on_grids_fine_and_coarse(decay):
    masks, (bones, whole) = boxes(), poses(20)
    prepared = static_bones(masks, AFFINE)
    coarse = translation((-30, -30, -20)) @ np.diag([4.0, 4, 4, 1])
    for shape, affine in ((FINE_SHAPE, FINE), ((16, 16, 12), coarse)):
        displacement = polyrigid_pullback(prepared, bones, whole, shape, affine, decay=decay)
        points = points_of(shape, affine)
        for bone, pose in bones.items():
            static = transform(invert_pose(pose), points.reshape(-1, 3)).reshape(points.shape)
            chosen = inside_bone(masks[bone], static)
            assert chosen.sum() > 20
            assert np.abs(points + displacement - static)[chosen].max() < 0.02


def test_what_soft_tissue_does_beyond_the_blend_moves_no_bone_and_acts_in_full_away_from_them():
    masks, (bones, whole) = boxes(), poses(10)
    prepared = static_bones(masks, AFFINE)
    shift = np.array([2.0, -2.0, 1.5], np.float32)
    residual = Residual(np.broadcast_to(shift, (2, 2, 2, 3)), np.diag([100.0, 100, 100, 1]))
    field = polyrigid_pullback(prepared, bones, whole, FINE_SHAPE, FINE, residual=residual)
    points, near = points_of(FINE_SHAPE, FINE), np.zeros(FINE_SHAPE, bool)
    for bone, pose in bones.items():
        static = transform(invert_pose(pose), points.reshape(-1, 3)).reshape(points.shape)
        chosen = inside_bone(masks[bone], static)
        assert np.abs(points + field - static)[chosen].max() < 0.02
        near |= chosen
    assert folded_share(jacobian_determinant(np.moveaxis(field, -1, 0), FINE)) < 5e-4
    far = distance_transform_edt(~near, sampling=np.diag(FINE)[:3]) > 7
    moved = FINE.copy()
    moved[:3, 3] += shift
    there = polyrigid_pullback(prepared, bones, whole, FINE_SHAPE, moved)
    np.testing.assert_allclose(field[far], (there + shift)[far], atol=0.25)  # of nodes 3 mm apart


def test_with_one_bone_everything_is_rigid():
    masks, pose = boxes(), exp_pose(np.array([0.5, -0.4, 0.3, 30.0, -20.0, 10.0]))
    displacement = polyrigid_pullback(
        static_bones(masks, AFFINE), {"talus": pose}, translation((9, 9, 9)), FINE_SHAPE, FINE
    )
    points = points_of(FINE_SHAPE, FINE)
    static = transform(invert_pose(pose), points.reshape(-1, 3)).reshape(points.shape)
    np.testing.assert_allclose(points + displacement, static, atol=2e-3)


def test_bones_that_move_alike_carry_everything_with_them():
    pose = exp_pose(np.array([0.1, 0.4, -0.3, 5.0, 6.0, -7.0]))
    displacement = polyrigid_pullback(
        static_bones(boxes(), AFFINE), {"tibia": pose, "talus": pose}, np.eye(4), FINE_SHAPE, FINE
    )
    points = points_of(FINE_SHAPE, FINE)
    static = transform(invert_pose(pose), points.reshape(-1, 3)).reshape(points.shape)
    np.testing.assert_allclose(points + displacement, static, atol=2e-3)


def test_a_further_common_motion_moves_the_field_along():
    prepared, (bones, whole) = static_bones(boxes(), AFFINE), poses(20)
    shape, affine = (20, 20, 14), np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-30, -30, -20)
    first = points_of(shape, affine) + polyrigid_pullback(prepared, bones, whole, shape, affine)
    more = rotation_about((1, 2, 3), 170, (40, 0, 0))  # far from small
    moved = {bone: more @ pose for bone, pose in bones.items()}
    second = points_of(shape, more @ affine) + polyrigid_pullback(prepared, moved, more @ whole, shape, more @ affine)
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_half_way_between_two_bones_is_half_the_motion():
    masks = boxes()
    bones = {"tibia": np.eye(4), "talus": translation((0, -4, 0))}
    prepared = static_bones(masks, AFFINE)
    affine = translation((0, -2.0, 0))  # the middle of the gap, which has become 8 mm wide
    displacement = polyrigid_pullback(prepared, bones, mean_pose(np.stack(list(bones.values()))), (1, 1, 1), affine)
    np.testing.assert_allclose(displacement[0, 0, 0], [0, 2, 0], atol=0.25)


def test_between_the_nodes_the_field_is_near_the_exact_one_and_it_does_not_fold():
    prepared, (bones, whole) = static_bones(boxes(), AFFINE), poses(10)
    field = polyrigid_pullback(prepared, bones, whole, FINE_SHAPE, FINE)
    for start in (0, 1, 2):
        # every ninth voxel, on a grid so coarse that each is computed
        coarse = FINE @ np.diag([9.0, 9, 9, 1])
        coarse[:3, 3] = (FINE @ [start, start, start, 1])[:3]
        exact = polyrigid_pullback(prepared, bones, whole, (16, 16, 4), coarse)
        assert np.abs(field[start::9, start::9, start::9][:16, :16, :4] - exact).max() < 0.25
    assert jacobian_determinant(np.moveaxis(field, -1, 0), FINE).min() > 0


@for_all("order", [1, 3])
def test_a_zero_field_warps_nothing_and_a_shift_shifts(order):
    volume = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    same = warp(volume, AFFINE, np.zeros((*SHAPE, 3), np.float32), AFFINE, order=order)
    np.testing.assert_allclose(same, volume, atol=1e-4)
    shift = np.broadcast_to((2 * AFFINE[:3, 0]).astype(np.float32), (*SHAPE, 3))
    moved = warp(volume, AFFINE, shift, AFFINE, order=order)
    np.testing.assert_allclose(moved[:-2], volume[2:], atol=1e-4)
    np.testing.assert_array_equal(moved[-2:], 0)


def test_a_bone_in_the_warped_volume_is_where_its_pose_puts_it():
    masks, (bones, whole) = boxes(), poses(20)
    field = polyrigid_pullback(static_bones(masks, AFFINE), bones, whole, FINE_SHAPE, FINE)
    for bone, pose in bones.items():
        warped = warp(masks[bone].astype(np.float32), AFFINE, field, FINE)
        centre = transform(pose, points_of(SHAPE, AFFINE)[masks[bone]].mean(0))
        found = np.average(points_of(FINE_SHAPE, FINE).reshape(-1, 3), axis=0, weights=warped.ravel())
        np.testing.assert_allclose(found, centre, atol=0.3)


@for_all(("shape", "affine"), [(FINE_SHAPE, FINE), ((16, 16, 12), np.diag([4.0, 4, 4, 1]))])
def test_the_moved_image_is_the_volume_warped_by_the_field(shape, affine):
    masks, (bones, whole) = boxes(), poses(20)
    volume = gaussian_filter(np.random.default_rng(1).random(SHAPE), 1).astype(np.float32)
    prepared = static_bones(masks, AFFINE)
    field = polyrigid_pullback(prepared, bones, whole, shape, affine)
    image = polyrigid_image(volume, AFFINE, prepared, bones, whole, shape, affine)
    np.testing.assert_allclose(image, warp(volume, AFFINE, field, affine), atol=1e-4)


def test_deep_within_a_bone_as_at_its_surface_the_pose_is_exact():
    """No voxel is computed within a bone; what is interpolated there is the pose all the same."""
    masks, (bones, whole) = boxes(), poses(25)
    shape, affine = (60, 60, 50), translation((-15, -15, -12)) @ np.diag([0.5, 0.5, 0.5, 1])
    points = points_of(shape, affine)
    static = points + polyrigid_pullback(static_bones(masks, AFFINE), bones, whole, shape, affine)
    for bone, pose in bones.items():
        exact = transform(invert_pose(pose), points.reshape(-1, 3)).reshape(points.shape)
        chosen = inside_bone(masks[bone], exact)
        assert chosen.sum() > 1000
        assert np.abs(static - exact)[chosen].max() < 0.02


def test_what_cannot_be_blended_is_said():
    prepared, (bones, whole) = static_bones(boxes(), AFFINE), poses(5)
    with pytest.raises(
        GeometryError, match="got a pose of fibula, whose mask is not there; give poses of tibia, talus"
    ):
        polyrigid_pullback(prepared, {"fibula": np.eye(4)}, whole, SHAPE, AFFINE)
    with pytest.raises(GeometryError, match="got no pose of a bone"):
        polyrigid_pullback(prepared, {}, whole, SHAPE, AFFINE)
    with pytest.raises(GeometryError, match="got a pose that is not finite; leave out bones whose registration failed"):
        polyrigid_pullback(prepared, {**bones, "tibia": np.full((4, 4), np.nan)}, whole, SHAPE, AFFINE)
    with pytest.raises(GeometryError, match="the mask of the talus is empty"):
        static_bones({"talus": np.zeros(SHAPE, bool)}, AFFINE)
