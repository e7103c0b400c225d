"""Random changes of a patch: drawn here, as plain numbers, and applied by `PatchSource`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ankleseg.errors import ConfigError
from ankleseg.volumes.geometry import ANATOMICAL_AXES


@dataclass(frozen=True, kw_only=True)
class AugmentationDraw:
    """What is done to one patch; the defaults do nothing.

    Intensities are counted from the darkest voxel of the scan (its background); their range reaches from there to the
    99.5th percentile of the foreground, so that the same numbers serve every scaling.

    Attributes:
        rotation: degrees; one angle in the plane of a slice, or three, about the axes of a block.
        zoom: factor by which the anatomy grows.
        shift: mm along each axis of the patch.
        flips: anatomical axes that are reversed.
        swap: pairs of labels that change places.
        gamma: exponent of the intensities.
        contrast: factor of the intensities.
        brightness: added, as a fraction of the intensity range.
        noise: standard deviation of Gaussian noise, as a fraction of the intensity range.
        noise_seed: seed of the noise.
        blur: standard deviation of a Gaussian blur in mm.
        bias: coefficients of the logarithm of a smooth factor: for each axis, then for each product of two axes (also
            with itself), where an axis runs from -1 to 1 over the patch.
    """

    rotation: tuple[float, ...] = ()
    zoom: float = 1.0
    shift: tuple[float, ...] = ()
    flips: tuple[str, ...] = ()
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
        """Whether voxels are interpolated; a flip alone does not need it."""
        return any(self.rotation) or self.zoom != 1 or any(self.shift)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges from which the changes of a patch are drawn; the defaults change nothing.

    Angles, shifts and strengths are drawn evenly, factors evenly on a logarithmic scale.

    Args:
        rotation: largest angle in degrees.
        zoom: smallest and largest factor.
        shift: largest shift in mm along each axis.
        flips: anatomical axes (``PA``, ``IS``) along which every second patch is reversed. ``LR`` is refused unless
            ``left_right_swap`` is given: a mirrored foot is a foot of the other side.
        left_right_swap: pairs of labels that change places in a left–right flip; an empty list says that every
            structure is its own mirror image.
        gamma: smallest and largest exponent.
        contrast: smallest and largest factor.
        brightness: largest shift of the intensities, as a fraction of their range.
        noise: largest standard deviation of the noise, as a fraction of the intensity range.
        blur: largest standard deviation of the blur in mm.
        bias: largest coefficient of the logarithm of the coil's smooth factor.
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
                raise ConfigError(
                    f"{name} [{low}, {high}] is no range", mend="give two factors above 0, the smaller first"
                )
        unknown = [flip for flip in self.flips if flip not in ANATOMICAL_AXES]
        if unknown:
            raise ConfigError(f"flip {unknown[0]!r} is unknown", mend=f"use {', '.join(ANATOMICAL_AXES)}")
        if "LR" in self.flips and self.left_right_swap is None:
            raise ConfigError(
                "a flip along LR turns a right foot into a left one",
                mend="leave LR out of the flips, or say in left_right_swap which labels change places",
            )

    def draw(self, rng: np.random.Generator, dimensions: int) -> AugmentationDraw:
        """Draw the changes of one patch of two or three dimensions.

        The random numbers taken do not depend on the ranges, so that changing one range leaves the other draws.
        """
        reversed_axes = {axis for axis, number in zip(ANATOMICAL_AXES, rng.random(3), strict=True) if number < 0.5}
        flips = tuple(axis for axis in self.flips if axis in reversed_axes)
        return AugmentationDraw(
            rotation=_even(rng, self.rotation, 1 if dimensions == 2 else 3),
            zoom=_factor(rng, *self.zoom),
            shift=_even(rng, self.shift, dimensions),
            flips=flips,
            swap=tuple((int(a), int(b)) for a, b in self.left_right_swap or ()) if "LR" in flips else (),
            gamma=_factor(rng, *self.gamma),
            contrast=_factor(rng, *self.contrast),
            brightness=_even(rng, self.brightness, 1)[0],
            noise=self.noise * rng.random(),
            noise_seed=int(rng.integers(2**62)),
            blur=self.blur * rng.random(),
            bias=_even(rng, self.bias, dimensions + dimensions * (dimensions + 1) // 2),
        )


def _even(rng: np.random.Generator, largest: float, count: int) -> tuple[float, ...]:
    return tuple((largest * rng.uniform(-1, 1, count)).tolist())


def _factor(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())
