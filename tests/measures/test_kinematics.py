"""Laws of joint motion: signs on both sides, what moves together, what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import GeometryError
from ankleseg.measures.kinematics import (
    ANGLES,
    COLUMNS,
    JOINTS,
    joint_angles,
    joint_motion,
    motion_rows,
    ranges_of_motion,
)
from ankleseg.volumes.poses import exp_pose, rotation_about, translation

BONES = ("tibia", "talus", "calcaneus")
MIRROR = np.diag([-1.0, 1, 1, 1])
STILL = np.stack([np.eye(4)] * 4)
# directions in which something of a right foot moves when it turns about its own axes, and the angle that grows
TURNS = {"dorsiflexion_deg": (1, 0, 0), "inversion_deg": (0, 1, 0), "internal_rotation_deg": (0, 0, 1)}


def frames(seed: int = 0) -> dict[str, np.ndarray]:
    """Anatomical axes of the three bones, turned from the world's."""
    twists = np.random.default_rng(seed).normal(0, [0.2, 0.2, 0.2, 30, 30, 30], (3, 6))
    return dict(zip(BONES, exp_pose(twists), strict=True))


def walk(seed: int, count: int = 4) -> np.ndarray:
    """Poses all over the place."""
    return exp_pose(np.random.default_rng(seed).normal(0, [0.3, 0.3, 0.3, 40, 40, 40], (count, 6)))


@for_all("angle", ANGLES)
@for_all("side", ["right", "left"])
def test_dorsiflexion_inversion_and_internal_rotation_are_positive_on_both_sides(angle, side):
    # In the world of a right foot, R A S are lateral, anterior, superior. The toes go up, or the sole turns to the
    # midline (its lowest point moves to the left), or the toes turn to the left.
    point, to = {
        "dorsiflexion_deg": ((0, 100, 0), (0, 0, 1)),
        "inversion_deg": ((0, 0, -100), (-1, 0, 0)),
        "internal_rotation_deg": ((0, 100, 0), (-1, 0, 0)),
    }[angle]
    turn = rotation_about(TURNS[angle], 10)
    assert (turn[:3, :3] @ point - point) @ to > 17
    moved = MIRROR @ turn @ MIRROR if side == "left" else turn
    poses = {"tibia": STILL, "talus": np.stack([np.eye(4), moved] * 2), "calcaneus": STILL}
    motion = joint_motion(poses, dict.fromkeys(BONES, np.eye(4)), side)
    expected = [10.0 * (name == angle) for name in ANGLES]
    np.testing.assert_allclose(motion["talocrural"].angles, [np.zeros(3), expected] * 2, atol=1e-9)
    np.testing.assert_allclose(motion["subtalar"].angles[1], -np.array(expected), atol=1e-9)


def test_angles_are_those_of_turns_about_the_moving_axes():
    angles = np.random.default_rng(0).uniform([-170, -85, -170], [170, 85, 170], (35, 3))
    for a, b, c in angles:
        turned = rotation_about((1, 0, 0), a) @ rotation_about((0, 1, 0), b) @ rotation_about((0, 0, 1), c)
        np.testing.assert_allclose(joint_angles(turned[:3, :3]), [a, b, c], atol=1e-9)


@for_all("side", ["right", "left"])
def test_bones_that_move_together_do_not_move_relative_to_each_other(side):
    poses = dict.fromkeys(BONES, walk(1))
    for joint in joint_motion(poses, frames(), side).values():
        np.testing.assert_allclose(joint.angles, 0, atol=1e-9)
        np.testing.assert_allclose(joint.shifts, 0, atol=1e-9)


def test_motion_does_not_depend_on_where_the_leg_lies():
    poses = {bone: walk(seed) for seed, bone in enumerate(BONES)}
    everywhere = walk(9)
    moved = {bone: everywhere @ pose for bone, pose in poses.items()}
    one, other = joint_motion(poses, frames(), "left"), joint_motion(moved, frames(), "left")
    # nor on how the leg lay in the static scan
    static = walk(5, 1)[0]
    third = joint_motion(
        {bone: pose @ np.linalg.inv(static) for bone, pose in poses.items()},
        {bone: static @ frame for bone, frame in frames().items()},
        "left",
    )
    for joint in JOINTS:
        for again in (other, third):
            np.testing.assert_allclose(again[joint].poses, one[joint].poses, atol=1e-9)
            np.testing.assert_allclose(again[joint].shifts, one[joint].shifts, atol=1e-9)


@for_all("zero", ["static", "axes"])
def test_a_mirrored_foot_has_the_same_angles_and_shifts(zero):
    poses = {bone: walk(seed) for seed, bone in enumerate(BONES)}
    mirrored = {bone: MIRROR @ pose @ MIRROR for bone, pose in poses.items()}
    left_frames = {bone: MIRROR @ frame @ MIRROR for bone, frame in frames().items()}
    right, left = (
        joint_motion(poses, frames(), "right", zero=zero),
        joint_motion(mirrored, left_frames, "left", zero=zero),
    )
    for joint in JOINTS:
        np.testing.assert_allclose(left[joint].angles, right[joint].angles, atol=1e-9)
        np.testing.assert_allclose(left[joint].shifts, right[joint].shifts, atol=1e-9)


