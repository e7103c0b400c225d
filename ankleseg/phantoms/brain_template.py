"""The average head, before folds: signed distances of its parts in millimetres of a newborn's head.

The frame has its origin in the middle of the brain, x to the right, y to the front, z up. Paired parts are given for
the right side and mirrored. Sizes are those of a newborn at term, with a brain of about 80 by 100 mm; a child's head is
the same, scaled. Proportions were judged by eye and volume, not fitted to anybody.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ankleseg.phantoms.shapes import Shape, capsule, ellipsoid, smooth_maximum, smooth_minimum, union

Points = np.ndarray  # (3, n)

# Sulci that everybody has, as lines on the right hemisphere.
CONSTANT_SULCI: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((4, -7, 37), (20, 1, 32), (31, 6, 22), (37, 8, 9)),  # central
    ((30, 24, -14), (38, 4, -8), (38, -14, -2), (35, -32, 8)),  # superior temporal
    ((8, -22, 35), (17, -30, 30), (24, -40, 18)),  # intraparietal
    ((9, 32, 32), (20, 36, 22), (24, 42, 8)),  # superior frontal
    ((1, 36, 2), (1, 31, 16), (1, 14, 25), (1, -6, 26), (1, -18, 34)),  # cingulate
    ((1, -30, 30), (2, -29, 18), (4, -26, 8)),  # parieto-occipital
    ((3, -26, 6), (2, -38, 3), (2, -48, 2)),  # calcarine
    ((12, 42, -8), (12, 28, -9), (12, 18, -9)),  # olfactory
)


def right(points: Points) -> Points:
    """Points mirrored to the right side."""
    return np.concatenate([np.abs(points[:1]), points[1:]])


def cerebrum(points: Points) -> np.ndarray:
    """Both hemispheres grown together, with the temporal lobes, without folds."""
    side, y, z = mirrored = right(points)
    width = 39.5 * (1.0 - 0.0022 * (y + 6) - 0.00006 * (y + 6) ** 2)  # narrower in front
    radii = np.stack(np.broadcast_arrays(width, np.float32(50.5), np.float32(35.0)))
    scaled = np.stack([side, y, z - 2.0]) / radii
    level = (np.abs(scaled) ** 2.35).sum(0) ** np.float32(1 / 2.35)  # fuller than an ellipsoid
    slope = np.sqrt(((scaled / radii) ** 2).sum(0))
    vault = level * (level - 1) / np.maximum(slope, 1e-3)
    orbital = -9.5 - 0.10 * side + 0.10 * (y - 30)
    tentorium = 0.5 - 0.30 * side - 0.26 * (-14 - y)
    base = orbital + (tentorium - orbital) * np.clip((-4 - y) / 12, 0, 1)
    vault = smooth_maximum(vault, 0.93 * (base - z), 7.0)
    temporal = union(
        capsule((21, 21, -16), (28, 6, -15), 8.0, 10.5),
        capsule((28, 6, -15), (29.5, -12, -9.5), 10.5, 11.0),
        capsule((29.5, -12, -9.5), (26, -30, -4), 11.0, 11.5),
        blend=3.0,
    )
    return smooth_minimum(vault, temporal(mirrored), 3.0)


def core(points: Points) -> np.ndarray:
    """What joins the hemispheres and the brainstem under the folds: around the nuclei, and the corpus callosum."""
    mirrored = right(points)
    middle = ellipsoid((0, 0, 1), (17, 17, 9))(mirrored)
    capsule_region = ellipsoid((14, 3, 3), (10, 17, 10))(mirrored)
    below = ellipsoid((0, -3, -7), (10, 10, 8))(mirrored)
    joined = smooth_minimum(smooth_minimum(middle, capsule_region, 4.0), below, 4.0)
    return smooth_minimum(joined, callosum(points), 1.5)


def callosum(points: Points) -> np.ndarray:
    """The corpus callosum: an arch in the midplane, 12 mm to either side."""
    path = ((21, 1), (24.5, 5.5), (23, 11), (14, 14.5), (2, 16), (-10, 15), (-19, 11.5), (-22, 7.5))
    thickness = (1.2, 1.8, 2.2, 1.6, 1.4, 1.4, 1.8, 2.4)
    flat = np.stack([np.zeros_like(points[0]), *points[1:]])
    arch = _path([(0, *place) for place in path], thickness, flat)
    # it bends up to the sides
    return smooth_maximum(arch, np.abs(points[0]) - 12, 3.0)


def lateral_ventricle(points: Points) -> np.ndarray:
    """Frontal horn, body, atrium and temporal horn in one bow, and the occipital horn; a septum parts the two sides."""
    mirrored = right(points)
    front = ((6, 22, 5), (6.5, 14, 9.5), (8, 0, 11.5), (11, -14, 10.5), (16, -24, 5))
    bow = (*front, (20, -18, -4), (22, -4, -10), (21, 8, -13))
    horn = ((16, -24, 5), (15, -32, 3), (13, -40, 2))
    body = _path(bow, (1.6, 2.3, 1.9, 2.2, 3.0, 1.8, 1.3, 1.5), mirrored)
    return np.maximum(smooth_minimum(body, _path(horn, (3.0, 2.4, 0.8), mirrored), 1.5), 1.0 - mirrored[0])


def third_ventricle(points: Points) -> np.ndarray:
    """A slit between the thalami."""
    return np.maximum(ellipsoid((0, 1, -1), (30, 12, 7.5))(points), np.abs(points[0]) - 1.0)


def fourth_ventricle(points: Points) -> np.ndarray:
    """The aqueduct and the fourth ventricle, wider from side to side."""
    path = ((0, -13, 0), (0, -15.5, -9), (0, -18, -17), (0, -16.5, -26))
    flattened = np.concatenate([np.float32(0.45) * points[:1], points[1:]])
    return _path(path, (0.7, 0.8, 2.4, 0.7), flattened)


def thalamus(points: Points) -> np.ndarray:
    """The thalami, one on each side of the third ventricle."""
    mirrored = right(points)
    return np.maximum(_path(((6.0, 3, 3.5), (9.5, -11, 4)), (4.4, 5.6), mirrored), 0.9 - mirrored[0])


def caudate(points: Points) -> np.ndarray:
    """Head and body of the caudate nuclei, along the lateral ventricles."""
    path = ((9.5, 19, 4), (10, 15, 6.5), (11.5, 6, 10), (13.5, -4, 12), (16, -14, 11.5))
    return _path(path, (4.0, 4.2, 2.6, 1.9, 1.2), right(points))


def lentiform(points: Points) -> np.ndarray:
    """Putamen and pallidum, further apart behind than in front."""
    side, y, z = right(points)
    return ellipsoid((18.0, 4, 1.5), (5.5, 12.5, 7.5))(np.stack([side + 0.25 * (y - 4), y, z]))


def hippocampus(points: Points) -> np.ndarray:
    """Amygdala and hippocampus, along the temporal horn."""
    path = ((17, 8, -13.5), (19.5, 0, -13), (20, -10, -8), (17.5, -18, -1.5))
    return _path(path, (3.4, 2.8, 2.3, 1.6), right(points))


def internal_capsule(points: Points) -> np.ndarray:
    """The myelinated hind limb of the internal capsule, from the crown to the peduncle."""
    path = ((18, -8, 17), (14.8, -6, 9), (14.2, -6, 3), (10, -7, -6), (6, -9, -12))
    return _path(path, (1.0, 1.8, 1.8, 1.8, 1.8), right(points))


def cerebellum(points: Points) -> np.ndarray:
    """Both hemispheres of the cerebellum and the vermis, without fissures."""
    hemisphere = ellipsoid((12, -29, -22), (14.5, 14.5, 11.5))(right(points))
    vermis = ellipsoid((0, -27, -18), (8, 12.5, 12.5))(points)
    return smooth_minimum(hemisphere, vermis, 5.0)


def brainstem(points: Points) -> np.ndarray:
    """Midbrain, pons, medulla and the cord to the end of the field of view."""
    path = ((0, -8, -3), (0, -10, -11), (0, -10.5, -19), (0, -13, -29), (0, -17, -41), (0, -19, -60))
    stem = _path(path, (8.0, 7.0, 7.4, 5.6, 4.6, 4.2), points)
    return smooth_minimum(stem, ellipsoid((0, -7.5, -17.5), (10, 6.5, 7))(points), 3.0)


def middle_peduncle(points: Points) -> np.ndarray:
    """What joins the pons and the cerebellum."""
    return capsule((6, -11, -18), (14, -24, -22), 4.2, 3.0)(right(points))


def eyes(points: Points) -> np.ndarray:
    """The eyeballs."""
    return ellipsoid((16, 42, -21), (8.2, 8.4, 8.2))(right(points))


def lenses(points: Points) -> np.ndarray:
    """The lenses of the eyes."""
    return ellipsoid((16, 48.4, -21), (2.9, 1.7, 2.9))(right(points))


def orbits(points: Points) -> np.ndarray:
    """The fat around and behind the eyes."""
    return capsule((16, 42, -21), (9, 24, -17), 10.5, 3.0)(right(points))


def face(points: Points) -> np.ndarray:
    """The head below the brain: face, jaw and neck."""
    jaw = ellipsoid((0, 30, -40), (31, 25, 30))(points)
    neck = capsule((0, -12, -34), (0, -16, -80), 27, 25)(points)
    return smooth_minimum(jaw, neck, 10.0)


def spinal_canal(points: Points) -> np.ndarray:
    """The fluid around the cord."""
    return _path(((0, -13, -26), (0, -17, -41), (0, -19, -60)), (8.0, 7.0, 6.5), points)


def polyline_distance(points: Points, corners: Sequence[Sequence[float]]) -> np.ndarray:
    """Distance to a line through given corners."""
    return _path(corners, [0.0] * len(corners), points)


def _path(corners: Sequence[Sequence[float]], radii: Sequence[float], points: Points) -> np.ndarray:
    """A tube through corners, its radius changing linearly between them."""
    parts: list[Shape] = [
        capsule(start, end, first, last)
        for start, end, first, last in zip(corners[:-1], corners[1:], radii[:-1], radii[1:], strict=True)
    ]
    return union(*parts)(points)
