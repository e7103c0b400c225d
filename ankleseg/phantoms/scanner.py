"""A scanner for labels, drawn or read from a file: partial volume, slice profile, texture, coil, noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ankleseg.errors import ConfigError
from ankleseg.phantoms.contrast import SignalTable
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.noise import LatticeNoise
from ankleseg.volumes import slice_axis

PROFILES = ("box", "gaussian")
COIL_MM = 55.0  # distance over which the coil's sensitivity changes
SHEET = 0.22  # septa lie where the texture is nearer to zero than this

# Gives the labels (uint8, of the grid's shape) at the voxel centres of any grid.
LabelSource = Callable[[Grid], np.ndarray]


@dataclass(frozen=True)
class LabelArray:
    """A label map on its own grid as a `LabelSource`: the nearest voxel's label, 0 outside.

    Attributes:
        labels: (i, j, k) uint8.
        affine: 4×4, voxel to RAS+ mm.
    """

    labels: UInt8[np.ndarray, "i j k"]
    affine: Float[np.ndarray, "4 4"]

    def __call__(self, grid: Grid) -> UInt8[np.ndarray, "x y z"]:
        mine_from_grid = np.linalg.inv(self.affine) @ grid.affine
        rows, columns = np.arange(grid.shape[0])[:, None], np.arange(grid.shape[1])
        result = np.zeros((grid.shape[2], *grid.shape[:2]), np.uint8)
        for index, plane in enumerate(result):
            places = [
                np.rint(row[0] * rows + (row[1] * columns + (row[2] * index + row[3]))).astype(np.intp)
                for row in mine_from_grid[:3]
            ]
            inside = np.ones(plane.shape, bool)
            for place, side in zip(places, self.labels.shape, strict=True):
                inside &= (place >= 0) & (place < side)
            plane[inside] = self.labels[places[0][inside], places[1][inside], places[2][inside]]
        return np.moveaxis(result, 0, 2)


@dataclass(frozen=True)
class Scanner:
    """How a scan is taken.

    Attributes:
        snr: mean signal of everything but label 0, over the standard deviation of the noise in each channel.
        bias: standard deviation of the logarithm of the coil's sensitivity.
        profile: sensitivity along the slice normal.
        thickness: full width at half maximum of the profile, in slice spacings.
        in_plane: samples along each side of a voxel in the slice plane.
        through_plane: planes of samples in a slice. The samples of a voxel lie at different depths within them, so
            that surfaces that run along the slice do not show the planes as steps.
        grain_mm, patches_mm, septa_mm: sizes of the textures.
        blur_mm: standard deviation of a further blur in the slice plane.
        gamma: the image is raised to this power between 0 and its largest value.
    """

    snr: float = 30.0
    bias: float = 0.12
    profile: Literal["box", "gaussian"] = "gaussian"
    thickness: float = 1.0
    in_plane: int = 2
    through_plane: int = 2
    grain_mm: float = 0.9
    patches_mm: float = 6.0
    septa_mm: float = 3.2
    blur_mm: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ConfigError(f"invalid slice profile {self.profile!r}: expected {' or '.join(PROFILES)}")


def scan(
    source: LabelSource,
    table: SignalTable,
    grid: Grid,
    scanner: Scanner,
    rng: np.random.Generator,
    structures: Sequence[Bool[np.ndarray, "256"]] = (),
    textures: Sequence[LatticeNoise] | None = None,
) -> tuple[Float[np.ndarray, "x y z"], list[Bool[np.ndarray, "x y z"]]]:
    """Image labels on a grid, and cut the exact masks of structures on it.

    Args:
        source: what lies where: an ankle (`AnkleLabels`) or a label map (`LabelArray`).
        table: signal of each label.
        grid: the scan's grid; its slices lie along the axis of the largest spacing.
        scanner: how the scan is taken.
        rng: draws texture, coil and noise.
        structures: for each structure, which labels belong to it.
        textures: grain, patches and septa in mm from the corner of `grid`, along its axes, so that several scans with
            that corner show the same tissue; None draws them.

    Returns:
        the magnitude image, float32, with Rician noise (Gudbjartsson and Patz 1995); and for each structure the voxels
        of which it fills at least half, the voxel being a box whatever the slice profile.
    """
    heard, masks = listen(source, table, grid, scanner, rng, structures, textures)
    return heard.with_noise(rng), masks


@dataclass(frozen=True)
class Heard:
    """What a scanner hears of an anatomy before noise: the same however often the scan is repeated.

    Attributes:
        image: magnitude with the coil's sensitivity, without noise.
        deviation: standard deviation of the noise in each of the two channels.
        axis: along which the slices lie.
    """

    image: Float[np.ndarray, "x y z"]
    deviation: float
    axis: int

    def with_noise(self, rng: np.random.Generator) -> Float[np.ndarray, "x y z"]:
        """Take the scan, with noise drawn slice by slice; taken again, it has noise of its own."""
        result = np.empty_like(self.image)
        planes = (np.moveaxis(image, self.axis, 0) for image in (result, self.image))
        for noisy, plane in zip(*planes, strict=True):
            real, imaginary = rng.standard_normal((2, *plane.shape), dtype=np.float32) * np.float32(self.deviation)
            noisy[...] = np.hypot(plane + real, imaginary)
        return result


def listen(
    source: LabelSource,
    table: SignalTable,
    grid: Grid,
    scanner: Scanner,
    rng: np.random.Generator,
    structures: Sequence[Bool[np.ndarray, "256"]] = (),
    textures: Sequence[LatticeNoise] | None = None,
    coil: LatticeNoise | None = None,
) -> tuple[Heard, list[Bool[np.ndarray, "x y z"]]]:
    """Do all of `scan` but the noise; `rng` draws texture and, if not given, coil, and is then ready to draw noise."""
    order = _slices_last(grid)
    axis = order[2]
    back = np.argsort(order)
    shape = tuple(grid.shape[other] for other in order)
    sliced = Grid((shape[0], shape[1], shape[2]), grid.affine[:, [*order, 3]])
    samples = _sample(source, sliced, scanner)
    lying = draw_textures(sliced, scanner, rng) if textures is None else [noise.turned(order) for noise in textures]
    heard = _image(samples, table, sliced, scanner, lying, draw_coil(grid, rng) if coil is None else coil)
    masks = _majority(samples, structures, scanner)
    image = np.transpose(heard.image, back)
    return Heard(image, heard.deviation, axis), [np.transpose(mask, back) for mask in masks]


def slice_weights(scanner: Scanner, slices: int) -> Float[np.ndarray, "slices planes"]:
    """Share of each plane of samples in each slice; every row sums to 1.

    The planes go one slice beyond the first and the last, because a Gaussian profile reaches into its neighbours.
    """
    count = scanner.through_plane
    places = (np.arange((slices + 2) * count) + 0.5) / count - 1.5
    offset = places - np.arange(slices)[:, None]
    if scanner.profile == "box":
        weights = np.clip((scanner.thickness / 2 - np.abs(offset)) * count + 0.5, 0, 1)
    else:
        weights = np.exp(-4 * np.log(2) * (offset / scanner.thickness) ** 2) * (np.abs(offset) <= 1.5)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def draw_textures(grid: Grid, scanner: Scanner, rng: np.random.Generator) -> list[LatticeNoise]:
    """Draw grain, patches and septa of the tissues, in mm from the corner of `grid` (slices along axis 2)."""
    return [LatticeNoise(rng, grid.extent, size) for size in (scanner.grain_mm, scanner.patches_mm, scanner.septa_mm)]


def draw_coil(grid: Grid, rng: np.random.Generator) -> LatticeNoise:
    """Draw the field of a coil over a scan's grid: scans of one session share it."""
    return LatticeNoise(rng, grid.extent[_slices_last(grid)], COIL_MM)