def test_shifts_are_those_of_the_distal_origin_in_proximal_axes():
    axes = frames()
    poses = {"tibia": walk(2), "talus": walk(3)}
    motion = joint_motion(poses, axes, "right")["talocrural"]
    origin = axes["talus"][:, 3]
    for frame in range(4):
        relative = np.linalg.inv(poses["tibia"][frame]) @ poses["talus"][frame]
        by_hand = np.linalg.inv(axes["tibia"]) @ (relative @ origin - origin)
        np.testing.assert_allclose(motion.shifts[frame], by_hand[:3], atol=1e-9)
    shifted = joint_motion(
        {"tibia": STILL, "talus": translation((3, 4, 5)) @ STILL}, dict.fromkeys(BONES, np.eye(4)), "left"
    )
    np.testing.assert_allclose(shifted["talocrural"].shifts[0], [-3, 4, 5])  # to the right is medial in a left foot


def test_a_turn_about_the_axis_through_the_origin_shifts_nothing():
    axes = frames()
    turn = axes["tibia"] @ rotation_about((1, 0, 0), 25) @ np.linalg.inv(axes["tibia"])
    origin_there = {**axes, "talus": axes["tibia"]}
    motion = joint_motion({"tibia": STILL, "talus": turn @ STILL}, origin_there, "right")["talocrural"]
    np.testing.assert_allclose(motion.angles, [[25, 0, 0]] * 4, atol=1e-9)
    np.testing.assert_allclose(motion.shifts, 0, atol=1e-9)


def test_from_the_axes_the_static_pose_has_the_angles_between_the_frames():
    axes = dict.fromkeys(BONES, np.eye(4))
    axes["talus"] = translation((1, 2, 3)) @ rotation_about((1, 0, 0), -30)
    motion = joint_motion({bone: STILL for bone in BONES}, axes, "right", zero="axes")
    np.testing.assert_allclose(motion["talocrural"].angles, [[-30, 0, 0]] * 4, atol=1e-9)
    np.testing.assert_allclose(motion["talocrural"].shifts, [[1, 2, 3]] * 4, atol=1e-9)
    np.testing.assert_allclose(motion["tibiocalcaneal"].angles, 0, atol=1e-9)


def test_failed_frames_are_missing_and_the_others_stay():
    poses = {bone: walk(seed) for seed, bone in enumerate(BONES)}
    whole = joint_motion(poses, frames(), "right")
    poses["talus"] = poses["talus"].copy()
    poses["talus"][3] = np.nan
    status = {"tibia": ["ok"] * 4, "talus": ["ok", "suspect", "failed", "ok"], "calcaneus": ["suspect"] + ["ok"] * 3}
    motion = joint_motion(poses, frames(), "right", status)
    assert motion["talocrural"].status == ("ok", "suspect", "failed", "failed")
    assert motion["subtalar"].status == ("suspect", "suspect", "failed", "failed")
    assert motion["tibiocalcaneal"].status == ("suspect", "ok", "ok", "ok")
    np.testing.assert_array_equal(motion["talocrural"].angles[:2], whole["talocrural"].angles[:2])
    assert np.isnan(motion["talocrural"].angles[2:]).all()
    rows = motion_rows(motion)
    assert len(rows) == 12 and tuple(rows[0]) == COLUMNS
    assert [row["frame"] for row in rows] == sorted(row["frame"] for row in rows)
    last = rows[-3]
    assert (last["joint"], last["status"], last["dorsiflexion_deg"], last["lateral_mm"]) == (
        "talocrural", "failed", None, None,
    )  # fmt: skip


def test_the_range_of_motion_is_from_least_to_greatest_of_the_frames_that_are_there():
    turns = np.stack([rotation_about((1, 0, 0), degrees) for degrees in (-20, 5, 12, 50)])
    status = {"tibia": ["ok"] * 4, "talus": ["ok", "ok", "ok", "failed"]}
    motion = joint_motion({"tibia": STILL, "talus": turns}, dict.fromkeys(BONES, np.eye(4)), "left", status)
    assert set(motion) == {"talocrural"}  # no pose of the calcaneus
    flexion = ranges_of_motion(motion)[0]
    assert (flexion["joint"], flexion["measure"], flexion["frames"]) == ("talocrural", "dorsiflexion_deg", 3)
    assert [flexion[name] for name in ("least", "greatest", "range")] == pytest.approx([-20, 12, 32])
    status["talus"] = ["failed"] * 4
    empty = joint_motion({"tibia": STILL, "talus": turns}, dict.fromkeys(BONES, np.eye(4)), "left", status)
    assert {row["range"] for row in ranges_of_motion(empty)} == {None}


def test_what_does_not_fit_is_said():
    axes = dict.fromkeys(BONES, np.eye(4))
    with pytest.raises(GeometryError, match="invalid side 'R': expected left or right"):
        joint_motion({"tibia": STILL, "talus": STILL}, axes, "R")
    with pytest.raises(GeometryError, match=r"different numbers of frames \(tibia 4, talus 3\)"):
        joint_motion({"tibia": STILL, "talus": STILL[:3]}, axes, "left")
    with pytest.raises(GeometryError, match="talus has 4 poses and 2 statuses"):
        joint_motion({"tibia": STILL, "talus": STILL}, axes, "left", {"talus": ["ok", "ok"]})
