"""The dynamic scans of a cohort: what a user sets, the matrix of each size, and where the field of view lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.phantoms.contrast import SignalTable, ffe_contrast, random_contrast
from ankleseg.phantoms.grid import Grid
from ankleseg.phantoms.scanner import PROFILES
from ankleseg.volumes.poses import rotation_about

Task = Literal["active", "passive"]

TASKS: tuple[Task, ...] = ("active", "passive")
SLICE_SPACING = 8.0  # mm between the centres of slices without a gap
PLANE_MM = SLICE_SPACING / 6  # distance of the planes of samples through a slice
CYCLE_SECONDS = 18.0
SLICES = (10, 11, 12)  # as many as the width of a foot takes
DYNAMIC_CONTRASTS: Mapping[str, Callable[[np.random.Generator], SignalTable]] = {
    "t1": ffe_contrast,
    "random": random_contrast,
}


@dataclass(frozen=True)
class DynamicSettings:
    """How the ankle moves and how the dynamic sequence is taken.

    Attributes:
        frames: 3-D frames in a cycle of dorsi- and plantar flexion.
        range: largest rotation of the talus about the talocrural axis away from the static scan, degrees, either way.
        within_frame: share of the time of a frame during which it is acquired, 0 to 1; its image is the mean over
            the poses of that time, its true pose that of the middle.
        profile: sensitivity along the slice normal.
        thickness: full width at half maximum of the profile, mm.
        gap: mm by which neighbouring slices lie further apart than the usual 8 mm.
        snr: mean signal of the body over the standard deviation of the noise in each channel.
        bias: standard deviation of the logarithm of the coil's sensitivity.
        crop: mm cut off at each of the four sides of the field of view in the slice plane.
        missing_slice: number of a slice, from 0, that holds zeros in every frame.

    Raises:
        ConfigError: a setting is out of its range.
    """

    frames: int = 15
    range: float = 25.0
    within_frame: float = 0.0
    profile: Literal["box", "gaussian"] = "box"
    thickness: float = SLICE_SPACING
    gap: float = 0.0
    snr: float = 20.0
    bias: float = 0.12
    crop: float = 0.0
    missing_slice: int | None = None

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ConfigError(f"invalid motion.profile={self.profile}: expected {' or '.join(PROFILES)}")
        for name, low, high in (
            ("frames", 2, 200),
            ("range", 0, 30),
            ("within_frame", 0, 1),
            ("thickness", 1, 20),
            ("gap", 0, 8),
            ("snr", 1, 1e9),
            ("bias", 0, 1),
            ("crop", 0, 70),
            ("missing_slice", 0, min(SLICES) - 1),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"invalid motion.{name}={value:g}: expected {low:g} to {high:g}")

    @property
    def spacing(self) -> float:
        """Distance between the centres of neighbouring slices, mm."""
        return SLICE_SPACING + self.gap


@dataclass(frozen=True)
class DynamicProtocol:
    """Sagittal matrix and pixel of the frames, and the voxels of the anatomy they are sampled from, in mm."""

    matrix: int
    pixel: float
    soft_spacing: tuple[float, float, float]
    bone_spacing: tuple[float, float, float]


DYNAMIC_PROTOCOLS: Mapping[str, DynamicProtocol] = {
    "full": DynamicProtocol(288, 0.56, (0.56, 0.56, 0.9), (0.35, 0.35, 0.45)),
    "demo": DynamicProtocol(144, 1.12, (0.9, 0.9, 1.2), (0.5, 0.5, 0.7)),
}


def draw_dynamic_grid(
    protocol: DynamicProtocol,
    settings: DynamicSettings,
    directions: np.ndarray,
    *,
    top: np.ndarray,
    heel: np.ndarray,
    middle: np.ndarray,
    rng: np.random.Generator,
) -> Grid:
    """Draw the field of view of a dynamic sequence: sagittal, tilted by some degrees, stored as the static scan is.

    Args:
        protocol, settings: matrix, slices and crop.
        directions: (3, 3), columns are the directions in the world of the static scan's axes P, S, R.
        top: world positions (n, 3) that it ends below: where the static scan ends.
        heel: world positions (n, 3) of the back of the heel, which lies inside unless cropped.
        middle: world position (3,) in the middle slice.
        rng: draws tilt, margins and number of slices.
    """
    tilt = np.eye(4)
    for axis, angle in zip(np.eye(3), np.clip(rng.normal(0, 2.0, 3), -5, 5), strict=True):
        tilt = tilt @ rotation_about(axis, float(angle))
    axes = tilt[:3, :3] @ directions
    shape = np.array([protocol.matrix, protocol.matrix, rng.choice(SLICES)])
    spacing = np.array([protocol.pixel, protocol.pixel, settings.spacing])
    half = shape * spacing / 2
    centre = np.array(
        [
            (heel @ axes[:, 0]).max() + rng.uniform(4, 10) - half[0],
            (top @ axes[:, 1]).min() - rng.uniform(1, 4) - half[1],
            middle @ axes[:, 2] + rng.uniform(-3, 3),
        ]
    )
    shape[:2] -= 2 * int(settings.crop / protocol.pixel)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ centre - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
