"""Laws of the judgement: every criterion has its status and its reason, and nothing that is unknown is trusted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import for_all

from ankleseg.rigid.quality import Criteria, apart, judge
from ankleseg.rigid.register import Registered
from ankleseg.volumes.poses import rotation_about, translation

POINTS = np.random.default_rng(0).uniform(-15, 15, (60, 3)) + np.array([40.0, -20, 10])
FRAMES = 7
GOOD = {"correlation": 0.9, "explained": 0.8, "overlap": 1.0, "error_mm": 0.1, "error_degrees": 0.3}


def steady() -> np.ndarray:
    """A turn and a shift of the same size from each frame to the next."""
    step = translation((1.5, 0, -1)) @ rotation_about((0, 1, 2), 3, (10, 0, 0))
    return np.stack([np.linalg.matrix_power(step, frame) for frame in range(FRAMES)])


def registered(poses: np.ndarray | None = None, **changed: tuple[int, float]) -> Registered:
    """A good registration but for one number on one frame each."""
    stacks = {name: np.full(FRAMES, value) for name, value in GOOD.items()}
    for name, (frame, value) in changed.items():
        stacks[name][frame] = value
    return Registered(steady() if poses is None else poses, **stacks)


def told(bone: Registered, whole: Registered | None = None, criteria: Criteria | None = None, **named):
    return judge(bone, whole or registered(), POINTS, criteria or Criteria(), **named)


def test_what_is_good_is_ok() -> None:
    for verdict in told(registered()):
        assert (verdict.status, verdict.reason) == ("ok", "")
        assert verdict.step_mm == pytest.approx(0, abs=1e-5) and verdict.step_degrees == pytest.approx(0, abs=1e-4)


@for_all(
    ("name", "suspect", "failed", "reason"),
    [
        ("overlap", 0.69, 0.39, "lies outside the field of view"),
        ("explained", 0.49, 0.24, "the frame does not show it"),
        ("error_mm", 0.41, 1.51, "its place is hardly determined"),
        ("error_degrees", 1.01, 4.01, "its rotation is hardly determined"),
    ],
)
def test_each_number_has_its_limits(name: str, suspect: float, failed: float, reason: str) -> None:
    for value, status in ((suspect, "suspect"), (failed, "failed")):
        verdicts = told(registered(**{name: (3, value)}))
        assert (verdicts[3].status, verdicts[3].reason) == (status, reason)
        assert {verdict.status for frame, verdict in enumerate(verdicts) if frame != 3} == {"ok"}
    limits = getattr(Criteria(), name)
    assert told(registered(**{name: (3, limits[0])}))[3].status == "ok", "the limit itself is still good"
    assert told(registered(**{name: (3, limits[1])}))[3].status == "suspect"


@for_all("name", ["overlap", "explained"])
def test_a_share_that_is_not_known_is_not_trusted(name: str) -> None:
    assert told(registered(**{name: (2, np.nan)}))[2].status == "failed"


def test_the_worst_decides_and_all_reasons_are_told() -> None:
    verdict = told(registered(overlap=(1, 0.6), explained=(1, 0.1)))[1]
    assert verdict.status == "failed"
    assert verdict.reason == "lies outside the field of view; the frame does not show it"


@for_all(("shift", "status"), [(6.0, "suspect"), (16.0, "failed")])
@for_all("frame", [0, 3, FRAMES - 1])
def test_a_jump_is_measured_from_where_the_frames_beside_say(shift: float, status: str, frame: int) -> None:
    poses = steady()
    poses[frame] = translation((0, shift, 0)) @ poses[frame]
    verdicts = told(registered(poses))
    assert (verdicts[frame].status, verdicts[frame].reason) == (status, "jumps between frames")
    assert verdicts[frame].step_mm == pytest.approx(shift, abs=0.01)
    assert verdicts[frame].step_degrees == pytest.approx(0, abs=0.01)
    for other, verdict in enumerate(verdicts):
        if abs(other - frame) > 2:
            assert verdict.status == "ok", "frames further off are not blamed"


def test_a_turn_in_place_is_told_in_degrees() -> None:
    poses = steady()
    poses[3] = poses[3] @ rotation_about((1, 0, 0), 8, POINTS.mean(0))
    verdict = told(registered(poses))[3]
    assert verdict.step_degrees == pytest.approx(8, abs=0.01) and 0.5 < verdict.step_mm < 3


def test_an_unusable_frame_fails_and_its_neighbours_look_across_it() -> None:
    poses = steady()
    poses[3] = translation((0, 300, 0))  # what is found on an empty frame is of no meaning
    verdicts = told(registered(poses), unusable=(3,))
    assert (verdicts[3].status, verdicts[3].reason) == ("failed", "the frame cannot be used")
    assert np.isnan(verdicts[3].step_mm) and np.isnan(verdicts[3].step_degrees)
    assert {verdict.status for frame, verdict in enumerate(verdicts) if frame != 3} == {"ok"}


def test_the_gate_is_the_correlation_over_the_foot() -> None:
    foot = registered(correlation=(2, 0.6))
    assert told(registered(), foot)[2].status == "ok", "it is off unless asked for"
    verdicts = told(registered(correlation=(4, 0.1)), foot, Criteria(gate=0.64))
    assert (verdicts[2].status, verdicts[2].reason) == ("failed", "the correlation over the foot is below 0.64")
    assert verdicts[4].status == "ok"
    unknown = replace(foot, correlation=np.full(FRAMES, np.nan))
    assert told(registered(), unknown, Criteria(gate=0.64))[0].status == "failed"


def test_two_frames_have_no_jump() -> None:
    short = Registered(steady()[:2], **{name: np.full(2, value) for name, value in GOOD.items()})
    verdicts = judge(short, short, POINTS, Criteria())
    assert [verdict.status for verdict in verdicts] == ["ok", "ok"]
    assert all(np.isnan(verdict.step_mm) for verdict in verdicts)


def test_a_bone_that_is_lost_is_told_and_not_its_neighbours() -> None:
    points = {"tibia": POINTS, "talus": POINTS - [0, 32, 0], "calcaneus": POINTS - [0, 64, 0]}
    poses = {bone: steady() for bone in points}
    for gap in apart(poses, points).values():
        np.testing.assert_allclose(gap, 0, atol=1e-9)
    poses["talus"] = poses["talus"].copy()
    poses["talus"][2] = translation((0, 0, 40)) @ poses["talus"][2]
    gaps = apart(poses, points)
    assert gaps["talus"][2] == pytest.approx(40)
    assert gaps["tibia"].max() < 1e-6 and gaps["calcaneus"].max() < 1e-6
    verdicts = told(registered(), apart_mm=gaps["talus"] * (np.arange(FRAMES) == 2))
    assert (verdicts[2].status, verdicts[2].reason) == ("failed", "has left the bones beside it")
    assert told(registered(), apart_mm=np.full(FRAMES, 16.0))[0].status == "suspect"
    assert apart({"talus": steady()}, {"talus": POINTS}) == {}
