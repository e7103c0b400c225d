"""A small drawn head with a label map, of no symmetry: no turned or mirrored copy of it looks the same."""

from __future__ import annotations

import numpy as np

SHAPE = (72, 60, 64)
AFFINE = np.diag([1.5, 1.5, 1.5, 1.0])
AFFINE[:3, 3] = [-50, -40, -45]

BALLS = (  # centre and half axes in voxels, intensity
    ((36, 30, 32), (30, 24, 26), 300),
    ((36, 30, 34), (24, 18, 19), 500),
    ((24, 34, 40), (8, 6, 7), 900),
    ((48, 24, 28), (6, 9, 5), 800),
    ((38, 38, 24), (10, 4, 6), 150),
    ((30, 20, 44), (5, 5, 4), 1000),
)


def drawn_head(points: np.ndarray | None = None, *, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Intensities and labels 1, 2, … of the balls at voxel places (*shape, 3), by default those of the grid."""
    if points is None:
        points = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1).astype(float)
    image, labels = np.zeros(points.shape[:-1]), np.zeros(points.shape[:-1], np.int16)
    for number, (centre, half, intensity) in enumerate(BALLS, start=1):
        away = 1 - np.sqrt((((points - centre) / half) ** 2).sum(-1))
        share = np.clip(away * min(half) + 0.5, 0, 1)  # partial volume of about a voxel
        image = image * (1 - share) + intensity * share
        labels[share >= 0.5] = number
    folds = np.sin(points[..., 0] / 2.1) * np.sin(points[..., 1] / 2.7 + 1) * np.sin(points[..., 2] / 2.4 + 2)
    image += 90 * folds * (image > 0)
    generator = np.random.default_rng(0)
    return (image + noise * generator.normal(size=image.shape)).astype(np.float32), labels
