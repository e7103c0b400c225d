"""Rigid motions of the bones, as 4×4 matrices in mm."""

from __future__ import annotations

import numpy as np

from ankleseg.phantoms.shapes import Vector


def rotation_about(axis: Vector, degrees: float, point: Vector = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Rotation by `degrees` about the line through `point` along `axis`, right-handed (Rodrigues' formula)."""
    unit = np.asarray(axis, float) / np.linalg.norm(axis)
    angle = np.radians(degrees)
    cross = np.array([[0, -unit[2], unit[1]], [unit[2], 0, -unit[0]], [-unit[1], unit[0], 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    centre = np.asarray(point, float)
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre
    return matrix


def translation(offset: Vector) -> np.ndarray:
    """Shift by `offset` mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def scaling(factors: float | Vector) -> np.ndarray:
    """Scaling about the origin; a negative factor mirrors that axis."""
    return np.diag([*(np.ones(3) * np.asarray(factors, float)), 1.0])
