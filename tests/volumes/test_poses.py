"""Laws of rigid poses."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all
from scipy.linalg import expm

from ankleseg.volumes.poses import (
    displacement_of,
    exp_pose,
    invert_pose,
    is_rigid,
    log_pose,
    mean_pose,
    rotation_about,
    rotation_degrees,
    skew,
    transform,
    translation,
)

ANGLES = (0.0, 1e-12, 1e-8, 5e-5, 1e-4, 2e-4, 1e-2, 0.4, 2.0, 3.1, np.pi - 1e-6)


def twists(angle: float, count: int = 4, seed: int = 0) -> np.ndarray:
    """Random twists with rotations by ``angle`` radians and translation parts of some 100 mm."""
    generator = np.random.default_rng(seed)
    omega = generator.normal(size=(count, 3))
    omega *= angle / np.linalg.norm(omega, axis=1, keepdims=True)
    return np.concatenate([omega, generator.normal(0, 100, (count, 3))], axis=1)


def random_poses(count: int, seed: int = 1) -> np.ndarray:
    return np.concatenate([exp_pose(twists(angle, 1, seed + n)) for n, angle in enumerate(np.linspace(0, 3, count))])


@for_all("angle", ANGLES)
def test_the_exponential_is_that_of_the_4x4_matrix(angle: float):
    for twist in twists(angle):
        generator = np.zeros((4, 4))
        generator[:3, :3], generator[:3, 3] = skew(twist[:3]), twist[3:]
        np.testing.assert_allclose(exp_pose(twist), expm(generator), rtol=1e-9, atol=1e-9)


@for_all("angle", ANGLES)
def test_logarithm_and_exponential_undo_each_other(angle: float):
    twist = twists(angle)
    np.testing.assert_allclose(log_pose(exp_pose(twist)), twist, rtol=1e-6, atol=1e-6)
    pose = exp_pose(twist)
    np.testing.assert_allclose(exp_pose(log_pose(pose)), pose, atol=1e-9)


def test_half_a_turn_has_a_logarithm_that_leads_back():
    pose = rotation_about((1, 2, 3), 180.0, (10, -20, 30))
    np.testing.assert_allclose(exp_pose(log_pose(pose)), pose, atol=1e-9)


def test_stacks_are_treated_one_by_one():
    stack = random_poses(6).reshape(2, 3, 4, 4)
    for index in np.ndindex(2, 3):
        np.testing.assert_allclose(log_pose(stack)[index], log_pose(stack[index]))
        np.testing.assert_allclose(invert_pose(stack)[index] @ stack[index], np.eye(4), atol=1e-12)
        np.testing.assert_allclose(rotation_degrees(stack)[index], rotation_degrees(stack[index]))


@for_all("degrees", [0.0, 1e-6, 0.5, 90.0, 179.999, 180.0])
def test_a_rotation_gives_its_angle_back_and_leaves_its_axis_alone(degrees: float):
    point, axis = np.array([12.0, -7, 3]), np.array([1.0, -2, 0.5])
    pose = rotation_about(axis, degrees, point)
    assert rotation_degrees(pose) == pytest.approx(degrees, abs=1e-6)
    np.testing.assert_allclose(transform(pose, point + 5 * axis), point + 5 * axis, atol=1e-12)


def test_a_rotation_about_a_coordinate_axis_is_right_handed():
    np.testing.assert_allclose(transform(rotation_about((0, 0, 2), 90), np.array([1.0, 0, 5])), [0, 1, 5], atol=1e-12)
    turned = transform(rotation_about((1, 0, 0), 90, (0, 1, 0)), np.array([4.0, 2, 0]))
    np.testing.assert_allclose(turned, [4, 1, 1], atol=1e-12)


def test_points_are_moved_by_one_pose_or_by_each_of_many():
    poses, points = random_poses(5), np.random.default_rng(2).normal(0, 50, (7, 3))
    by_hand = np.einsum("tij,nj->tni", poses[:, :3, :3], points) + poses[:, None, :3, 3]
    np.testing.assert_allclose(transform(poses, points), by_hand)
    np.testing.assert_allclose(transform(poses[2], points), by_hand[2])
    np.testing.assert_allclose(transform(poses, points[4]), by_hand[:, 4])
    np.testing.assert_allclose(transform(poses[3], points[4]), by_hand[3, 4])


def test_poses_compose_as_their_names_read():
    frame_from_talus, talus_from_static = random_poses(3)[1:]
    points = np.random.default_rng(3).normal(0, 50, (4, 3))
    together = transform(frame_from_talus @ talus_from_static, points)
    np.testing.assert_allclose(together, transform(frame_from_talus, transform(talus_from_static, points)), atol=1e-9)


def test_displacement_of_a_shift_is_its_length_everywhere():
    points, pose = np.random.default_rng(4).normal(0, 50, (9, 3)), random_poses(2)[1]
    np.testing.assert_allclose(displacement_of(translation((3, 0, 4)) @ pose, pose, points), 5.0)


def test_the_mean_pose_moves_with_the_poses_and_lies_between_two():
    poses = mean_free = np.stack([exp_pose(0.2 * twist) for twist in twists(1.0, 6)])
    left, right = random_poses(3, seed=9)[1:]
    mean = mean_pose(poses)
    np.testing.assert_allclose(mean_pose(left @ mean_free @ right), left @ mean @ right, atol=1e-8)
    np.testing.assert_allclose(log_pose(invert_pose(mean) @ poses).sum(0), 0, atol=1e-7)
    half = mean_pose(np.stack([rotation_about((0, 1, 0), 10, (5, 0, 0)), rotation_about((0, 1, 0), 50, (5, 0, 0))]))
    np.testing.assert_allclose(half, rotation_about((0, 1, 0), 30, (5, 0, 0)), atol=1e-10)
    first = mean_pose(poses, np.array([1.0, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(first, poses[0], atol=1e-10)


def test_what_is_no_rigid_pose_is_told():
    assert is_rigid(random_poses(3)[2])
    assert not is_rigid(np.diag([1.0, 1, 1.01, 1]))
    assert not is_rigid(np.diag([-1.0, 1, 1, 1]))
    assert not is_rigid(np.full((4, 4), np.nan))
    perspective = np.eye(4)
    perspective[3, 0] = 0.1
    assert not is_rigid(perspective)
