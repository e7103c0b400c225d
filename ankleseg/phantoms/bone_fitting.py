"""One bone fitted on another of the same kind, so that a neighbour can be carried along."""

from __future__ import annotations

from itertools import product

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree

from ankleseg.phantoms.bone_meshes import BoneMesh

FEW, SAMPLES = 300, 1500  # vertices that a fit looks at, first and then
ITERATIONS = 40
WARPS = 3  # times that what is left is smoothed
SMOOTH = 8.0  # mm, standard deviation over which displacements are averaged
REACH = 0.05  # weight of no displacement: far from the bone it leads there


def fit_similarity(source: BoneMesh, target: BoneMesh) -> Float[np.ndarray, "4 4"]:
    """Target from source: rotation, shift and one scale that bring a bone nearest to another of the same side.

    Iterative closest points (Besl and McKay 1992) with the scale of Umeyama (1991), from the four ways in which the
    principal axes may point; the best of them goes on with more points.
    """
    few, goal = _some(source.vertices, FEW), _some(target.vertices, FEW)
    tree = cKDTree(_some(target.vertices, SAMPLES))
    tried = [_closest(start, few, goal, tree) for start in _principal_starts(few, goal)]
    best = min(tried, key=lambda matrix: _misfit(matrix, few, goal, tree))
    points, goal = _some(source.vertices, SAMPLES), _some(target.vertices, SAMPLES)
    return _closest(best, points, goal, cKDTree(target.vertices))


def _closest(matrix: np.ndarray, points: np.ndarray, goal: np.ndarray, tree: cKDTree) -> np.ndarray:
    for _ in range(ITERATIONS):
        moved = _applied(matrix, points)
        there = tree.data[tree.query(moved)[1]]
        back = cKDTree(moved).query(goal)[1]
        matrix = _umeyama(np.concatenate([points, points[back]]), np.concatenate([there, goal]))
    return matrix


def _misfit(matrix: np.ndarray, points: np.ndarray, goal: np.ndarray, tree: cKDTree) -> float:
    moved = _applied(matrix, points)
    return float(tree.query(moved)[0].mean() + cKDTree(moved).query(goal)[0].mean())


def carry_along(carried: BoneMesh, source: BoneMesh, target: BoneMesh) -> BoneMesh:
    """Bring a bone along while its neighbour `source` becomes `target`: by a similarity, then by a smooth displacement
    that follows what is left between the two surfaces and fades away from them.

    Args:
        carried, source: in one frame.
        target: another subject's bone of the kind of `source`, of the same side.

    Returns:
        The carried bone in the frame of the target.
    """
    matrix = fit_similarity(source, target)
    carried, source = carried.moved(matrix), source.moved(matrix)
    tree = cKDTree(target.vertices)
    vertices, guide = carried.vertices, _some(source.vertices, SAMPLES)
    for _ in range(WARPS):
        left = target.vertices[tree.query(guide)[1]] - guide
        vertices = vertices + _smoothed(vertices, guide, left)
        guide = guide + _smoothed(guide, guide, left)
    return BoneMesh(vertices, carried.triangles)


def _smoothed(places: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    result = np.empty_like(places)
    for first in range(0, len(places), 4000):
        part = places[first : first + 4000]
        squared = ((part[:, None] - known[None]) ** 2).sum(-1)
        weights = np.exp(-squared / (2 * SMOOTH**2))
        result[first : first + 4000] = weights @ values / (weights.sum(1, keepdims=True) + REACH * len(known) / 10)
    return result


def _principal_starts(points: np.ndarray, goal: np.ndarray) -> list[np.ndarray]:
    middle, there = points.mean(0), goal.mean(0)
    axes, theirs = (np.linalg.svd(part - part.mean(0), full_matrices=False)[2] for part in (points, goal))
    scale = np.sqrt(goal.var(0).sum() / points.var(0).sum())
    starts = []
    for signs in product((1, -1), repeat=3):
        turn = theirs.T @ np.diag(signs) @ axes
        if np.linalg.det(turn) > 0:
            matrix = np.eye(4)
            matrix[:3, :3] = scale * turn
            matrix[:3, 3] = there - matrix[:3, :3] @ middle
            starts.append(matrix)
    return starts


def _umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    middle, there = source.mean(0), target.mean(0)
    left, singular, right = np.linalg.svd((target - there).T @ (source - middle) / len(source))
    proper = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    matrix = np.eye(4)
    matrix[:3, :3] = (singular * proper).sum() / source.var(0).sum() * left @ np.diag(proper) @ right
    matrix[:3, 3] = there - matrix[:3, :3] @ middle
    return matrix


def _applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _some(points: np.ndarray, count: int) -> np.ndarray:
    return points[:: max(len(points) // count, 1)]
