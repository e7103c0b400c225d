"""Ranges of thick-slice scans, and how a fine image is made thick: what the fixed and the random transform share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch import Tensor

from ankleseg.errors import ConfigError
from ankleseg.rigid.profile import Shape
from ankleseg.transforms.low_resolution import LowResolution, ThickAxis
from ankleseg.volumes.geometry import Affine, spacing

Spacing = Sequence[float | None]

FEWEST = 3  # slices in a field of view: two are needed, and the first may begin nearly a slice inside


@dataclass(frozen=True)
class ThickDraw:
    """How one thick scan is taken: its resolution, the standard deviation of its noise as a fraction of the intensity
    range, and the seed of the noise."""

    low: LowResolution
    noise: float
    noise_seed: int

    @property
    def slice_thickness(self) -> float:
        """Largest spacing, mm; 0 where nothing is made thick."""
        return max((value for value in self.low.spacing if value is not None), default=0.0)


class ThickScans(MapTransform):
    """Ranges from which thick scans are drawn: what the fixed and the random transform share.

    Raises:
        ConfigError: there are not three of each spacing; one axis has a finest but no coarsest, or they are in the
            wrong order; a thickness, profile or order is invalid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        target_key: str,
        finest: Spacing,
        coarsest: Spacing | None,
        thickness: float,
        profile: Shape,
        noise: float,
        order: int,
        published: bool,
        allow_missing_keys: bool,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.target_key = target_key
        self.finest, self.coarsest = tuple(finest), tuple(finest if coarsest is None else coarsest)
        if not len(self.finest) == len(self.coarsest) == 3:
            raise ConfigError(
                f"invalid finest and coarsest of {len(self.finest)} and {len(self.coarsest)} spacings: expected three",
                mend="give three of each, in mm, or null for an axis that stays",
            )
        for low, high in zip(self.finest, self.coarsest, strict=True):
            if (low is None) != (high is None) or (low is not None and high is not None and low > high):
                raise ConfigError(
                    f"invalid spacings from {list(self.finest)} to {list(self.coarsest)} mm: expected a range",
                    mend="give the finer one first, and null for the same axes",
                )
        self.thickness, self.profile, self.noise = float(thickness), profile, float(noise)
        self.order, self.published = int(order), bool(published)
        self.taken(0.5, 0.0, 0.5, 0)

    @property
    def slice_axis(self) -> int:
        """The axis with the thickest slices; the last where nothing is made thick."""
        return max(range(3), key=lambda axis: (self.coarsest[axis] or 0.0, axis))

    @property
    def slice_spacing(self) -> tuple[float, float] | None:
        """The finest and coarsest distance of the slices, mm; None where nothing is made thick."""
        low, high = self.finest[self.slice_axis], self.coarsest[self.slice_axis]
        return None if low is None or high is None else (low, high)

    def check(self, name: str, shape: Sequence[int], affine: Affine) -> None:
        """Refuse a prepared scan, of this shape and affine, of which not every thick scan of the ranges can be taken.

        Raises:
            ConfigError: a spacing is smaller than that of the scan, or too few slices fit.
        """
        for axis, (length, mm) in enumerate(zip(shape, spacing(affine), strict=True)):
            low, high = self.finest[axis], self.coarsest[axis]
            if low is None or high is None:
                continue
            if low < mm * (1 - 1e-3):
                raise ConfigError(
                    f"finest {low:g} mm is finer than {name} with {mm:g} mm along that axis",
                    mend="give a larger spacing, or null for an axis that stays as it is",
                )
            if length * mm < FEWEST * high:
                raise ConfigError(
                    f"the field of view of {name}, {length * mm:g} mm, holds fewer than {FEWEST} slices of {high:g} mm",
                    mend="choose a smaller coarsest",
                )

    def taken(self, where: float, phase: float, noise: float, seed: int) -> ThickDraw:
        """The scan at a place (0 to 1) of the ranges."""
        mm = [
            None if low is None or high is None else low + where * (high - low)
            for low, high in zip(self.finest, self.coarsest, strict=True)
        ]
        low = LowResolution(
            spacing=mm,
            thickness=self.thickness,
            profile=self.profile,
            phase=0.0 if self.published else phase,
            order=self.order,
            published=self.published,
        )
        return ThickDraw(low, self.noise * (1 if self.published else 0.5 + 0.5 * noise), seed)

    def typical(self, seed: int = 0) -> ThickDraw:
        """The scan in the middle of the ranges, with slices from the edge of the field of view."""
        return self.taken(0.5, 0.0, 0.5, seed)


def made_thick(
    fine: Float[Tensor, "c x y z"], axes: Sequence[ThickAxis | None], noise: float, bounds: Tensor, seed: int
) -> Float[Tensor, "c u v w"]:
    """A fine image along each axis as thick slices show it, with noise of a seed, and interpolated back.

    Args:
        fine: what the slices see.
        axes: the matrices of each axis; None leaves it.
        noise: standard deviation, as a fraction of the range.
        bounds: (C, 2), the range.
        seed: of the noise.
    """
    image = fine
    for axis, part in enumerate(axes, start=1):
        if part is not None:
            image = _along(image, part.thick_from_fine, axis)
    if noise:
        generator = torch.Generator().manual_seed(seed)
        dark, bright = (values.reshape(-1, 1, 1, 1) for values in bounds.unbind(1))
        added = torch.randn(image.shape, generator=generator)
        image = torch.maximum(image + noise * (bright - dark) * added, dark)
    for axis, part in enumerate(axes, start=1):
        if part is not None:
            image = _along(image, part.fine_from_thick, axis)
    return image.contiguous()


def _along(image: Tensor, matrix: np.ndarray, axis: int) -> Tensor:
    weights = torch.from_numpy(np.ascontiguousarray(matrix)).to(image.dtype)
    return torch.tensordot(weights, image, ([1], [axis])).movedim(0, axis)
