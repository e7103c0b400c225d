"""Finite helical axes: every motion between two poses is a turn about a line and a slide along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ankleseg.errors import GeometryError
from ankleseg.measures.kinematics import JointMotion
from ankleseg.volumes.poses import invert_pose, log_pose, rotation_degrees

LEAST_TURN = 1e-3  # degrees, below which a motion has no axis


@dataclass(frozen=True, eq=False)
class HelicalAxis:
    """The screw of a motion.

    Attributes:
        direction: (3,) unit vector; the turn is right-handed about it.
        point: (3,) on the axis, the one nearest to the point that was asked about, mm.
        angle_deg: of the turn.
        slide_mm: along the direction.
        frames: between which the motion was, or None.
    """

    direction: Float[np.ndarray, "3"]
    point: Float[np.ndarray, "3"]
    angle_deg: float
    slide_mm: float
    frames: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class MeanHelicalAxis:
    """Middle and spread of several helical axes.

    Attributes:
        direction: (3,) unit vector about which the axes lie most closely.
        point: (3,) mm, nearest to all axes (their pivot).
        spread_deg: root mean square of the angles between the axes and the mean direction.
        spread_mm: root mean square of the distances of the pivot from the axes.
        count: how many axes.
    """

    direction: Float[np.ndarray, "3"]
    point: Float[np.ndarray, "3"]
    spread_deg: float
    spread_mm: float
    count: int


def helical_axis(pose: Float[np.ndarray, "4 4"], near: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)) -> HelicalAxis:
    """Return the screw of a motion.

    Args:
        pose: mm.
        near: the axis is told by its point nearest to this one, mm.

    Raises:
        GeometryError: the motion does not turn, so that it has no axis.
    """
    twist = log_pose(pose)
    omega, velocity = twist[:3], twist[3:]
    angle = float(np.linalg.norm(omega))
    if np.degrees(angle) < LEAST_TURN:
        raise GeometryError("a motion that does not turn has no axis", mend="take frames farther apart")
    direction = omega / angle
    # exp(ω, v) turns about the line of the points p with ω × p = −v, apart from the slide along ω.
    foot = np.cross(omega, velocity) / angle**2
    offset = np.asarray(near, float) - foot
    return HelicalAxis(
        direction, foot + direction * (offset @ direction), float(np.degrees(angle)), float(velocity @ direction)
    )


def finite_helical_axes(motion: JointMotion, step_degrees: float = 5.0) -> list[HelicalAxis]:
    """Return the axes of a joint from every frame to the next one at which it has turned far enough.

    The direction of an axis is as uncertain as the rotation of the poses divided by the angle between them, so frames
    that are close together are left out. All axes point to the side of their mean: where the joint turns back, the
    angle is negative.

    Args:
        motion: of the joint; axes are told in its anatomical axes, the point nearest to the distal bone's origin.
        step_degrees: least angle between two frames.
    """
    there = [frame for frame in range(len(motion.poses)) if np.isfinite(motion.poses[frame]).all()]
    axes = []
    for index, first in enumerate(there):
        for last in there[index + 1 :]:
            step = motion.poses[last] @ invert_pose(motion.poses[first])
            if rotation_degrees(step) >= step_degrees:
                axes.append(replace(helical_axis(step, motion.origin), frames=(first, last)))
                break
    if not axes:
        return []
    mean = mean_helical_axis(axes, motion.origin).direction
    return [axis if axis.direction @ mean >= 0 else _reversed(axis) for axis in axes]


def mean_helical_axis(
    axes: Sequence[HelicalAxis], near: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
) -> MeanHelicalAxis:
    """Return mean direction, pivot and spread of helical axes, weighted by sin² of half their angles.

    An axis and its reverse count alike; the mean points to where its largest component is positive. Where the axes
    are parallel, the pivot is the place among all equally good ones nearest to ``near``.

    Raises:
        GeometryError: no axis is given.

    Source: Woltring et al. 1994 (weights and pivot); Mardia and Jupp 2000, section 9.4 (mean of axial data).
    """
    if not axes:
        raise GeometryError("no axis is given", mend="take a smaller step, or a larger motion")
    directions = np.array([axis.direction for axis in axes])
    weights = np.sin(np.radians([axis.angle_deg for axis in axes]) / 2) ** 2
    weights = weights / weights.sum()
    _, vectors = np.linalg.eigh((directions * weights[:, None]).T @ directions)
    mean = vectors[:, 2] * np.sign(vectors[np.argmax(np.abs(vectors[:, 2])), 2])
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    offsets = np.array([axis.point for axis in axes]) - np.asarray(near, float)
    pull = np.einsum("n,nij,nj->i", weights, across, offsets)
    # Nearly parallel axes leave the place along them open, so weak directions are not followed.
    pivot = np.asarray(near, float) + np.linalg.pinv(np.tensordot(weights, across, 1), rcond=1e-4) @ pull
    away = np.einsum("nij,nj->ni", across, pivot - np.array([axis.point for axis in axes]))
    cosines = np.clip(np.abs(directions @ mean), 0, 1)
    sines = np.linalg.norm(np.cross(directions, mean), axis=1)
    return MeanHelicalAxis(
        mean,
        pivot,
        float(np.degrees(np.sqrt(weights @ np.arctan2(sines, cosines) ** 2))),
        float(np.sqrt(weights @ (away**2).sum(1))),
        len(axes),
    )


def _reversed(axis: HelicalAxis) -> HelicalAxis:
    return replace(axis, direction=-axis.direction, angle_deg=-axis.angle_deg, slide_mm=-axis.slide_mm)
