"""Rigid poses: 4×4 world-to-world matrices in mm, named ``<to>_from_<from>``, and their logarithms.

A twist is (rotation vector in radians, translation part in mm); ``pose = exp(twist)`` in closed form (Murray, Li and
Sastry 1994, proposition 2.9). Poses compose as their names read: ``a_from_c = a_from_b @ b_from_c``. Every function
takes stacks of poses along leading axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Pose = Float[np.ndarray, "*stack 4 4"]
Twist = Float[np.ndarray, "*stack 6"]

SMALL = 1e-4  # radians, below which series replace quotients of small numbers


def exp_pose(twist: Twist) -> Pose:
    """Return the pose a twist leads to."""
    twist = np.asarray(twist, float)
    omega, velocity = twist[..., :3], twist[..., 3:]
    angle = np.linalg.norm(omega, axis=-1)[..., None, None]
    cross = skew(omega)
    square = cross @ cross
    first, second, third = _coefficients(angle)
    pose = np.zeros((*twist.shape[:-1], 4, 4))
    pose[..., :3, :3] = np.eye(3) + first * cross + second * square
    left = np.eye(3) + second * cross + third * square
    pose[..., :3, 3] = (left @ velocity[..., None])[..., 0]
    pose[..., 3, 3] = 1
    return pose


def log_pose(pose: Pose) -> Twist:
    """Return the twist of a pose, with a rotation of at most 180°.

    A rotation by exactly 180° has two logarithms; one of them is returned.
    """
    from scipy.spatial.transform import Rotation

    pose = np.asarray(pose, float)
    omega = Rotation.from_matrix(pose[..., :3, :3].reshape(-1, 3, 3)).as_rotvec().reshape(*pose.shape[:-2], 3)
    angle = np.linalg.norm(omega, axis=-1)[..., None, None]
    cross = skew(omega)
    safe = np.where(angle < SMALL, 1.0, angle)
    half = safe / 2
    factor = np.where(angle < SMALL, 1 / 12 + angle**2 / 720, (1 - half / np.tan(half)) / safe**2)
    inverse_left = np.eye(3) - 0.5 * cross + factor * (cross @ cross)
    return np.concatenate([omega, (inverse_left @ pose[..., :3, 3:])[..., 0]], axis=-1)


def invert_pose(pose: Pose) -> Pose:
    """Return the way back: ``b_from_a`` of ``a_from_b``."""
    pose = np.asarray(pose, float)
    inverse = np.zeros_like(pose)
    turned = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = turned
    inverse[..., :3, 3] = -(turned @ pose[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1
    return inverse


def rotation_about(
    axis: Sequence[float] | np.ndarray, degrees: float, point: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
) -> Float[np.ndarray, "4 4"]:
    """Return the right-handed rotation by ``degrees`` about the line through ``point`` (mm) along ``axis``."""
    unit = np.asarray(axis, float) / np.linalg.norm(axis)
    pose = exp_pose(np.concatenate([np.radians(degrees) * unit, np.zeros(3)]))
    centre = np.asarray(point, float)
    pose[:3, 3] = centre - pose[:3, :3] @ centre
    return pose


def translation(offset: Sequence[float] | np.ndarray) -> Float[np.ndarray, "4 4"]:
    """Return the shift by ``offset`` mm."""
    pose = np.eye(4)
    pose[:3, 3] = offset
    return pose


def transform(pose: Pose, points: Float[np.ndarray, "*points 3"]) -> Float[np.ndarray, "*moved 3"]:
    """Move points (…, n, 3) by poses (…, 4, 4); one point (3,) by one pose or a stack of them."""
    points, pose = np.asarray(points, float), np.asarray(pose, float)
    moved = points @ np.swapaxes(pose[..., :3, :3], -1, -2)
    return moved + (pose[..., :3, 3] if points.ndim == 1 else pose[..., None, :3, 3])


def rotation_degrees(pose: Pose) -> Float[np.ndarray, "*stack"]:
    """Return the angle of the rotation of a pose, 0 to 180°."""
    rotation = np.asarray(pose, float)[..., :3, :3]
    # Stable at both ends, where an arc cosine of the trace is not.
    axis = np.stack([rotation[..., i, j] - rotation[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], -1)
    angle = np.arctan2(np.linalg.norm(axis, axis=-1), np.trace(rotation, axis1=-2, axis2=-1) - 1)
    return np.asarray(np.degrees(angle))


def displacement_of(pose: Pose, other: Pose, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "*stack n"]:
    """Return how far apart, in mm, two poses put the same points."""
    return np.linalg.norm(transform(pose, points) - transform(other, points), axis=-1)


def mean_pose(
    poses: Float[np.ndarray, "n 4 4"], weights: Float[np.ndarray, "n"] | None = None
) -> Float[np.ndarray, "4 4"]:
    """Return the log-Euclidean mean: that whose twists to all poses sum to zero (Arsigny et al. 2009).

    Iterated from the first pose until it moves by less than 1e-10.
    """
    share = np.full(len(poses), 1 / len(poses)) if weights is None else np.asarray(weights, float) / np.sum(weights)
    mean = np.asarray(poses[0], float)
    for _ in range(50):
        step = share @ log_pose(invert_pose(mean) @ poses)
        mean = mean @ exp_pose(step)
        if np.linalg.norm(step) < 1e-10:
            break
    return mean


def is_rigid(pose: Float[np.ndarray, "4 4"], tolerance: float = 1e-4) -> bool:
    """Tell whether a 4×4 matrix is a rotation and a translation, without scaling or mirroring."""
    rotation = np.asarray(pose, float)[:3, :3]
    return bool(
        np.isfinite(pose).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=tolerance)
        and np.linalg.det(rotation) > 0
        and np.allclose(pose[3], (0, 0, 0, 1), atol=tolerance)
    )


def skew(vector: Float[np.ndarray, "*stack 3"]) -> Float[np.ndarray, "*stack 3 3"]:
    """Return the matrix of the cross product with a vector."""
    x, y, z = np.moveaxis(np.asarray(vector, float), -1, 0)
    zero = np.zeros_like(x)
    rows = [np.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return np.stack(rows, -2)


def _coefficients(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """sin θ / θ, (1 − cos θ) / θ² and (θ − sin θ) / θ³."""
    safe = np.where(angle < SMALL, 1.0, angle)
    square = angle**2
    return (
        np.where(angle < SMALL, 1 - square / 6, np.sin(safe) / safe),
        np.where(angle < SMALL, 0.5 - square / 24, (1 - np.cos(safe)) / safe**2),
        np.where(angle < SMALL, 1 / 6 - square / 120, (safe - np.sin(safe)) / safe**3),
    )
