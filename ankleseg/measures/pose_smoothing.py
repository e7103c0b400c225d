"""Smoothing of poses over time, on the group of rigid motions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ankleseg.errors import GeometryError
from ankleseg.volumes.poses import exp_pose, invert_pose, log_pose, mean_pose

LEAST_PERIOD = 2.5  # frames; two is the fastest that frames can show


def smooth_poses(
    poses: Float[np.ndarray, "t 4 4"],
    weights: Float[np.ndarray, " t"] | None = None,
    *,
    period: float = 5.0,
    cyclic: bool = False,
) -> Float[np.ndarray, "t 4 4"]:
    """Smooth a sequence of poses, and fill the frames that have none.

    With ``M`` the mean pose and twists ``ξ_t = log(M⁻¹ T_t)``, the twists ``z`` that minimise
    ``Σ w_t |ξ_t − z_t|² + λ Σ |z_{t−1} − 2 z_t + z_{t+1}|²`` give ``M exp(z_t)``. Every coordinate of the twists is
    treated alike, so the result does not depend on where the origin of the world lies.

    Args:
        poses: ``frame_from_static``, mm; NaN where there is none.
        weights: of the frames, 0 leaves one out; None: 1 wherever there is a pose.
        period: frames of an oscillation that is halved (λ = (2 sin(π / period))⁻⁴); slower ones stay, faster ones go.
        cyclic: whether the first frame follows the last.

    Raises:
        GeometryError: fewer than three poses, or a period below 2.5 frames.

    Source: Whittaker 1923 and Eilers 2003 (the smoother), on the twists about the mean (Arsigny et al. 2009).
    """
    poses = np.asarray(poses, float)
    there = np.isfinite(poses).all((1, 2))
    share = there.astype(float) if weights is None else np.where(there, np.asarray(weights, float), 0.0)
    kept = share > 0
    if kept.sum() < 3:
        raise GeometryError(f"{kept.sum()} poses are too few to be smoothed", mend="use them as they are")
    if period < LEAST_PERIOD:
        raise GeometryError(f"invalid period of {period:g} frames: expected at least {LEAST_PERIOD:g}")
    mean = mean_pose(poses[kept], share[kept])
    twists = np.zeros((len(poses), 6))
    twists[kept] = log_pose(invert_pose(mean) @ poses[kept])
    count = len(poses)
    bends = np.eye(count) * -2 + np.roll(np.eye(count), 1, 1) + np.roll(np.eye(count), -1, 1)
    if not cyclic:
        bends = bends[1:-1]
    strength = (2 * np.sin(np.pi / period)) ** -4
    normal = np.diag(share) + strength * bends.T @ bends
    return mean @ exp_pose(np.linalg.solve(normal, share[:, None] * twists))
