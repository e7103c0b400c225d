"""Grids that no reader may confuse, and a small scan on them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

ORIENTATIONS = tuple(
    "".join(codes)
    for axes in permutations(("LR", "PA", "IS"))
    for codes in product(*axes)
)  # fmt: skip


def rotation(degrees_x: float, degrees_y: float, degrees_z: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad([degrees_x, degrees_y, degrees_z])):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def affine_of(codes: str, size: tuple[float, float, float] = (0.5, 0.75, 2.0), oblique: bool = False) -> np.ndarray:
    """Affine whose axes point to ``codes``, with an odd origin, and turned a little if oblique."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        world = next(index for index, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[world, axis] = size[axis] * (1 if code in "RAS" else -1)
    if oblique:
        affine[:3, :3] = rotation(12, -7, 20) @ affine[:3, :3]
    affine[:3, 3] = (-31.5, 12.25, 7.125)
    return affine


def counting(shape: tuple[int, ...] = (5, 6, 4)) -> np.ndarray:
    """Every voxel its own value."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


GRIDS = {codes: affine_of(codes) for codes in ORIENTATIONS} | {
    "oblique PSR": affine_of("PSR", oblique=True),
    "oblique LAS, left-handed": affine_of("LAS", oblique=True),
}