def _slices_last(grid: Grid) -> list[int]:
    """The axes of a grid, that across its slices last."""
    axis = slice_axis(grid.affine)
    return [other for other in range(3) if other != axis] + [axis]


def _sample(source: LabelSource, grid: Grid, scanner: Scanner) -> UInt8[np.ndarray, "samples planes x y"]:
    """Labels at all samples: each voxel of each plane is sampled `in_plane`² times, at that many depths."""
    count = scanner.in_plane
    planes = (grid.shape[2] + 2) * scanner.through_plane
    result = np.empty((count * count, planes, *grid.shape[:2]), np.uint8)
    step = np.eye(4)
    step[2, 2] = 1 / scanner.through_plane
    for number, labels in enumerate(result):
        row, column = divmod(number, count)
        step[0, 3], step[1, 3] = (row + 0.5) / count - 0.5, (column + 0.5) / count - 0.5
        step[2, 3] = ((number + 0.5) / count**2) / scanner.through_plane - 1.5
        offset_grid = Grid((grid.shape[0], grid.shape[1], planes), grid.affine @ step)
        labels[...] = np.moveaxis(source(offset_grid), 2, 0)
    return result


def _occupied(samples: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns where anything but label 0 is found in any plane."""
    anything = np.zeros(samples.shape[2:], bool)
    for plane in samples.reshape(-1, *samples.shape[2:]):
        anything |= plane != 0
    rows, columns = np.flatnonzero(anything.any(1)), np.flatnonzero(anything.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _image(
    samples: np.ndarray,
    table: SignalTable,
    grid: Grid,
    scanner: Scanner,
    textures: Sequence[LatticeNoise],
    coil: LatticeNoise,
) -> Heard:
    columns = np.ascontiguousarray(table.columns.T)
    background = columns[0, 0]
    weights = slice_weights(scanner, grid.shape[2])
    part = _occupied(samples)
    rows, cols = (centres[cut] for centres, cut in zip(_voxel_centres(grid), part, strict=True))
    readers = [texture.across(rows, cols) for texture in textures]
    image = np.full((grid.shape[2], *grid.shape[:2]), background, np.float32)
    for index in range(samples.shape[1] if len(rows) else 0):
        plane = samples[(slice(None), index, *part)]
        depth = ((index + 0.5) / scanner.through_plane - 1) * float(grid.spacing[2])
        mean, grain, patches, septa = (_mean_of(column, plane) for column in columns)
        fine, coarse, sheets = (read(depth) for read in readers)
        mean += grain * fine + patches * coarse + septa * np.maximum(1 - np.abs(sheets) / SHEET, 0)
        np.maximum(mean, 0, out=mean)
        mean -= background
        for number in np.flatnonzero(weights[:, index]):
            image[(number, *part)] += weights[number, index] * mean
    return hear(np.moveaxis(image, 0, 2), coil, grid, scanner, float(background))


def receive(
    image: np.ndarray, coil: LatticeNoise, grid: Grid, scanner: Scanner, rng: np.random.Generator, background: float
) -> np.ndarray:
    """Apply blur, gamma, coil sensitivity and, last as in a scanner, noise to an image (slices along axis 2)."""
    return hear(image, coil, grid, scanner, background).with_noise(rng)


def hear(image: np.ndarray, coil: LatticeNoise, grid: Grid, scanner: Scanner, background: float) -> Heard:
    """Apply blur, gamma and coil sensitivity to an image (slices along axis 2)."""
    if scanner.blur_mm:
        from scipy.ndimage import gaussian_filter

        image = gaussian_filter(image, [*(scanner.blur_mm / grid.spacing[:2]), 0])
    top = float(image.max())
    if scanner.gamma != 1.0 and top > 0:
        image = top * (image / top) ** scanner.gamma
        background = top * (background / top) ** scanner.gamma
    body = np.abs(image - background) > 1.0
    deviation = float(image[body].mean() / scanner.snr) if body.any() else 0.0
    sensitivity = coil.across(*_voxel_centres(grid))
    result = np.array(image, np.float32)
    for index in range(grid.shape[2] if scanner.bias else 0):
        result[:, :, index] *= np.exp(scanner.bias * sensitivity((index + 0.5) * float(grid.spacing[2])))
    return Heard(result, deviation, 2)


def _majority(samples: np.ndarray, structures: Sequence[np.ndarray], scanner: Scanner) -> list[np.ndarray]:
    """Voxels of which each structure fills at least half."""
    count = scanner.through_plane
    part = _occupied(samples)
    planes, rows, columns = samples.shape[1:]
    needed = count * len(samples) / 2
    masks = np.zeros((len(structures), planes // count - 2, rows, columns), bool)
    for number in range(masks.shape[1]):
        inside = samples[:, (number + 1) * count : (number + 2) * count, part[0], part[1]]
        masks[(slice(None), number, *part)] = _counts(inside.reshape(-1, *inside.shape[2:]), structures) >= needed
    return [np.moveaxis(mask, 0, 2) for mask in masks]


def _counts(samples: np.ndarray, structures: Sequence[np.ndarray]) -> np.ndarray:
    """How many samples (first axis) each structure has: several are counted at once in the parts of one number."""
    counter = np.uint8 if len(samples) < 256 else np.uint16
    lanes = 8 // np.dtype(counter).itemsize
    result = np.empty((len(structures), *samples.shape[1:]), counter)
    for first in range(0, len(structures), lanes):
        chosen = structures[first : first + lanes]
        table = np.zeros((256, lanes), counter)
        table[:, : len(chosen)] = np.stack(chosen, 1)
        together = table.view(np.uint64)[:, 0]
        total = together[samples[0]]
        for plane in samples[1:]:
            total += together[plane]
        result[first : first + lanes] = np.moveaxis(total[..., None].view(counter), -1, 0)[: len(chosen)]
    return result


def _voxel_centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Positions (mm from the corner of the field of view) of the voxels along array axes 0 and 1."""
    rows, columns = (
        (np.arange(side) + 0.5) * float(step) for side, step in zip(grid.shape[:2], grid.spacing[:2], strict=True)
    )
    return rows, columns


def _mean_of(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what `values` says of each label."""
    total = values[labels[0]]
    for plane in labels[1:]:
        total += values[plane]
    total *= np.float32(1 / len(labels))
    return total
