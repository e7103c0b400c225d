"""Helical axes: of known turns about known lines, and their spread."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import GeometryError
from ankleseg.measures.helical_axes import HelicalAxis, finite_helical_axes, helical_axis, mean_helical_axis
from ankleseg.measures.kinematics import joint_motion
from ankleseg.volumes.poses import exp_pose, rotation_about, translation

LINE, POINT = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8]), np.array([10.0, -20.0, 5.0])


@for_all("degrees", [0.01, 3.0, 90.0, 175.0])
@for_all("slide", [0.0, -4.0])
def test_a_turn_about_a_known_line_and_a_slide_along_it_are_found(degrees, slide):
    pose = translation(slide * LINE) @ rotation_about(LINE, degrees, POINT)
    near = np.array([3.0, 2.0, 1.0])
    axis = helical_axis(pose, near)
    np.testing.assert_allclose(axis.direction, LINE, atol=1e-6)
    assert (axis.angle_deg, axis.slide_mm) == pytest.approx((degrees, slide), abs=1e-5)
    expected = POINT + LINE * ((near - POINT) @ LINE)
    np.testing.assert_allclose(axis.point, expected, atol=1e-3)


def test_the_axis_moves_with_the_world():
    pose = exp_pose(np.array([0.3, 0.1, -0.4, 5.0, 3.0, -2.0]))
    world = exp_pose(np.array([1.0, -0.5, 0.3, 40.0, 20.0, -60.0]))
    axis, moved = helical_axis(pose), helical_axis(world @ pose @ np.linalg.inv(world), world[:3, 3])
    np.testing.assert_allclose(moved.direction, world[:3, :3] @ axis.direction, atol=1e-9)
    np.testing.assert_allclose(moved.point, world[:3, :3] @ axis.point + world[:3, 3], atol=1e-8)
    assert (moved.angle_deg, moved.slide_mm) == pytest.approx((axis.angle_deg, axis.slide_mm))


def test_a_shift_has_no_axis():
    with pytest.raises(GeometryError, match="a motion that does not turn has no axis; take frames farther apart"):
        helical_axis(translation((1, 2, 3)))


def hinge(turns: list[float], side: str = "right"):
    """A talus that turns about a fixed line on a tibia that moves."""
    mirror = np.diag([-1.0, 1, 1, 1]) if side == "left" else np.eye(4)
    tibia = exp_pose(np.random.default_rng(0).normal(0, [0.1] * 3 + [10.0] * 3, (len(turns), 6)))
    talus = tibia @ np.stack([rotation_about(LINE, turn, POINT) for turn in turns])
    poses = {"tibia": mirror @ tibia @ mirror, "talus": mirror @ talus @ mirror}
    return joint_motion(poses, {"tibia": np.eye(4), "talus": np.eye(4)}, side)["talocrural"]


@for_all("side", ["right", "left"])
def test_a_hinge_has_one_axis_however_it_turns_and_on_both_sides(side):
    axes = finite_helical_axes(hinge([0, 6, 12, 9, 3, -8, -2], side), step_degrees=5)
    assert [axis.frames for axis in axes] == [(0, 1), (1, 2), (2, 4), (3, 4), (4, 5), (5, 6)]
    assert [axis.angle_deg for axis in axes] == pytest.approx([6, 6, -9, -6, -11, 6])
    mean = mean_helical_axis(axes)
    np.testing.assert_allclose(mean.direction, LINE, atol=1e-9)  # its largest component is positive
    assert (mean.spread_deg, mean.spread_mm) == pytest.approx((0, 0), abs=1e-5)
    np.testing.assert_allclose(mean.point, POINT - LINE * (POINT @ LINE), atol=1e-6)
    assert mean.count == 6


def test_small_steps_and_missing_frames_give_no_axis():
    motion = hinge([0, 1, 2, 3])
    assert finite_helical_axes(motion, step_degrees=5) == []
    motion.poses[1:] = np.nan
    assert finite_helical_axes(motion, step_degrees=0.5) == []
    with pytest.raises(GeometryError, match="no axis is given"):
        mean_helical_axis([])


def test_the_spread_of_two_axes_is_half_the_angle_and_half_the_distance_between_them():
    tilt = np.radians(10)
    axes = [
        HelicalAxis(np.array([np.cos(tilt), sign * np.sin(tilt), 0]), np.array([0.0, 0, sign * 3]), 20.0, 0.0)
        for sign in (1, -1)
    ]
    mean = mean_helical_axis(axes)
    np.testing.assert_allclose(mean.direction, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(mean.point, 0, atol=1e-9)
    assert (mean.spread_deg, mean.spread_mm) == pytest.approx((10, 3))
    reverse = [axes[0], HelicalAxis(-axes[1].direction, axes[1].point, -20.0, 0.0)]
    np.testing.assert_allclose(mean_helical_axis(reverse).direction, mean.direction, atol=1e-12)
    # a step of half the size counts for about a quarter
    lopsided = mean_helical_axis([axes[0], HelicalAxis(axes[1].direction, axes[1].point, 10.0, 0.0)])
    assert lopsided.direction @ axes[0].direction > lopsided.direction @ axes[1].direction
