"""Which registrations can be trusted, told from the data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float

from ankleseg.rigid.register import Registered
from ankleseg.volumes.poses import exp_pose, invert_pose, log_pose, rotation_degrees, transform

Status = Literal["ok", "suspect", "failed"]
STATUSES: tuple[Status, ...] = ("ok", "suspect", "failed")


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What a registration must fulfil; beyond the first number of a pair it is suspect, beyond the second failed.

    Args:
        overlap: share of the bone inside the frame's field of view, at least.
        explained: share of the frame's variance over the bone that the posed scan explains, at least.
        error_mm: standard error of the pose over the bone, at most; large where the similarity is flat.
        error_degrees: standard error of the rotation, at most.
        jump_mm: distance over the bone from the pose half-way between those of the frames beside it, at most.
        apart_mm: distance by which a bone has left the bones beside it, at most.
        gate: least correlation of frame and posed scan over the whole foot; the published one is 0.64 (Coupeau 2020),
            which depends on the contrast of both scans. None leaves it out.
    """

    overlap: Sequence[float] = (0.7, 0.4)
    explained: Sequence[float] = (0.6, 0.3)
    error_mm: Sequence[float] = (0.4, 1.5)
    error_degrees: Sequence[float] = (1.0, 4.0)
    jump_mm: Sequence[float] = (5.0, 15.0)
    apart_mm: Sequence[float] = (15.0, 30.0)
    gate: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What is thought of one bone on one frame.

    Attributes:
        status: ``ok``, ``suspect`` or ``failed``.
        reason: why it is not ok, else empty.
        step_mm, step_degrees: how far the pose lies from half-way between those of the frames beside it; NaN for a
            sequence of fewer than three frames.
    """

    status: Status
    reason: str
    step_mm: float
    step_degrees: float


def judge(
    bone: Registered,
    whole: Registered,
    points: Float[np.ndarray, "n 3"],
    criteria: Criteria,
    *,
    apart_mm: Float[np.ndarray, "t"] | None = None,
    unusable: Sequence[int] = (),
) -> list[Verdict]:
    """Judge a bone on every frame.

    Args:
        bone, whole: registration of the bone and of the whole foot.
        points: of the bone in the static scan, mm.
        criteria: limits.
        apart_mm: how far the bone has left its neighbours, of `apart`; None leaves it out.
        unusable: frames that hold no image.
    """
    frames = len(bone.frame_from_static)
    step_mm, step_degrees = _steps(bone.frame_from_static, points, unusable)
    verdicts = []
    for frame in range(frames):
        if frame in unusable:
            verdicts.append(Verdict("failed", "the frame cannot be used", np.nan, np.nan))
            continue
        told = [
            ("lies outside the field of view", _least(bone.overlap[frame], criteria.overlap)),
            ("the frame does not show it", _least(bone.explained[frame], criteria.explained)),
            ("its place is hardly determined", _most(bone.error_mm[frame], criteria.error_mm)),
            ("its rotation is hardly determined", _most(bone.error_degrees[frame], criteria.error_degrees)),
            ("jumps between frames", _most(step_mm[frame], criteria.jump_mm)),
        ]
        if apart_mm is not None:
            told.append(("has left the bones beside it", _most(apart_mm[frame], criteria.apart_mm)))
        if criteria.gate is not None and not whole.correlation[frame] >= criteria.gate:
            told.append((f"the correlation over the foot is below {criteria.gate:g}", 2))
        worst = max(level for _, level in told)
        reasons = "; ".join(text for text, level in told if level)
        verdicts.append(Verdict(STATUSES[worst], reasons, float(step_mm[frame]), float(step_degrees[frame])))
    return verdicts


def apart(
    poses: Mapping[str, Float[np.ndarray, "t 4 4"]], points: Mapping[str, Float[np.ndarray, "n 3"]]
) -> dict[str, Float[np.ndarray, "t"]]:
    """Return how far each bone has moved away from the bones beside it, in mm; empty for a single bone.

    The place half-way between the nearest points of two bones is moved by the poses of both; of a bone's distances to
    all others the least counts, so that a bone that is lost is told, and not its neighbours.

    Args:
        poses: ``frame_from_static``.
        points: of each bone in the static scan, mm.
    """
    from scipy.spatial import cKDTree

    away: dict[str, list[np.ndarray]] = {bone: [] for bone in poses}
    for first, second in combinations(poses, 2):
        distance, nearest = cKDTree(points[second]).query(points[first])
        closest = int(np.argmin(distance))
        middle = (points[first][closest] + points[second][nearest[closest]]) / 2
        places = [transform(poses[bone], middle[None])[:, 0] for bone in (first, second)]
        gap = np.linalg.norm(places[0] - places[1], axis=1)
        away[first].append(gap)
        away[second].append(gap)
    return {bone: np.min(gaps, axis=0) for bone, gaps in away.items() if gaps}


def _least(value: float, limits: Sequence[float]) -> int:
    return 2 if not value >= limits[1] else 1 if value < limits[0] else 0


def _most(value: float, limits: Sequence[float]) -> int:
    if np.isnan(value):
        return 0
    return 2 if not value <= limits[1] else 1 if value > limits[0] else 0


def _steps(poses: np.ndarray, points: np.ndarray, unusable: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every pose from the middle of those beside it; at the ends from its own neighbours' continuation."""
    count = len(poses)
    known = [frame for frame in range(count) if frame not in unusable]
    step_mm, step_degrees = np.full(count, np.nan), np.full(count, np.nan)
    for place, frame in enumerate(known):
        if len(known) < 3:
            break
        if 0 < place < len(known) - 1:
            before, after = known[place - 1], known[place + 1]
            share = (frame - before) / (after - before)
        else:  # the ends continue the motion of the two frames beside them
            before, after = (known[1], known[2]) if place == 0 else (known[-2], known[-3])
            share = (frame - before) / (after - before)
        step = log_pose(poses[after] @ invert_pose(poses[before]))
        expected = exp_pose(share * step) @ poses[before]
        step_mm[frame] = np.linalg.norm(transform(poses[frame], points) - transform(expected, points), axis=1).mean()
        step_degrees[frame] = rotation_degrees(invert_pose(expected) @ poses[frame])
    return step_mm, step_degrees
