"""Laws of smoothing poses."""

from __future__ import annotations

import numpy as np
import pytest
from laws import for_all

from ankleseg.errors import GeometryError
from ankleseg.measures.pose_smoothing import smooth_poses
from ankleseg.volumes.poses import exp_pose, invert_pose, log_pose, rotation_about, rotation_degrees

POSE = exp_pose(np.array([0.4, -0.2, 0.7, 30.0, -60.0, 15.0]))


def cycle(count: int = 15, amplitude: float = 25.0, cycles: int = 1) -> np.ndarray:
    turns = amplitude * np.sin(2 * np.pi * cycles * np.arange(count) / count)
    return np.stack([POSE @ rotation_about((1, -0.1, -0.07), turn, (4, 5, 6)) for turn in turns])


def turned(poses: np.ndarray) -> np.ndarray:
    """The angle of each pose about the axis of the cycle."""
    return np.degrees(log_pose(np.linalg.inv(POSE) @ poses)[:, 0])


@for_all("cyclic", [False, True])
def test_a_constant_pose_stays(cyclic):
    np.testing.assert_allclose(smooth_poses(np.stack([POSE] * 9), cyclic=cyclic), np.stack([POSE] * 9), atol=1e-9)


def test_a_steady_screw_stays_where_the_ends_are_free():
    screw = np.stack([POSE @ exp_pose(step * np.array([0.02, 0.01, 0.05, 1.0, 2.0, 3.0])) for step in range(-6, 7)])
    np.testing.assert_allclose(smooth_poses(screw, period=9), screw, atol=1e-7)


@for_all(("cycles", "gain"), [(1, 0.97), (3, 0.5)])
def test_an_oscillation_of_the_period_is_halved_and_slow_ones_stay(cycles, gain):
    poses = cycle(30, 10, 2 * cycles)  # 15 frames a cycle, or 5
    smooth = turned(smooth_poses(poses, period=5, cyclic=True))
    assert np.ptp(smooth) / np.ptp(turned(poses)) == pytest.approx(gain, abs=0.03)


@for_all("cyclic", [False, True])
def test_smoothing_does_not_depend_on_the_origin_of_either_world(cyclic):
    generator = np.random.default_rng(0)
    poses = cycle() @ exp_pose(generator.normal(0, [0.02] * 3 + [1.0] * 3, (15, 6)))
    weights = generator.uniform(0.2, 1, 15)
    before, after = exp_pose(generator.normal(0, [1.0] * 3 + [100.0] * 3, (2, 6)))
    moved = smooth_poses(before @ poses @ after, weights, cyclic=cyclic)
    np.testing.assert_allclose(moved, before @ smooth_poses(poses, weights, cyclic=cyclic) @ after, atol=1e-6)


def test_noise_shrinks_and_a_gap_is_filled():
    generator = np.random.default_rng(1)
    truth = cycle()
    noisy = truth @ exp_pose(generator.normal(0, [0.02] * 3 + [0.5] * 3, (15, 6)))
    smooth = smooth_poses(noisy, cyclic=True)
    errors = [np.mean(rotation_degrees(invert_pose(truth) @ poses)) for poses in (noisy, smooth)]
    assert errors[1] < 0.7 * errors[0]
    holed = truth.copy()
    holed[4] = np.nan
    weights = np.ones(15)
    weights[9] = 0
    holed[9] = rotation_about((0, 0, 1), 170)  # wrong, and weighted as such
    filled = smooth_poses(holed, weights, cyclic=True)
    assert rotation_degrees(invert_pose(truth[4]) @ filled[4]) < 2
    assert rotation_degrees(invert_pose(truth[9]) @ filled[9]) < 2


def test_what_cannot_be_smoothed_is_said():
    few = np.stack([POSE, POSE, np.full((4, 4), np.nan), np.full((4, 4), np.nan)])
    with pytest.raises(GeometryError, match="2 poses are too few to be smoothed"):
        smooth_poses(few)
    with pytest.raises(GeometryError, match="invalid period of 2 frames: expected at least 2.5"):
        smooth_poses(cycle(), period=2)
