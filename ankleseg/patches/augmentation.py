"""Random changes of a patch: drawn here, as plain numbers, and applied elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import ANATOMICAL_AXES


@dataclass(frozen=True, kw_only=True)
class AugmentationDraw:
    """What is done to one patch; the defaults do nothing.

    Attributes:
        rotation: degrees; one angle in the plane of a slice, or three about the axes of a block.
        zoom: factor by which the anatomy grows.
        shift: mm along each axis of the patch.
        flips: array axes that are reversed.
        swap: pairs of labels that change places.
        gamma: exponent of the intensities.
        contrast: factor of the intensities.
        brightness: added, as a fraction of the intensity range of the scan.
        noise: standard deviation of Gaussian noise, as a fraction of the intensity range.
        noise_seed: seed of the noise.
        blur: standard deviation of a Gaussian blur in mm.
        bias: coefficients of the logarithm of a smooth factor: each axis, then each product of two axes, which run
            from -1 to 1 over the patch.
    """

    rotation: tuple[float, ...] = ()
    zoom: float = 1.0
    shift: tuple[float, ...] = ()
    flips: tuple[int, ...] = ()
    swap: tuple[tuple[int, int], ...] = ()
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    blur: float = 0.0
    bias: tuple[float, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether voxels change their place by interpolation (a flip does not need it)."""
        return any(self.rotation) or self.zoom != 1 or any(self.shift)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges from which the changes of a patch are drawn, evenly; the defaults change nothing.

    Intensities are counted from the darkest voxel of the scan, and their range reaches to the 99.5th percentile of
    the foreground, so that the same numbers serve every scaling.

    Args:
        rotation: largest angle in degrees, in the plane of the slices or about each axis of a block.
        zoom: smallest and largest factor.
        shift: largest shift in mm along each axis.
        flips: anatomical axes (``PA``, ``IS``) along which every second patch is reversed. ``LR`` is refused unless
            ``left_right_swap`` is given, since a mirrored foot is a foot of the other side.
        left_right_swap: pairs of labels that change places in a left–right flip; an empty list says that every
            structure is its own mirror image.
        gamma: smallest and largest exponent.
        contrast: smallest and largest factor.
        brightness: largest shift of the intensities, as a fraction of their range.
        noise: largest standard deviation of the noise, as a fraction of the intensity range.
        blur: largest standard deviation of the blur in mm.
        bias: largest coefficient of the logarithm of the coil field (see `AugmentationDraw`).
    """

    rotation: float = 0.0
    zoom: Sequence[float] = (1.0, 1.0)
    shift: float = 0.0
    flips: Sequence[str] = ()
    left_right_swap: Sequence[Sequence[int]] | None = None
    gamma: Sequence[float] = (1.0, 1.0)
    contrast: Sequence[float] = (1.0, 1.0)
    brightness: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        for name in ("zoom", "gamma", "contrast"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"{name} [{low}, {high}] is no range", mend="give a smaller and a larger factor above 0")
        unknown = [flip for flip in self.flips if flip not in ANATOMICAL_AXES]
        if unknown:
            raise ConfigError(f"flip {unknown[0]!r} is unknown", mend=f"use {', '.join(ANATOMICAL_AXES)}")
        if "LR" in self.flips and self.left_right_swap is None:
            raise ConfigError(
                "a left–right flip turns a right foot into a left one",
                mend="leave LR out of the flips, or say in left_right_swap which labels change places",
            )

    def draw(self, rng: np.random.Generator, flip_axes: Sequence[int | None], dimensions: int) -> AugmentationDraw:
        """Draw the changes of one patch.

        The number of random numbers taken does not depend on the ranges, so that changing one leaves the others.

        Args:
            rng: where randomness comes from.
            flip_axes: array axis of each entry of ``flips``.
            dimensions: of the patch, 2 or 3.
        """
        terms = dimensions + dimensions * (dimensions + 1) // 2

        def even(largest: float, count: int) -> tuple[float, ...]:
            return tuple((largest * rng.uniform(-1, 1, count)).tolist())

        rotation = even(self.rotation, 1 if dimensions == 2 else 3)
        shift = even(self.shift, dimensions)
        bias = even(self.bias, terms)
        zoom, gamma, contrast = (float(np.exp(rng.uniform(*np.log(pair)))) for pair in (self.zoom, self.gamma, self.contrast))
        (brightness,) = even(self.brightness, 1)
        noise, blur = self.noise * rng.random(), self.blur * rng.random()
        noise_seed = int(rng.integers(2**63))
        flipped = rng.random(len(ANATOMICAL_AXES)) < 0.5
        chosen = [n for n in range(len(self.flips)) if flipped[ANATOMICAL_AXES.index(self.flips[n])]]
        mirrored = any(self.flips[n] == "LR" for n in chosen)
        swap = tuple((int(a), int(b)) for a, b in self.left_right_swap or ()) if mirrored else ()
        return AugmentationDraw(
            rotation=rotation,
            zoom=zoom,
            shift=shift,
            flips=tuple(axis for n in chosen if (axis := flip_axes[n]) is not None),
            swap=swap,
            gamma=gamma,
            contrast=contrast,
            brightness=brightness,
            noise=noise,
            noise_seed=noise_seed,
            blur=blur,
            bias=bias,
        )
