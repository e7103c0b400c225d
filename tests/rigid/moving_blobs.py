"""Three textured blobs that each move in their own way in a body that moves too, imaged without the code under test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ankleseg.volumes.poses import invert_pose, rotation_about, transform, translation

SHAPE, AFFINE = (40, 40, 24), np.diag([1.0, 1.0, 1.5, 1.0])
AFFINE[:3, 3] = (-19.5, -19.5, -17.25)
FRAME_SHAPE, FRAME_AFFINE = (36, 36, 7), rotation_about((1, 0.5, 0), 4) @ np.diag([1.2, 1.2, 5.5, 1.0])
FRAME_AFFINE[:3, 3] = -FRAME_AFFINE[:3, :3] @ ((np.array(FRAME_SHAPE) - 1) / 2)
THICKNESS = 5.0
FRAMES = 3
CENTRES = {"heel": (-8.0, -8.0, 2.0), "ankle": (0.0, 8.5, -3.0), "shin": (9.0, -6.0, 0.0)}
RADII = {"heel": (7.0, 6.0, 9.0), "ankle": (8.0, 6.0, 8.0), "shin": (6.0, 7.5, 10.0)}


@dataclass(frozen=True)
class Scene:
    """Static scan and frames (x, y, z, t), all in arbitrary intensities, with the poses they were made from."""

    static: np.ndarray
    masks: dict[str, np.ndarray]
    foot: np.ndarray
    frames: np.ndarray
    poses: dict[str, np.ndarray]


def make_scene() -> Scene:
    """Image the blobs at rest, and in four frames whose slices are averages through their thickness."""
    poses = {
        name: np.stack(
            [leg(frame) @ rotation_about((0.3, 0.1, 1), turn * frame, CENTRES[name]) for frame in range(FRAMES)]
        )
        for name, turn in (("heel", 4.0), ("ankle", -3.0), ("shin", 0.0))
    }
    still = {name: np.eye(4) for name in CENTRES}
    static = scanned(SHAPE, AFFINE, 1.5, np.eye(4), still)
    frames = [
        scanned(FRAME_SHAPE, FRAME_AFFINE, THICKNESS, leg(frame), {name: stack[frame] for name, stack in poses.items()})
        for frame in range(FRAMES)
    ]
    places = voxel_places(SHAPE, AFFINE)
    masks = {name: inside(name, places) for name in CENTRES}
    return Scene(static, masks, (static > 0.1).astype(np.float32), np.stack(frames, -1), poses)


def leg(frame: int) -> np.ndarray:
    return translation((1.2 * frame, -0.8 * frame, 0.4)) @ rotation_about((0.1, 0.2, 1), 2 * frame - 1)


def scanned(
    shape: tuple[int, ...], affine: np.ndarray, thickness: float, body: np.ndarray, poses: dict[str, np.ndarray]
) -> np.ndarray:
    """The mean brightness over each voxel, as thick as a slice: 2×2 samples in the plane at many depths."""
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    places, count = voxel_places(shape, affine), round(2 * thickness)
    image = np.zeros(shape, np.float32)
    for depth in ((np.arange(count) + 0.5) / count - 0.5) * thickness:
        for first, second in ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)):
            image += brightness(places + depth * normal + affine[:3, :2] @ (first, second), body, poses)
    return image / (4 * count)


def brightness(places: np.ndarray, body: np.ndarray, poses: dict[str, np.ndarray]) -> np.ndarray:
    """What shines at world points, when body and blobs lie at poses."""
    back = transform(invert_pose(body), places.reshape(-1, 3)).reshape(places.shape)
    image = np.where((back / (17.0, 17.0, 16.0)) ** 2 @ np.ones(3) < 1, 0.45 + 0.2 * texture(back, 0), 0.0)
    for number, (name, pose) in enumerate(poses.items(), 1):
        own = transform(invert_pose(pose), places.reshape(-1, 3)).reshape(places.shape)
        image = np.where(inside(name, own), 0.85 + 0.3 * texture(own, number), image)
    return image.astype(np.float32)


def inside(name: str, places: np.ndarray) -> np.ndarray:
    return (((places - CENTRES[name]) / RADII[name]) ** 2).sum(-1) < 1


def texture(places: np.ndarray, number: int) -> np.ndarray:
    """Three waves of 6 to 12 mm that differ from part to part, -1 to 1."""
    rng = np.random.default_rng(number)
    waves = rng.normal(size=(3, 3))
    waves *= (2 * np.pi / rng.uniform(6, 12, 3) / np.linalg.norm(waves, axis=1))[:, None]
    return np.sin(places @ waves.T + rng.uniform(0, 6, 3)).mean(-1)


def voxel_places(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def points_of(name: str) -> np.ndarray:
    places = voxel_places(SHAPE, AFFINE)
    return places[inside(name, places)]
