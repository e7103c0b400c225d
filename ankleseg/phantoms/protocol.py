"""The scans of a cohort: two sizes, two kinds of contrast, and what is different from one scan to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.ankle import SIDES
from ankleseg.phantoms.bones import Bone
from ankleseg.phantoms.contrast import SignalTable, random_contrast, t1_contrast
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.scanner import LabelSource, Scanner, listen
from ankleseg.phantoms.tissues import bone_of
from ankleseg.volumes.poses import rotation_about

Size = Literal["demo", "full"]
Contrast = Literal["t1", "random"]


STRUCTURES = {"calcaneus": Bone.CALCANEUS, "talus": Bone.TALUS, "tibia": Bone.TIBIA}


@dataclass(frozen=True)
class Protocol:
    """Matrix and voxel of a scan: sagittal slices, stored with axes towards posterior, superior and right."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    through_plane: int


PROTOCOLS: Mapping[str, Protocol] = {
    "full": Protocol((576, 576, 90), (0.28, 0.28, 0.8), 2),
    "demo": Protocol((192, 192, 30), (0.84, 0.84, 2.4), 3),
}
CONTRASTS: Mapping[str, Callable[[np.random.Generator], SignalTable]] = {"t1": t1_contrast, "random": random_contrast}


@dataclass(frozen=True)
class Scan:
    """An image with its exact masks.

    Attributes:
        image: int16, axes P, S, R.
        affine: voxel to RAS+ mm.
        masks: uint8 0/1 by structure.
        repeats: further images of the same, with noise of their own, int16.
        clean: the image without noise, float32; None where nobody asked for repeats.
    """

    image: np.ndarray
    affine: np.ndarray
    masks: Mapping[str, np.ndarray]
    repeats: tuple[np.ndarray, ...] = ()
    clean: np.ndarray | None = None


def check_settings(size: str, side: str | None, contrast: str, subjects: int) -> None:
    """Refuse what no cohort can be made of.

    Raises:
        ConfigError: an unknown size, side or contrast, or no subject.
    """
    for what, value, known in (
        ("size", size, PROTOCOLS),
        ("side", side, (None, *SIDES)),
        ("contrast", contrast, CONTRASTS),
    ):
        if value not in known:
            raise ConfigError(f"invalid {what} {value!r}: expected {' or '.join(filter(None, known))}")
    if subjects < 1:
        raise ConfigError(f"invalid number of subjects {subjects}: expected at least 1")


def draw_grid(protocol: Protocol, ankle: np.ndarray, heel: np.ndarray, rng: np.random.Generator) -> Grid:
    """A slightly oblique sagittal field of view that holds `ankle` and the back of `heel`, (3,) in the world."""
    angles = np.clip(rng.normal(0, 2.5, 3), -6, 6)
    tilt = np.eye(4)
    for axis, angle in zip(np.eye(3), angles, strict=True):
        tilt = tilt @ rotation_about(axis, angle)
    directions = tilt[:3, :3] @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = directions * protocol.spacing
    half = np.array(protocol.shape) * protocol.spacing / 2
    behind = ankle[1] - heel[1] + rng.uniform(6, 16)  # the field ends this far behind the ankle
    centre = ankle + np.array([0, half[0] - behind, -9]) + np.clip(rng.normal(0, (2, 1, 4)), -8, 8)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(protocol.shape) - 1) / 2)
    return Grid(protocol.shape, affine)


def draw_scanner(protocol: Protocol, contrast: Contrast, rng: np.random.Generator) -> Scanner:
    """A scanner's settings, different in every scan; with random contrast anything goes."""
    if contrast == "t1":
        return Scanner(
            snr=float(rng.uniform(24, 40)), bias=float(rng.uniform(0.05, 0.16)), through_plane=protocol.through_plane
        )
    return Scanner(
        snr=float(np.exp(rng.uniform(np.log(6), np.log(60)))),
        bias=float(rng.uniform(0, 0.35)),
        profile="gaussian" if rng.random() < 0.5 else "box",
        thickness=float(rng.uniform(0.7, 1.5)),
        through_plane=protocol.through_plane,
        grain_mm=float(rng.uniform(0.6, 2.0)),
        patches_mm=float(rng.uniform(3, 12)),
        septa_mm=float(rng.uniform(2, 6)),
        blur_mm=float(rng.uniform(0, 0.8)),
        gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
    )


def scan_bones(
    source: LabelSource, table: SignalTable, grid: Grid, scanner: Scanner, rng: np.random.Generator, repeats: int = 1
) -> Scan:
    """Image labels as whole numbers, with the exact masks of calcaneus, talus and tibia.

    Args:
        source, table, grid, scanner, rng: as in `ankleseg.phantoms.scan`.
        repeats: images taken; the first is the same whatever their number.
    """
    members = [bone_of(np.arange(256)) == bone for bone in STRUCTURES.values()]
    heard, masks = listen(source, table, grid, scanner, rng, members)
    image, *others = (as_stored(heard.with_noise(rng)) for _ in range(repeats))
    return Scan(
        image,
        grid.affine,
        {name: mask.astype(np.uint8) for name, mask in zip(STRUCTURES, masks, strict=True)},
        tuple(others),
        heard.image if others else None,
    )


def as_stored(image: np.ndarray) -> np.ndarray:
    """An image as it is written: whole numbers of 16 bits, none below 0."""
    return np.clip(np.rint(image), 0, 32767).astype(np.int16)
