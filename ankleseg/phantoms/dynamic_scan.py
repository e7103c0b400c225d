"""Frames of a moving anatomy: thick slices, partial volume, coil and noise, with the true masks and poses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int16, UInt8

from ankleseg.phantoms.cycle import Cycle
from ankleseg.phantoms.dynamic_protocol import CYCLE_SECONDS, PLANE_MM, DynamicSettings
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.model_angles import model_angles
from ankleseg.phantoms.moving_anatomy import MovingAnatomy, RigidPart
from ankleseg.phantoms.noise import LatticeNoise, cubic_weights, interpolate, interpolation_weights
from ankleseg.phantoms.protocol import STRUCTURES
from ankleseg.phantoms.scanner import COIL_MM, Scanner, receive
from ankleseg.volumes.poses import transform

IN_PLANE = 2  # samples of a bone along each side of a pixel
PER_PLANE = 2  # samples of a bone at each place of a pixel within the depth of a plane
NODE_MM = 4.5  # grid on which the motion of soft tissue is evaluated
SUB_POSES = 5  # of a frame that is acquired while the foot moves
SAMPLES_AT_ONCE = 100_000  # that stay in the cache
MOST_THREADS = 4  # frames sampled at once, about 150 MB each at full size


@dataclass(frozen=True)
class DynamicScan:
    """A 4-D sequence with its truth.

    Attributes:
        frames: int16, axes P, S, R, frame.
        affine: voxel to RAS+ mm, the same for all frames.
        thickness_mm: of a slice, as a scanner's header tells it.
        gap_mm: between slices, negative where they overlap.
        seconds: from one frame to the next.
        poses: frame_from_static (frames, 4, 4), world to world, of calcaneus, talus and tibia.
        masks: uint8 0/1 by bone, on the grid of the frames: voxels of which the bone fills at least half.
        angles: by joint (frames, 3): `ankleseg.phantoms.model_angles`.
    """

    frames: Int16[np.ndarray, "x y z t"]
    affine: Float[np.ndarray, "4 4"]
    thickness_mm: float
    gap_mm: float
    seconds: float
    poses: Mapping[str, Float[np.ndarray, "t 4 4"]]
    masks: Mapping[str, UInt8[np.ndarray, "x y z t"]]
    angles: Mapping[str, Float[np.ndarray, "t 3"]]


def dynamic_phantom(
    anatomy: MovingAnatomy, cycle: Cycle, grid: Grid, settings: DynamicSettings, rng: np.random.Generator
) -> DynamicScan:
    """Image an anatomy in motion.

    Args:
        anatomy: what moves.
        cycle: how it moves.
        grid: of the frames, slices along axis 2.
        settings: how they are taken.
        rng: draws coil and noise.
    """
    poses = cycle.poses(np.arange(settings.frames, dtype=float))
    coil = LatticeNoise(rng, grid.extent, COIL_MM)
    scanner = Scanner(snr=settings.snr, bias=settings.bias)
    frames = np.empty((*grid.shape, settings.frames), np.int16)
    masks = {name: np.zeros(frames.shape, np.uint8) for name in STRUCTURES}

    def acquire(number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return _acquire(anatomy, cycle, float(number), grid, settings)

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as pool:
        acquired = list(pool.map(acquire, range(settings.frames)))
    for number, (image, filled) in enumerate(acquired):
        image = receive(image, coil, grid, scanner, rng, anatomy.air)
        frames[..., number] = np.clip(np.rint(image), 0, 32767)
        largest = np.max([filled[name] for name in STRUCTURES], axis=0)
        for name, mask in masks.items():
            mask[..., number] = (filled[name] >= 0.5) & (filled[name] == largest)
    if settings.missing_slice is not None:
        frames[:, :, settings.missing_slice] = 0
    return DynamicScan(
        frames,
        grid.affine,
        settings.thickness,
        settings.spacing - settings.thickness,
        CYCLE_SECONDS / settings.frames,
        {name: poses[name] for name in STRUCTURES},
        masks,
        model_angles(poses, cycle.ankle.pose.world_from_shin),
    )


def _acquire(
    anatomy: MovingAnatomy, cycle: Cycle, time: float, grid: Grid, settings: DynamicSettings
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Noise-free image of a frame, and the share of each voxel that each bone fills in the middle of its time."""
    if not settings.within_frame:
        return sample_frame(anatomy, _at(cycle, time), grid, settings)
    offsets = settings.within_frame * ((np.arange(SUB_POSES) + 0.5) / SUB_POSES - 0.5)
    samples = [sample_frame(anatomy, _at(cycle, time + float(offset)), grid, settings) for offset in offsets]
    return np.mean([image for image, _ in samples], axis=0), samples[SUB_POSES // 2][1]


def _at(cycle: Cycle, time: float) -> dict[str, np.ndarray]:
    return {name: poses[0] for name, poses in cycle.poses(np.array([time])).items()}


def sample_frame(
    anatomy: MovingAnatomy, poses: Mapping[str, np.ndarray], grid: Grid, settings: DynamicSettings
) -> tuple[Float[np.ndarray, "x y z"], dict[str, Float[np.ndarray, "x y z"]]]:
    """Sample one pose through the slice profile, without coil and noise.

    Bones are pulled back by their own exact poses, with 8 samples of each pixel in each of about six planes a slice;
    what they leave of a pixel is soft tissue, sampled once in each plane.

    Returns:
        the image, and for calcaneus, talus and tibia the share of each voxel that it fills.
    """
    count, margin = round(settings.spacing / PLANE_MM), _slices_beyond(settings)
    planes = _planes(grid, count, margin)
    image_weights = profile_weights(
        settings.profile, settings.thickness, settings.spacing, grid.shape[2], count, margin
    )
    voxel_weights = profile_weights("box", settings.spacing, settings.spacing, grid.shape[2], count, margin)
    covered = np.zeros(planes.shape, np.float32)
    bright = np.zeros(planes.shape, np.float32)
    filled = {name: np.zeros(grid.shape, np.float32) for name in STRUCTURES}
    for name, part in anatomy.parts.items():
        sampled = _sample_part(part, poses[name], planes)
        if sampled is None:
            continue
        box, cover, signal = sampled
        covered[box] += cover
        bright[box] += signal
        if name in filled:
            filled[name][box[:2]] = cover @ voxel_weights[:, box[2]].T
    soft = _sample_soft(anatomy, poses, planes)
    # Where two bones meet they share the room.
    crowded = np.maximum(covered, 1)
    value = bright / crowded + soft * (1 - covered / crowded)
    return value @ image_weights.T, filled


def profile_weights(
    profile: str, thickness: float, spacing: float, slices: int, count: int, margin: int
) -> Float[np.ndarray, "slices planes"]:
    """Share of each plane in each slice; every row sums to 1.

    Args:
        profile, thickness: shape and full width at half maximum (mm); the Gaussian is cut at 1.5 of these.
        spacing: of the slices, mm.
        count: planes in the room of a slice.
        margin: slices by which the planes go beyond the first and the last.
    """
    places = ((np.arange((slices + 2 * margin) * count) + 0.5) / count - margin - 0.5) * spacing
    offset = np.abs(places - spacing * np.arange(slices)[:, None])
    if profile == "box":
        weights = np.clip((thickness / 2 - offset) * count / spacing + 0.5, 0, 1)
    else:
        weights = np.exp(-4 * np.log(2) * (offset / thickness) ** 2) * (offset <= 1.5 * thickness)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _slices_beyond(settings: DynamicSettings) -> int:
    reach = settings.thickness * (0.5 if settings.profile == "box" else 1.5)
    return max(int(np.ceil(reach / settings.spacing - 0.5)), 0)


def _planes(grid: Grid, count: int, margin: int) -> Grid:
    """Pixels of `grid`, with `count` planes a slice and `margin` slices more on both sides."""
    local = np.eye(4)
    local[2, 2] = 1 / count
    local[2, 3] = (0.5 / count - 0.5) - margin
    return Grid((grid.shape[0], grid.shape[1], (grid.shape[2] + 2 * margin) * count), grid.affine @ local)


def _sample_part(
    part: RigidPart, pose: np.ndarray, planes: Grid
) -> tuple[tuple[slice, slice, slice], np.ndarray, np.ndarray] | None:
    """Share of each pixel of each plane that a part fills, and its signal there times that share, in the part's box.

    The nearest voxel is read at each sample. All samples of a pixel lie at different depths, so that surfaces along
    the slice do not show as steps.
    """
    voxels = transform(np.linalg.inv(planes.affine) @ pose, part.corners)
    low = np.clip(np.floor(voxels.min(0)).astype(int), 0, planes.shape)
    high = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, 0, planes.shape)
    if np.any(high <= low):
        return None
    part_from_planes = np.linalg.inv(part.affine) @ np.linalg.inv(pose) @ planes.affine
    rows, columns, depths = (np.arange(first, last) for first, last in zip(low, high, strict=True))
    cover = np.zeros(high - low, np.float32)
    signal = np.zeros(high - low, np.float32)
    count = IN_PLANE**2 * PER_PLANE
    values = part.signal.ravel()
    at_once = max(SAMPLES_AT_ONCE // (len(columns) * len(depths)), 1)
    for start in range(0, len(rows), at_once):
        block = slice(start, start + at_once)
        for number in range(count):
            row, column = divmod(number % IN_PLANE**2, IN_PLANE)
            offset = np.array([(row + 0.5) / IN_PLANE, (column + 0.5) / IN_PLANE, (number + 0.5) / count]) - 0.5
            places = _flat_places(part_from_planes, [rows[block], columns, depths], offset, part.signal.shape)
            found = values.take(places)
            inside = found >= 0
            cover[block] += inside
            signal[block] += np.maximum(found, 0, out=found)
    cover /= count
    signal /= count
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return (first, second, third), cover, signal


def _flat_places(
    part_from_planes: np.ndarray, indices: Sequence[np.ndarray], offset: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Flat index of the voxel nearest to each sample; a sample beyond the part gets an outermost one."""
    flat = np.zeros([len(index) for index in indices], np.int32)
    for row, side in zip(part_from_planes[:3], shape, strict=True):
        start = row[3] + row[:3] @ offset + 0.5
        first, second, third = ((step * index).astype(np.float32) for step, index in zip(row[:3], indices, strict=True))
        place = (first[:, None] + second + np.float32(start))[..., None] + third
        np.clip(place, 0, side - 1, out=place)
        flat *= side
        flat += place.astype(np.int32)
    return flat


def _sample_soft(anatomy: MovingAnatomy, poses: Mapping[str, np.ndarray], planes: Grid) -> np.ndarray:
    """Signal of the soft tissue at the pixels of the planes; its motion is interpolated between nodes."""
    from scipy.ndimage import map_coordinates

    step = np.maximum(np.round(NODE_MM / planes.spacing), 1)
    counts = np.ceil(np.array(planes.shape) / step).astype(int) + 3
    nodes = (np.indices(tuple(counts.tolist())).reshape(3, -1).T - 1) * step
    found, body = anatomy.pull_back(transform(planes.affine, nodes), poses)
    places = transform(np.linalg.inv(anatomy.affine), found)
    values = np.concatenate([places, body[:, None]], 1).astype(np.float32).reshape(*counts, 4)
    weights = [
        interpolation_weights(np.arange(side) / gap + 1, int(many), cubic_weights)
        for side, gap, many in zip(planes.shape, step, counts, strict=True)
    ]
    # `interpolate` returns its second axis first and its first second: rows, planes, columns.
    fields = [
        interpolate(np.ascontiguousarray(values[..., index].swapaxes(0, 1)), weights[0], weights[2], weights[1])
        for index in range(4)
    ]
    inside = fields[3] > 0.02
    soft = np.full(planes.shape, anatomy.air, np.float32)
    soft[inside] = map_coordinates(
        anatomy.soft, [field[inside] for field in fields[:3]], np.float32, order=1, cval=anatomy.air, prefilter=False
    )
    return soft
